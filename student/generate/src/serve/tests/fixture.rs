//! A server on a port of its own, models for it, and a client of a few lines.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use burn::tensor::{Tensor, TensorData};
use model::Model;
use model::config::{Architecture, ModelConfig};
use model::device::DeviceName;
use serde_json::{Value, json};
use tokens::chat::{ChatFormat, R1_TEMPLATE};
use tokens::template::Template;
use tokens::tokenizer::Tokenizer;
use tokio::sync::oneshot;

use crate::Result;
use crate::engine::{Engine, Limits};
use crate::serve::{ChatModel, ServeOptions, serve};

pub(super) fn format() -> ChatFormat {
    let corpus: Vec<String> = (0..50).map(|n| format!("Mia has {n} apples and thinks about it.")).collect();
    ChatFormat::r1(Tokenizer::train(&corpus, 300).unwrap()).unwrap()
}

/// The same with a template that opens the thinking, as DeepSeek-R1's own does since 2025.
pub(super) fn format_that_opens_thinking() -> ChatFormat {
    let mut format = format();
    let opening = "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}";
    format.template = Template::new(format!("{R1_TEMPLATE}{opening}")).unwrap();
    format
}

fn config(vocab_size: usize, hidden_size: usize, context: usize) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocab_size,
        hidden_size,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        max_position_embeddings: context,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        rope_scaling: None,
        tie_word_embeddings: false,
    }
}

/// A model that writes anything.
pub(super) fn random_model(format: &ChatFormat, context: usize) -> Model {
    Model::random(&config(format.tokenizer.vocab_size(), 16, context), 0.02, 7, &DeviceName::Cpu.open().unwrap())
}

/// A model that, at temperature 0, writes `tokens` after the end of the prompt: attention and feed-forward add nothing,
/// so that a token's embedding, one of its own direction, decides on the next token.
pub(super) fn scripted_model(format: &ChatFormat, tokens: &[u32], context: usize) -> Model {
    let vocab = format.tokenizer.vocab_size();
    let device = DeviceName::Cpu.open().unwrap();
    let prompt = format.prompt_ids(&[records::record::Message::user("?")]).unwrap();
    let script: Vec<u32> = prompt.last().into_iter().chain(tokens).copied().collect();
    Model::build(&config(vocab, vocab, context), |name, [rows, columns]| {
        let mut values = vec![if rows == 1 { 1.0f32 } else { 0.0 }; rows * columns];
        if name == "model.embed_tokens.weight" {
            for token in 0..vocab {
                values[token * columns + token] = 1.0;
            }
        } else if name == "lm_head.weight" {
            for pair in script.windows(2) {
                let [token, next] = [pair[0], pair[1]].map(|id| id as usize);
                let scripted = values.iter().skip(token).step_by(columns).any(|x| *x > 0.0);
                assert!(!scripted, "token {token} is in the script twice");
                values[next * columns + token] = 1.0;
            }
        }
        Ok::<_, crate::Error>(Tensor::from_data(TensorData::new(values, [rows, columns]), &device))
    })
    .unwrap()
}

/// A model that writes `text` and ends.
pub(super) fn writes(format: ChatFormat, text: &str) -> ChatModel {
    let mut tokens = format.tokenizer.encode(text).unwrap();
    tokens.push(format.eos_id);
    let model = scripted_model(&format, &tokens, 256);
    chat_model(format, model)
}

pub(super) fn limits(context: usize) -> Limits {
    Limits { context, batch: 2, cache_bytes: 1 << 30 }
}

pub(super) fn chat_model(format: ChatFormat, model: Model) -> ChatModel {
    let context = model.config.max_position_embeddings;
    let engine = Engine::start(model, vec![format.eos_id], limits(context)).unwrap();
    ChatModel { name: "student".into(), format, engine }
}

/// A server; dropping it shuts it down.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<usize>>>,
}

impl Running {
    pub(super) fn start(model: ChatModel) -> Self {
        Self::start_with(model, ServeOptions::default())
    }

    pub(super) fn start_with(model: ChatModel, options: ServeOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, signal) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let signal = async move { drop(signal.await) };
            runtime.block_on(serve(listener, Arc::new(model), options, signal, |_| ()))
        });
        Self { address, shutdown: Some(shutdown), thread: Some(thread) }
    }

    pub(super) fn signal(&mut self) {
        self.shutdown = None;
    }

    pub(super) fn wait(&mut self) -> Result<usize> {
        self.thread.take().unwrap().join().unwrap()
    }

    /// Sends a request and leaves the reply to be read.
    pub(super) fn send(&self, method: &str, path: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A body that is too large is not read to its end.
        let _ = stream.write_all(body);
        stream
    }

    /// Sends a request with these headers as it stands, and reads the reply's status, head and body.
    pub(super) fn raw(&self, line: &str, headers: &[&str], body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let headers = headers.iter().flat_map(|header| [*header, "\r\n"]).collect::<String>();
        let length = body.len();
        let text = format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        stream.write_all(text.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not a reply: {reply:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    pub(super) fn call(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        read_reply(self.send(method, path, body))
    }

    pub(super) fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.call("GET", path, b"");
        (status, serde_json::from_str(&body).unwrap())
    }

    /// A chat request about nothing in particular with these fields.
    pub(super) fn chat(&self, fields: Value) -> (u16, Value) {
        let (status, body) = self.call("POST", CHAT, &chat_body(fields));
        (status, serde_json::from_str(&body).unwrap())
    }

    pub(super) fn chat_ok(&self, fields: Value) -> Value {
        let (status, reply) = self.chat(fields);
        assert_eq!(status, 200, "{reply}");
        reply
    }

    /// The chunks of a stream; its end is checked.
    pub(super) fn stream(&self, mut fields: Value) -> Vec<Value> {
        fields["stream"] = json!(true);
        let (status, body) = self.call("POST", CHAT, &chat_body(fields));
        assert_eq!(status, 200, "{body}");
        let mut lines: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(lines.pop(), Some("[DONE]"), "{body}");
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

pub(super) const CHAT: &str = "/v1/chat/completions";

pub(super) fn chat_body(mut fields: Value) -> Vec<u8> {
    if fields.get("messages").is_none() {
        fields["messages"] = json!([{ "role": "user", "content": "How many apples?" }]);
    }
    fields.to_string().into_bytes()
}

/// Status and body; a chunked body is put together.
pub(super) fn read_reply(mut stream: TcpStream) -> (u16, String) {
    let mut reply = Vec::new();
    // A connection that is closed with unread input ends with an error after the reply.
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8(reply).unwrap();
    let (head, mut body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not a reply: {reply:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return (status, body.to_owned());
    }
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (status, whole);
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap();
    }
}
