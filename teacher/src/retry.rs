//! Which failures are tried again, when, and for how long.
//!
//! A failure is classed by whose it is: the moment's (overload, a cut connection: asking again may help), the request's
//! (too long for the context: it will not), or the endpoint's (wrong key, unknown model: nothing we send will do).

use std::future::pending;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::sync::watch;

/// How long things are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Before the second attempt; doubled (and jittered) before each further one.
    pub first: Duration,
    /// The longest the doubling goes.
    pub longest: Duration,
    /// All waits of one request together, `Retry-After` included.
    pub total: Duration,
    /// After a stop, for the replies to requests already in flight.
    pub grace: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_mins(1),
            total: Duration::from_mins(15),
            grace: Duration::from_secs(10),
        }
    }
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The moment's: asking again may help.
    Moment,
    /// The request's: others may fare better.
    Request,
    /// The endpoint's: every request will fail like this.
    Endpoint,
    /// Nobody's: the gate was closed before it was sent.
    Closed,
}

/// Why an attempt brought no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    pub(crate) message: String,
    /// What the user can do, where the one who made the failure knows.
    pub(crate) remedy: Option<String>,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that time may mend.
    pub(crate) fn moment(message: impl Into<String>) -> Self {
        Self { cause: Cause::Moment, message: message.into(), remedy: None, retry_after: None }
    }

    /// A failure told by an HTTP status.
    pub(crate) fn status(status: u16, message: impl std::fmt::Display) -> Self {
        let cause = match status {
            408 | 409 | 425 | 429 | 500..=599 => Cause::Moment,
            // Not 403: gateways also send it for a single prompt that their moderation refuses.
            401 | 402 | 404 | 405 => Cause::Endpoint,
            _ => Cause::Request,
        };
        Self { cause, message: format!("HTTP {status}: {message}"), remedy: None, retry_after: None }
    }
}

/// Whether requests may still be sent. Closed for good by the caller's stop or by [`Gate::halt`].
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    stop: watch::Receiver<bool>,
    halt: watch::Sender<bool>,
}

impl Gate {
    /// A gate that the caller's stop closes.
    pub(crate) fn new(stop: &watch::Receiver<bool>) -> Self {
        Self { stop: stop.clone(), halt: watch::Sender::new(false) }
    }

    pub(crate) fn is_open(&self) -> bool {
        !*self.stop.borrow() && !*self.halt.borrow()
    }

    /// Closes the gate: the endpoint has failed.
    pub(crate) fn halt(&self) {
        self.halt.send_replace(true);
    }

    /// Done `grace` after the caller's stop.
    pub(crate) async fn stopped_for(&self, grace: Duration) {
        raised(self.stop.clone()).await;
        tokio::time::sleep(grace).await;
    }

    /// Sleeps, but not beyond the closing.
    async fn sleep(self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = raised(self.stop) => {}
            () = raised(self.halt.subscribe()) => {}
        }
    }
}

/// Done when the flag is up; never, if its sender went away without raising it.
async fn raised(mut flag: watch::Receiver<bool>) {
    if flag.wait_for(|up| *up).await.is_err() {
        pending::<()>().await;
    }
}

