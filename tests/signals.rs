use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::{Ran, TestFolder, tiny_recipe};

const PATIENCE: Duration = Duration::from_mins(2);

/// A command on its way, whose words can be waited for.
struct Going {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Going {
    /// `command` writes what is waited for to stderr.
    fn start(command: &Command) -> Self {
        let mut child =
            hearing(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, said: String::new() }
    }

    /// Waits for a line with these words, and returns it.
    #[track_caller]
    fn wait(&mut self, words: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else { panic!("no {words:?} in: {}", self.said) };
            self.said.push_str(&line);
            self.said.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    #[track_caller]
    fn ends(mut self, code: i32, words: &[&str]) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it goes on after: {}", self.said);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.said.extend(self.lines.iter().map(|line| line + "\n"));
        let ran = Ran { code: status.code(), stdout: String::new(), stderr: self.said };
        ran.fails(code, words);
    }
}

/// The command, with SIGHUP as it is by default: where the tests run under `nohup` it is ignored, and would stay so.
fn hearing(command: &Command) -> Command {
    let mut heard = Command::new("env");
    heard.arg("--default-signal=HUP").arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        heard.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => heard.env(name, value),
            None => heard.env_remove(name),
        };
    }
    heard
}

/// A named pipe that nobody has written to: whoever reads it waits.
fn fifo(folder: &TestFolder, name: &str) {
    assert!(Command::new("mkfifo").arg(folder.path(name)).status().unwrap().success());
}

/// Done when somebody reads the pipe, who then waits for as long as the result lives.
fn read_by_somebody(folder: &TestFolder, name: &str) -> File {
    File::options().write(true).open(folder.path(name)).unwrap()
}

/// A model of the right form, as made as fast as can be.
fn with_model() -> TestFolder {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml", "--to", "export", "--max-steps", "1"]).succeeds();
    folder
}

#[test]
fn every_signal_stops_a_run_which_saves_and_goes_on() {
    let folder = TestFolder::new();
    let recipe = tiny_recipe().replace("count = 300", "count = 6000");
    folder.write("recipe.toml", &recipe);
    let name = |signal: &str| if signal == "INT" { "Ctrl-C".to_owned() } else { format!("SIG{signal}") };
    for signal in ["TERM", "HUP", "INT"] {
        let mut run = Going::start(&folder.command(&["run", "recipe.toml", "--checkpoint-seconds", "0"]));
        run.wait("5/8 train");
        run.signal(signal);
        run.ends(
            130,
            &[&format!("stopping ({})", name(signal)), "stopped: stopped after step", "run the same command"],
        );
    }
    // As `timeout` sends it, to the process and to its group; and as systemd does.
    let mut run = Going::start(&folder.command(&["run", "recipe.toml"]));
    run.wait("5/8 train");
    for signal in ["TERM", "TERM", "HUP"] {
        run.signal(signal);
    }
    run.ends(130, &["stopped: stopped after step", "run the same command"]);
}

#[test]
fn every_command_ends_at_a_signal_with_one_code() {
    let folder = TestFolder::new();
    fifo(&folder, "recipe.toml");
    for signal in ["TERM", "INT", "HUP"] {
        for command in ["run", "plan", "tokens"] {
            let going = Going::start(&folder.command(&[command, "recipe.toml"]));
            let _held = read_by_somebody(&folder, "recipe.toml");
            going.signal(signal);
            going.ends(130, &["stopped by"]);
        }
    }
    // What waits for the Hub: downloads.
    let hub = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hub.local_addr().unwrap());
    for command in [
        ["generate", "hf://a/b", "hello"].as_slice(),
        &["serve", "hf://a/b"],
        &["logits", "hf://a/b", "--ids", "1", "--out", "logits"],
        &["sql", "SELECT 1", "--tokenizer", "hf://a/b"],
        &["sql", "SELECT 1", "--table", "t=hf://datasets/a/b/c.parquet"],
    ] {
        for signal in ["TERM", "HUP"] {
            let going = Going::start(folder.command(command).env("HF_ENDPOINT", &endpoint));
            let _asked = hub.accept().unwrap();
            going.signal(signal);
            going.ends(130, &["stopped by SIG"]);
        }
    }
}

