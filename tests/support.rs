//! A folder for one test, and the program in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) struct TestFolder(tempfile::TempDir);

/// What a finished command printed.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl TestFolder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The folder `base` with all of a model but its weights.
    pub(crate) fn write_model_base(&self) {
        fs::create_dir_all(self.path("base")).unwrap();
        let assets = root().join("teacher/assets");
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(assets.join(name), self.path("base").join(name)).unwrap();
        }
        let config = fs::read_to_string(assets.join("config.json")).unwrap();
        let longer = config.replace("\"max_position_embeddings\": 512", "\"max_position_embeddings\": 2048");
        assert_ne!(config, longer);
        self.write("base/config.json", &longer);
    }

    /// The program, to be run in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_r1-distill"));
        command.current_dir(self.0.path()).args(arguments);
        // Neither the net nor the cache, keys and token of whoever runs the tests.
        for name in ["R1_DISTILL_API_KEY", "R1_DISTILL_JUDGE_API_KEY"] {
            command.env_remove(name);
        }
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"] {
            command.env_remove(name);
        }
        for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN"] {
            command.env_remove(name);
        }
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command.env("HF_HOME", self.path("hf")).env("HF_ENDPOINT", "http://127.0.0.1:1");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Ended with this exit code, with all of these words in its message and no trace of a panic.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in: {}", self.stderr);
        }
    }

    #[track_caller]
    pub(crate) fn succeeds(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
    }
}

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A recipe of the tree with some texts replaced.
fn changed(recipe: &str, changes: &[(&str, &str)]) -> String {
    let text = fs::read_to_string(root().join("recipes").join(recipe)).unwrap();
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} is no longer in {recipe}");
        text.replace(from, to)
    })
}

/// A recipe that runs in seconds: the generator's own solutions, a model of a few thousand parameters.
pub(crate) fn tiny_recipe() -> String {
    let changes = [
        ("name = \"embedded-teacher\"", "name = \"tiny\""),
        ("count = 16000", "count = 300"),
        ("count = 200", "count = 6"),
        ("vocab_size = 512", "vocab_size = 320"),
        ("hidden_size = 192", "hidden_size = 32"),
        ("intermediate_size = 512", "intermediate_size = 64"),
        ("num_hidden_layers = 6", "num_hidden_layers = 2"),
        ("num_attention_heads = 6", "num_attention_heads = 4"),
        ("max_tokens = 200", "max_tokens = 24"),
        ("held_out = 0", "held_out = 10"),
        ("control = false", "control = true"),
        ("# eval_every = 50", "eval_every = 5"),
        ("keep_best = false", "keep_best = true"),
    ];
    changed("embedded-teacher.toml", &changes)
}

/// The quickstart, with few problems and a model of a few thousand parameters.
pub(crate) fn small_quickstart() -> String {
    let changes = [
        ("count = 3000", "count = 80"),
        ("count = 150", "count = 6"),
        ("samples = 4", "samples = 2"),
        ("vocab_size = 640", "vocab_size = 320"),
        ("hidden_size = 128", "hidden_size = 32"),
        ("intermediate_size = 384", "intermediate_size = 64"),
        ("held_out = 50", "held_out = 5"),
    ];
    changed("quickstart.toml", &changes)
}
