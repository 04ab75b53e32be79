//! The architecture invariants of README.md that a test can check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

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

/// The files of a crate, by their paths in the checkout.
fn sources(krate: &str) -> Vec<(String, String)> {
    let files = rust_files(&root().join(krate).join("src"));
    assert!(!files.is_empty(), "{krate} has no sources");
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Whether code names a path that begins with `word`, or a function of this name: `word::x`, `use word as x`, `word(..)`.
/// Comments do not count.
fn names(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(word).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + word.len()..]);
            let begins = !before.ends_with(part_of_word);
            let imported = before.trim_end().ends_with("use") && !after.starts_with(part_of_word);
            begins && (imported || after.starts_with("::") || after.starts_with('('))
        })
    })
}

/// The packages that a manifest has the crate depend on, whatever they are called in it; those of tests only if so asked.
fn dependencies(manifest: &str, of_tests: bool) -> Vec<String> {
    let manifest: Table = manifest.parse().unwrap();
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(Value::as_table).chain([&manifest]);
    let kinds = ["dependencies", "build-dependencies", "dev-dependencies"];
    let kinds = &kinds[..if of_tests { 3 } else { 2 }];
    let lists = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    let entries = lists.flatten().map(|(name, entry)| entry.get("package").and_then(Value::as_str).unwrap_or(name));
    entries.map(str::to_owned).collect()
}

