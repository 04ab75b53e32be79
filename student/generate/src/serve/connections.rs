//! Connections: how many, how long each may keep the server waiting, and how they end.
//!
//! Whoever sends nothing, reads nothing or has gone away without a word is let go after a while; a reply that takes long to
//! be sampled keeps nobody from being served.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

/// Connections at a time; more wait until one ends.
const MOST_CONNECTIONS: usize = 1024;

/// How long a client may keep a connection waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the beginning of a connection, or the end of a reply, to the end of the next request's headers.
    pub headers: Duration,
    /// From there to the end of the body.
    pub body: Duration,
    /// While it takes nothing of a reply. One that does not acknowledge either (its machine is gone) is found out in about
    /// twice that time, also while its reply is being sampled.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { headers: Duration::from_secs(30), body: Duration::from_mins(1), silence: Duration::from_mins(1) }
    }
}

/// Serves until `shutdown` is done; then takes nothing new, calls `draining` with what is in progress, and gives that the time
/// `drain`. Returns how much of it was cut off.
pub(super) async fn run(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    in_progress: impl Fn() -> usize,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
    draining: impl FnOnce(usize),
) -> usize {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (router, closed) = (router.clone(), closed.clone());
        connections.spawn(async move {
            serve_one(stream, router, patience, closed).await;
            drop(place);
        });
    }
    drop(listener);
    closing.send_replace(true);
    draining(in_progress());
    let ended = async { while connections.join_next().await.is_some() {} };
    let ended = tokio::time::timeout(drain, ended).await.is_ok();
    let cut = if ended { 0 } else { in_progress() };
    connections.shutdown().await;
    cut
}

/// The next connection and its place; `None` if there was one that cannot be had.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // It is never closed.
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(e) => {
            let its_own = matches!(
                e.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
            );
            if !its_own {
                // Most often there are too many open files: others end meanwhile.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            None
        }
    }
}

async fn serve_one(stream: TcpStream, router: Router, patience: Patience, mut closed: watch::Receiver<bool>) {
    // Otherwise each small chunk of a stream waits for the one before to be acknowledged. Refused, it is only slower.
    let _ = stream.set_nodelay(true);
    let probes = TcpKeepalive::new().with_time(patience.silence).with_interval(patience.silence / 8);
    // Refused, a machine that is gone is noticed when the reply is written to it.
    let _ = SockRef::from(&stream).set_tcp_keepalive(&probes);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience.silence));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(patience.headers);
    let connection = server.serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // How a connection ended is its client's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closed.wait_for(|closed| *closed) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures::stream;

    /// A server with this patience in everything, whose `/endless` never ends; and how many of its replies are on their way.
    fn start(patience: Duration) -> (SocketAddr, Arc<AtomicUsize>, tokio::runtime::Runtime) {
        struct Sending(Arc<AtomicUsize>);
        impl Drop for Sending {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let sending = Arc::<AtomicUsize>::default();
        let counted = sending.clone();
        let endless = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let sending = Sending(counted.clone());
            let chunks = stream::repeat_with(move || {
                let _ = &sending;
                Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1 << 14]))
            });
            async { Body::from_stream(chunks) }
        };
        let router = Router::new().route("/endless", get(endless)).route("/", get(async || "here"));
        let patience = Patience { headers: patience, body: patience, silence: patience };
        let drain = Duration::from_secs(5);
        runtime.spawn(run(listener, router, patience, || 0, std::future::pending(), drain, |_| ()));
        (address, sending, runtime)
    }

    fn connect(address: SocketAddr, text: &str) -> std::net::TcpStream {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// Reads until the server closes.
    fn closed(mut stream: std::net::TcpStream) -> bool {
        let mut text = Vec::new();
        match stream.read_to_end(&mut text) {
            Ok(_) => true,
            Err(e) => e.kind() == ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn who_says_nothing_or_never_ends_its_headers_is_let_go() {
        let (address, _, _runtime) = start(Duration::from_millis(300));
        let begun = Instant::now();
        for text in ["", "GET / HTTP/1.1\r\nHost: localhost\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
            assert!(closed(connect(address, text)), "{text:?} is still served after {:?}", begun.elapsed());
        }
    }

    #[test]
    fn who_reads_nothing_is_let_go_with_what_was_made_for_it() {
        let (address, sending, _runtime) = start(Duration::from_millis(300));
        let held = connect(address, "GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let wait = |wanted: usize| {
            let begun = Instant::now();
            while sending.load(Ordering::SeqCst) != wanted {
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "{} replies, not {wanted}",
                    sending.load(Ordering::SeqCst)
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait(1);
        wait(0);
        drop(held);
    }
}
