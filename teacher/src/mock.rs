//! A server for the tests: HTTP/1.1 on a loopback port, one thread per connection, answers by a function of the request.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and path.
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
    /// The header `Range`.
    pub(crate) range: Option<String>,
    /// The JSON body; null if there was none.
    pub(crate) body: Value,
    /// How many requests with this very body came before.
    pub(crate) earlier: usize,
}

impl Asked {
    /// The text of the last message.
    pub(crate) fn question(&self) -> &str {
        self.body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap()
    }
}

/// What the server sends back.
pub(crate) struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    sent: usize,
    delay: Duration,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, body.to_string().into_bytes())
    }

    pub(crate) fn bytes(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: String::new(), sent: body.len(), body, delay: Duration::ZERO }
    }

    /// A completion with this message.
    pub(crate) fn reply(message: &Value) -> Self {
        Self::finished(message, "stop")
    }

    pub(crate) fn finished(message: &Value, finish_reason: &str) -> Self {
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 10});
        Self::json(200, &json!({"choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage}))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &[name, ": ", value, "\r\n"].concat();
        self
    }

    /// The connection breaks half way through the body.
    pub(crate) fn cut(mut self) -> Self {
        self.sent = self.body.len() / 2;
        self
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Respond = dyn Fn(&Asked) -> Answer + Send + Sync;

#[derive(Default)]
struct Log {
    asked: Mutex<Vec<Asked>>,
    counts: Mutex<HashMap<String, usize>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

/// A running server; its threads end with the test process.
pub(crate) struct Mock {
    /// The base URL, `http://127.0.0.1:PORT/v1`.
    pub(crate) url: String,
    log: Arc<Log>,
}

impl Mock {
    pub(crate) fn start(respond: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let log = Arc::<Log>::default();
        let respond: Arc<Respond> = Arc::new(respond);
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, respond) = (Arc::clone(&shared), Arc::clone(&respond));
                std::thread::spawn(move || serve(&stream, &log, &*respond));
            }
        });
        Self { url, log }
    }

    /// All requests so far, in the order of arrival.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.asked.lock().unwrap().clone()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.log.most_in_flight.load(SeqCst)
    }
}

/// Serves a connection until the client closes it or a cut answer does.
fn serve(stream: &TcpStream, log: &Log, respond: &Respond) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read_request(&mut reader) {
        let earlier = {
            let mut counts = log.counts.lock().unwrap();
            let count = counts.entry(asked.body.to_string()).or_default();
            *count += 1;
            *count - 1
        };
        let asked = Asked { earlier, ..asked };
        log.asked.lock().unwrap().push(asked.clone());
        log.most_in_flight.fetch_max(log.in_flight.fetch_add(1, SeqCst) + 1, SeqCst);
        let answer = respond(&asked);
        std::thread::sleep(answer.delay);
        log.in_flight.fetch_sub(1, SeqCst);
        let head = format!(
            "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n",
            answer.status,
            answer.body.len(),
            answer.headers
        );
        // One write: two would wait for the delayed acknowledgement of the first.
        let bytes = [head.as_bytes(), &answer.body[..answer.sent]].concat();
        let mut out = stream;
        let sent = out.write_all(&bytes);
        if sent.is_err() || answer.sent < answer.body.len() {
            return;
        }
    }
}

/// `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
    let (mut authorization, mut range, mut length) = (None, None, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.to_owned()),
            "range" => range = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked { line, authorization, range, body: serde_json::from_slice(&body).unwrap_or(Value::Null), earlier: 0 })
}

/// A server whose answer has this head and repeats a piece for ever, with a pause before each; chunked if the head says so.
#[derive(Debug)]
pub(crate) struct Raw {
    /// The base URL, `http://127.0.0.1:PORT/v1`.
    pub(crate) url: String,
    requests: Arc<AtomicUsize>,
}

impl Raw {
    pub(crate) fn start(head: &str, piece: &[u8], pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::<AtomicUsize>::default();
        let mut piece = piece.to_vec();
        if head.contains("chunked") {
            piece = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
        }
        let (head, counted) = (head.to_owned(), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (head, piece, counted) = (head.clone(), piece.clone(), Arc::clone(&counted));
                std::thread::spawn(move || {
                    let Some(_) = read_request(&mut BufReader::new(&stream)) else { return };
                    counted.fetch_add(1, SeqCst);
                    let mut sent = (&stream).write_all(head.as_bytes());
                    while sent.is_ok() {
                        std::thread::sleep(pause);
                        sent = (&stream).write_all(&piece);
                    }
                });
            }
        });
        Self { url, requests }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(SeqCst) as u32
    }
}
