use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

const CRATES: [&str; 4] = ["data", "teacher", "student", "pipeline"];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

fn sources(krate: &str) -> Vec<(PathBuf, String)> {
    let files = rust_files(&root().join(krate).join("src")).into_iter();
    files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn each_library_is_known_to_one_crate() {
    let owners = [
        ("datafusion", "data"),
        ("parquet::", "data"),
        ("tokenizers::", "data"),
        ("reqwest", "teacher"),
        ("rusqlite", "teacher"),
        ("burn", "student"),
        ("safetensors::", "student"),
        ("axum", "student"),
        ("hyper", "student"),
    ];
    for (library, owner) in owners {
        for krate in CRATES.into_iter().filter(|krate| *krate != owner) {
            for (path, text) in sources(krate) {
                let used = text.lines().any(|l| l.trim_start().starts_with(&format!("use {library}")));
                assert!(!used, "{} uses {library}, which only {owner} may", path.display());
            }
        }
    }
}

#[test]
fn crates_depend_in_one_direction() {
    for (krate, not) in [
        ("data", ["teacher", "student", "pipeline"].as_slice()),
        ("teacher", &["student", "pipeline"]),
        ("student", &["teacher", "pipeline"]),
    ] {
        let manifest = fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
        for other in not {
            assert!(!manifest.contains(&format!("\n{other}.workspace")), "{krate} depends on {other}");
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    for krate in CRATES {
        for (path, text) in sources(krate) {
            let lines = text.lines().count();
            assert!(lines <= 500, "{} has {lines} lines", path.display());
            let is_test = path.to_string_lossy().contains("test") || path.ends_with("error.rs");
            assert!(is_test || text.starts_with("//!"), "{} has no module documentation", path.display());
            let allow = ["#[", "allow("].concat();
            assert!(!text.contains(&allow), "{}: expect with a reason instead", path.display());
        }
    }
}

#[test]
fn only_the_artifact_module_and_checkpoints_publish_by_renaming() {
    let may = ["data/src/artifact.rs", "student/src/checkpoint.rs", "pipeline/src/store.rs"];
    for krate in CRATES {
        for (path, text) in sources(krate) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            assert!(!text.contains("fs::rename") || may.contains(&name.as_str()), "{name} renames files");
        }
    }
}

#[test]
fn the_tree_in_the_readme_is_the_tree_on_disk() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for krate in CRATES {
        for entry in fs::read_dir(root().join(krate).join("src")).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            let stem = name.trim_end_matches(".rs");
            if ["lib", "main", "error", "golden"].contains(&stem) || stem.ends_with("tests") {
                continue;
            }
            assert!(readme.contains(&format!("`{stem}`")), "README.md does not mention {krate}/src/{name}");
        }
    }
}

#[test]
fn assets_are_small() {
    let total: u64 =
        fs::read_dir(root().join("teacher/assets")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(total <= 8 * 1024 * 1024, "{total} bytes");
}

#[test]
fn the_top_level_is_what_it_should_be() {
    let expected = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "data",
        "pipeline",
        "recipes",
        "student",
        "teacher",
        "tests",
    ];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let ignored = name.starts_with('.') || name == "target" || name == "runs";
        assert!(ignored || expected.contains(&name.as_str()), "{name} at the top level");
    }
}