/// Tries up to `max_attempts` times with exponential backoff and jitter, and never sooner than the server asks.
pub(crate) async fn with_retries<T, Fut>(
    waits: Waits,
    max_attempts: u32,
    gate: &Gate,
    mut attempt: impl FnMut() -> Fut,
) -> Result<T, Failure>
where
    Fut: Future<Output = Result<T, Failure>>,
{
    let backoff = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(waits.first)
        .with_max_delay(waits.longest)
        .with_max_times(max_attempts.saturating_sub(1) as usize);
    let mut waited = Duration::ZERO;
    let mut attempts = 0_u32;
    let result = (|| {
        let open = gate.is_open();
        let next = open.then(&mut attempt);
        attempts += u32::from(open);
        async move {
            match next {
                Some(next) => next.await,
                None => Err(Failure { cause: Cause::Closed, ..Failure::moment("not sent") }),
            }
        }
    })
    .retry(backoff)
    .sleep({
        let gate = gate.clone();
        move |delay| gate.clone().sleep(delay)
    })
    .when(|failure: &Failure| failure.cause == Cause::Moment)
    .adjust(|failure, delay| {
        let delay = delay?.max(failure.retry_after.unwrap_or_default());
        waited = waited.saturating_add(delay);
        (waited <= waits.total).then_some(delay)
    })
    .await;
    result.map_err(|failure| match attempts {
        0 | 1 => failure,
        tries => Failure { message: format!("{} (tried {tries} times)", failure.message), ..failure },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const QUICK: Waits = Waits {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(4),
        total: Duration::from_millis(200),
        grace: Duration::ZERO,
    };

    fn open_gate() -> (watch::Sender<bool>, Gate) {
        let (sender, receiver) = watch::channel(false);
        (sender, Gate::new(&receiver))
    }

    /// Fails with each of the failures in turn, then gives how many attempts it took.
    async fn run(gate: &Gate, failures: Vec<Failure>) -> Result<usize, Failure> {
        let mut calls = 0;
        with_retries(QUICK, 4, gate, || {
            calls += 1;
            let outcome = failures.get(calls - 1).cloned().map_or(Ok(calls), Err);
            async move { outcome }
        })
        .await
    }

    #[test]
    fn a_status_says_whose_failure_it_is() {
        for status in [408, 409, 425, 429, 500, 502, 503, 529] {
            assert_eq!(Failure::status(status, "").cause, Cause::Moment, "{status}");
        }
        for status in [401, 402, 404] {
            assert_eq!(Failure::status(status, "").cause, Cause::Endpoint, "{status}");
        }
        for status in [302, 400, 403, 413, 422] {
            assert_eq!(Failure::status(status, "").cause, Cause::Request, "{status}");
        }
    }

    #[tokio::test]
    async fn only_the_moments_failures_are_retried_and_only_so_often() {
        let (_stop, gate) = open_gate();
        assert_eq!(run(&gate, vec![Failure::status(500, "x"); 3]).await, Ok(4));
        let failure = run(&gate, vec![Failure::status(500, "x"); 4]).await.unwrap_err();
        assert_eq!(failure.message, "HTTP 500: x (tried 4 times)");
        for status in [400, 401, 403, 404, 422] {
            let failure = run(&gate, vec![Failure::status(status, "x")]).await.unwrap_err();
            assert_eq!(failure.message, format!("HTTP {status}: x"));
        }
    }

    #[tokio::test]
    async fn retry_after_is_waited_for_unless_it_exceeds_the_bound() {
        let (_stop, gate) = open_gate();
        let busy =
            |millis| Failure { retry_after: Some(Duration::from_millis(millis)), ..Failure::status(429, "busy") };
        let start = Instant::now();
        assert_eq!(run(&gate, vec![busy(60), busy(60)]).await, Ok(3));
        assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
        let failure = run(&gate, vec![busy(60), busy(1000)]).await.unwrap_err();
        assert_eq!(failure.message, "HTTP 429: busy (tried 2 times)");
    }

    #[tokio::test]
    async fn a_closed_gate_ends_the_waiting_and_sends_nothing() {
        let (stop, gate) = open_gate();
        let mut calls = 0;
        let waits = Waits { first: Duration::from_mins(1), total: Duration::from_mins(10), ..QUICK };
        let retrying = with_retries(waits, 4, &gate, || {
            calls += 1;
            async { Err::<(), _>(Failure::moment("x")) }
        });
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stop.send_replace(true);
        };
        let start = Instant::now();
        let (result, ()) = tokio::join!(retrying, stopping);
        assert_eq!(result.unwrap_err().cause, Cause::Closed);
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(calls, 1);

        let (_stop, gate) = open_gate();
        gate.halt();
        assert_eq!(run(&gate, vec![]).await.unwrap_err().cause, Cause::Closed);
    }

    #[tokio::test]
    async fn a_dropped_sender_is_not_a_stop() {
        let (stop, gate) = open_gate();
        drop(stop);
        assert_eq!(run(&gate, vec![Failure::moment("x")]).await, Ok(2));
        assert!(tokio::time::timeout(Duration::from_millis(20), gate.stopped_for(Duration::ZERO)).await.is_err());
    }
}
