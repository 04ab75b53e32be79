//! Tests that need what not every machine has: each says that it skips in this one way, and `.ci/run` counts them by what
//! they lack. The tests of each crate have this file as a module.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Says that the test that runs now skips, or leaves a part out, for want of a fixture, and writes a line to the file that
/// `R1D_SKIPPED` names. `.ci/run` has a number for each fixture: `shared`, `models`, `sandbox`, `compiler`, `tmux`,
/// `avx512f`, `avx512_bf16`. Call it on the test's own thread, which has the test's name.
pub(crate) fn skipped(fixture: &str, why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // Not by `eprintln!`, which is shown of failed tests only.
    let _ = std::io::stderr().write_all(format!("skipped: {test}: {why}\n").as_bytes());
    let Some(path) = std::env::var_os("R1D_SKIPPED") else { return };
    assert!(test.contains("::"), "{test:?} is no test's name: count skipped tests with two test threads or more");
    let line = format!("{fixture}\t{} {test}\n", env!("CARGO_PKG_NAME"));
    let file = std::fs::File::options().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
}

/// A place in the folder of real data that `R1D_SHARED` names. Without it the test skips; with it all of it must be there.
pub(crate) fn shared(place: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("R1D_SHARED") else {
        skipped("shared", "R1D_SHARED names no folder of real data");
        return None;
    };
    let path = PathBuf::from(folder).join(place);
    assert!(path.exists(), "R1D_SHARED is set, and there is no {}", path.display());
    Some(path)
}

/// The folder of real models, `models` in `R1D_CACHE` or else in `~/.cache/r1d`. The test that asks leaves out what is not
/// there.
pub(crate) fn models() -> PathBuf {
    let cache = std::env::var_os("R1D_CACHE").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/r1d"));
    let models = cache.or_else(home).unwrap_or_default().join("models");
    for name in ["qwen2.5-coder-0.5b", "smollm2-135m"] {
        if !models.join(name).join("tokenizer.json").is_file() {
            skipped("models", &format!("there is no {name} in {}", models.display()));
        }
    }
    models
}