/// Whether a package is a library or one of its family, such as burn-flex of burn.
fn is_of(package: &str, library: &str) -> bool {
    package.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn manifest(krate: &str) -> String {
    fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap()
}

#[test]
fn each_library_is_known_to_one_crate() {
    let owners = [
        ("datafusion", "data"),
        ("parquet", "data"),
        ("tokenizers", "data"),
        ("reqwest", "teacher"),
        ("rusqlite", "teacher"),
        ("burn", "student"),
        ("safetensors", "student"),
        ("axum", "student"),
        ("hyper", "student"),
    ];
    for (library, owner) in owners {
        for krate in CRATES {
            let depends = dependencies(&manifest(krate), false).iter().any(|package| is_of(package, library));
            assert_eq!(depends, krate == owner, "{krate} and {library}, which only {owner} may depend on");
            for (name, text) in sources(krate).iter().filter(|_| krate != owner) {
                assert!(!names(text, library), "{name} names {library}, which only {owner} may");
            }
        }
    }
}

#[test]
fn crates_depend_in_one_direction() {
    let workspace: Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    for (krate, not) in [
        ("data", ["teacher", "student", "pipeline"].as_slice()),
        ("teacher", &["student", "pipeline"]),
        ("student", &["teacher", "pipeline"]),
    ] {
        let depends = dependencies(&manifest(krate), true);
        for other in not {
            let package = manifest(other).parse::<Table>().unwrap()["package"]["name"].as_str().unwrap().to_owned();
            let here =
                workspace["workspace"]["dependencies"].get(other).map(|entry| entry["package"].as_str().unwrap());
            assert!(here.is_none_or(|here| here == package), "{other} is the package {package}");
            assert!(
                !depends.contains(&package) && !depends.iter().any(|name| name == other),
                "{krate} depends on {other}"
            );
        }
    }
}

/// The checks above find what they are for.
#[test]
fn what_is_not_allowed_is_found() {
    for code in [
        "use burn::x;",
        "use burn as b;",
        "    let x = burn::tensor::<f32>();",
        "fn f(x: &burn::Tensor)",
        "pub use burn;",
    ] {
        assert!(names(code, "burn"), "{code}");
    }
    for code in ["// burn::x", "use sunburn::x;", "use burn_flex::x;", "let burn = 1;", "\"burn\""] {
        assert!(!names(code, "burn"), "{code}");
    }
    assert!(names("fs::rename(a, b)", "rename") && !names("#[serde(rename_all = \"x\")]", "rename"));
    let manifest = "[dependencies]\nburn-flex = \"1\"\nx.workspace = true\ny = { package = \"burn\", version = \"1\" }\n\
        [target.'cfg(unix)'.dependencies]\nz = \"1\"\n[dev-dependencies]\nt = \"1\"\n";
    let mut found = dependencies(manifest, false);
    found.sort();
    assert_eq!(found, ["burn", "burn-flex", "x", "z"]);
    assert!(dependencies(manifest, true).contains(&"t".to_owned()));
    assert!(is_of("burn-flex", "burn") && is_of("burn", "burn") && !is_of("burner", "burn"));
    let readme = "x `other`\n- **a**: `one` a ·\n  `two` b\n- **b**: `three`\n\n`four`";
    assert_eq!(modules_in(readme, "a"), ["one", "two"]);
    assert_eq!(modules_in(readme, "b"), ["three"]);
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    for krate in CRATES {
        for (name, text) in sources(krate) {
            let lines = text.lines().count();
            assert!(lines <= 500, "{name} has {lines} lines");
            let is_test = name.contains("test") || name.ends_with("/error.rs");
            assert!(is_test || text.starts_with("//!"), "{name} has no module documentation");
            let allow = ["#[", "allow("].concat();
            assert!(!text.contains(&allow), "{name}: expect with a reason instead");
        }
    }
}

#[test]
fn only_the_artifact_module_and_checkpoints_publish_by_renaming() {
    let may = ["data/src/artifact.rs", "student/src/checkpoint.rs", "pipeline/src/store.rs"];
    for krate in CRATES {
        for (name, text) in sources(krate) {
            let renames = ["rename", "renameat", "renameat2", "renameat_with"].iter().any(|call| names(&text, call));
            assert!(!renames || may.contains(&name.as_str()), "{name} renames files");
        }
    }
}

/// What README says that a crate consists of: the names in its item of the list.
fn modules_in(readme: &str, krate: &str) -> Vec<String> {
    let (_, item) = readme.split_once(&format!("\n- **{krate}**: ")).unwrap();
    let item = item.split("\n- **").next().unwrap().split("\n\n").next().unwrap();
    let mut names: Vec<String> = item.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn the_tree_in_the_readme_is_the_tree_on_disk() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for krate in CRATES {
        let entries = fs::read_dir(root().join(krate).join("src")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let stems = names.map(|name| name.trim_end_matches(".rs").to_owned());
        let is_named =
            |stem: &String| !["lib", "main", "error", "golden"].contains(&&**stem) && !stem.ends_with("tests");
        // A module may be a file and a folder.
        let stems: BTreeSet<String> = stems.filter(is_named).collect();
        assert_eq!(modules_in(&readme, krate), Vec::from_iter(stems), "modules of {krate} in README.md and on disk");
    }
}

/// Tests that skip are counted by `.ci/run` only if they say so through `skipped.rs`, and a crate is known to be tested
/// with its checks on only if its tests have `checked.rs`.
#[test]
fn tests_skip_in_one_way_and_know_whether_they_are_checked() {
    let sources = CRATES.into_iter().flat_map(|krate| rust_files(&root().join(krate).join("src")));
    for path in sources.chain(rust_files(&root().join("tests"))) {
        let text = fs::read_to_string(&path).unwrap();
        let one_way = path.ends_with("tests/skipped.rs") || path.ends_with("tests/tidy.rs");
        for mark in ["\"skipped:", "R1D_SHARED\"", "R1D_CACHE\""] {
            assert!(one_way || !text.contains(mark), "{} skips without skipped.rs: {mark}", path.display());
        }
    }
    for root_of_tests in ["data/src/lib.rs", "teacher/src/lib.rs", "student/src/lib.rs", "tests/main.rs"] {
        let text = fs::read_to_string(root().join(root_of_tests)).unwrap();
        assert!(text.contains("\nmod checked;"), "{root_of_tests} lacks tests/checked.rs");
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