/// Whoever reads the messages has paused, as `less` does: the program cannot go on, but it can end.
#[test]
fn a_reader_that_has_paused_does_not_keep_the_program_from_ending() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml", "--to", "curate"]).succeeds();
    let (_reader, mut writer) = std::io::pipe().unwrap();
    // All that the system keeps for a reader.
    writer.write_all(&vec![b'.'; 1 << 16]).unwrap();
    let dataset = ["dataset", "runs/tiny", "--format", "messages", "--output", "out.jsonl"];
    let mut child = folder.command(&dataset).stderr(writer).spawn().unwrap();
    let begun = Instant::now();
    let going_on = || assert!(begun.elapsed() < PATIENCE, "it goes on");
    while !folder.path("out.jsonl").exists() {
        going_on();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > PATIENCE => {
                child.kill().unwrap();
                panic!("it goes on");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_query_stops_at_every_signal() {
    let folder = TestFolder::new();
    for signal in ["TERM", "HUP", "INT"] {
        let mut going = Going::start(&folder.command(&["sql", "--format", "csv"]));
        let endless = "SELECT count(*) FROM range(1, 1000000) a, range(1, 1000000) b WHERE a.value < b.value;";
        let mut stdin = going.child.stdin.take().unwrap();
        stdin.write_all(format!("SELECT 'begun';\n{endless}\n").as_bytes()).unwrap();
        let mut stdout = going.child.stdout.take().unwrap();
        let mut said = String::new();
        while !said.contains("begun\n") {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            said.push(char::from(byte[0]));
        }
        going.signal(signal);
        going.ends(130, &["stopp"]);
    }
}

#[test]
fn nohup_is_respected() {
    let folder = TestFolder::new();
    fifo(&folder, "recipe.toml");
    let program = env!("CARGO_BIN_EXE_r1-distill");
    let mut command = Command::new("sh");
    command.current_dir(folder.path("")).args(["-c", "trap '' HUP; exec \"$0\" plan recipe.toml", program]);
    let going = Going::start(&command);
    let _held = read_by_somebody(&folder, "recipe.toml");
    going.signal("HUP");
    going.signal("TERM");
    going.ends(130, &["stopped by SIGTERM"]);
}

/// A server on a port of its own.
fn serve(folder: &TestFolder, options: &[&str]) -> (Going, String) {
    let arguments = [&["serve", "runs/tiny/export/model", "--listen", "127.0.0.1:0"], options].concat();
    let mut going = Going::start(&folder.command(&arguments));
    let line = going.wait("serving model on http://");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    (going, address)
}

/// A request that was taken and whose body is awaited.
fn begun(address: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn a_server_says_what_it_finishes_and_how_long_it_takes() {
    let folder = with_model();
    let (going, _) = serve(&folder, &[]);
    going.signal("TERM");
    going.ends(0, &["stopping: nothing is in progress"]);

    // What is in progress is answered, and nothing else is.
    let body = r#"{"messages": [{"role": "user", "content": "1 + 1?"}], "max_tokens": 3}"#;
    let (mut going, address) = serve(&folder, &[]);
    let mut request = begun(&address, body);
    going.signal("TERM");
    let said = going.wait("stopping");
    for words in ["no new requests", "finishing 1 completion,", "at most 30 s", "again stops at once"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert!(TcpStream::connect(&address).is_err(), "nobody listens");
    request.write_all(body.as_bytes()).unwrap();
    let mut reply = String::new();
    request.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("chat.completion"), "{reply}");
    going.ends(0, &[]);

    // It is not waited for for ever.
    let (going, address) = serve(&folder, &["--drain", "1"]);
    let _stalled = begun(&address, body);
    going.signal("HUP");
    going.ends(130, &["at most 1 s", "stopped: after 1 s, with 1 completion"]);

    // A second signal, another one or the same, ends it at once.
    for second in ["INT", "TERM"] {
        let (mut going, address) = serve(&folder, &["--drain", "3000"]);
        let _stalled = begun(&address, body);
        going.signal("TERM");
        going.wait("stopping");
        if second == "TERM" {
            // Sooner, it is taken for an echo of the first.
            std::thread::sleep(Duration::from_millis(1100));
        }
        going.signal(second);
        going.ends(130, &["stopped: at once"]);
    }
}

#[test]
fn a_server_that_cannot_hold_one_sequence_is_refused_with_numbers() {
    let folder = with_model();
    let serve = |options: &[&str]| {
        folder.run(&[&["serve", "runs/tiny/export/model", "--listen", "127.0.0.1:0"], options].concat())
    };
    serve(&["--cache-mib", "0"]).fails(2, &["key-value cache", "one sequence of", "MiB", "--cache-mib"]);
    serve(&["--context", "0"]).fails(2, &["--context"]);
    serve(&["--batch", "0"]).fails(2, &["--batch"]);
    serve(&["--allow-host", "a b"]).fails(2, &["a b", "host name"]);
    let generate = ["generate", "runs/tiny/export/model", "1 + 1?", "--cache-mib", "0"];
    folder.run(&generate).fails(2, &["key-value cache", "--cache-mib"]);
    // Before it is trained what cannot be evaluated.
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml", "--cache-mib", "0"]).fails(2, &["key-value cache", "--cache-mib"]);
    assert!(!folder.path("runs/tiny/train").exists(), "it was trained");
}
