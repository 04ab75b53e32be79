//! What asks the program to stop: Ctrl-C (SIGINT), SIGTERM (Slurm, Kubernetes, `docker stop`) and SIGHUP (the terminal is gone).
//! All three do the same.
//!
//! A thread of its own receives them from the first moment on, in every command: the first process of a container gets no
//! signal for which it has no handler. A command that has something to save says how it stops; every other ends at
//! once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::console::say;
use crate::error::{Exit, Failure, Result};

/// `timeout` sends SIGTERM to its child and then to the child's group, systemd sends SIGTERM and SIGHUP, a shell that ends sends
/// SIGHUP after the terminal did: what comes so soon after another is the same request. Only a key is pressed twice on purpose.
const ECHO: Duration = Duration::from_secs(1);

/// The longest that a last message waits for whoever reads stderr.
const TELLING: Duration = Duration::from_millis(500);

/// One of the signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
    HangUp,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        })
    }
}

type Handler = Box<dyn FnMut(Signal) + Send>;

/// What the command does; `None` until it says so.
static HANDLER: Mutex<Option<Handler>> = Mutex::new(None);

/// Begins to listen.
pub(crate) fn listen() -> Result<()> {
    let failed = |e: std::io::Error| Failure::failed(format!("cannot listen for signals: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    // `nohup` has it ignored, and so it stays.
    let mut hang_up = if hang_up_is_ignored() { None } else { Some(signal(SignalKind::hangup()).map_err(failed)?) };
    drop(entered);
    let listening = async move {
        let mut latest: Option<Instant> = None;
        loop {
            let gone = async {
                match &mut hang_up {
                    Some(hang_up) => hang_up.recv().await,
                    None => std::future::pending().await,
                }
            };
            let heard = tokio::select! {
                Some(()) = interrupt.recv() => Signal::Interrupt,
                Some(()) = terminate.recv() => Signal::Terminate,
                Some(()) = gone => Signal::HangUp,
                else => return,
            };
            if heard != Signal::Interrupt && latest.is_some_and(|when| when.elapsed() < ECHO) {
                continue;
            }
            latest = Some(Instant::now());
            match HANDLER.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(handler) => handler(heard),
                None => end(&format!("stopped by {heard}")),
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(listening)).map_err(failed)?;
    Ok(())
}

/// Whether SIGHUP was ignored when the program was started. Where the system does not say, it is left alone: then it ends the
/// program, as it would without this.
fn hang_up_is_ignored() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal n is bit n - 1, and SIGHUP is 1.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & 1 == 1)
}

/// From now on `handler` decides what signals do.
pub(crate) fn handle(handler: impl FnMut(Signal) + Send + 'static) {
    *HANDLER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(handler));
}

/// The first signal asks to stop, and `first` says what is still done; the second ends the process at once, with `last` words.
pub(crate) fn stop_gracefully(
    stop: &Stop,
    first: impl Fn(Signal) -> Option<String> + Send + 'static,
    last: &'static str,
) {
    let stop = stop.clone();
    handle(move |heard| {
        if stop.requested() {
            end(last);
        }
        stop.request();
        if let Some(words) = first(heard) {
            tell(&words);
        }
    });
}

/// Ends the process with a last word.
pub(crate) fn end(word: &str) -> ! {
    tell(word);
    exit();
}

/// Writes a message to stderr, and gives up after [`TELLING`]: a reader that has paused must not keep the program from ending.
pub(crate) fn tell(words: &str) {
    let (sender, told) = mpsc::channel();
    let words = words.to_owned();
    std::thread::spawn(move || {
        say(&words);
        // Nobody waits for it any more.
        let _ = sender.send(());
    });
    let _ = told.recv_timeout(TELLING);
}

#[expect(clippy::exit, reason = "the user asked to stop, and there is nothing to wait for")]
fn exit() -> ! {
    std::process::exit(Exit::Interrupted as i32)
}

/// The user's wish to stop, for loops and for futures.
#[derive(Clone)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    sender: Arc<watch::Sender<bool>>,
}

impl Stop {
    /// No stop is requested.
    pub(crate) fn new() -> Self {
        Self { flag: Arc::default(), sender: Arc::new(watch::channel(false).0) }
    }

    /// Asks to stop.
    pub(crate) fn request(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.sender.send_replace(true);
    }

    /// Whether a stop was requested.
    pub(crate) fn requested(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// For loops.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// For futures.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.sender.subscribe()
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}
