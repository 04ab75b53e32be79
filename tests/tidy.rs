//! The architecture invariants of README.md that a test can check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::support::root;

/// The crates from the ground up, and which of the others each may use. One names only those that stand before it, so that
/// there is no circle.
const CRATES: [(&str, &[&str]); 15] = [
    ("data/records", &[]),
    ("data/verify", &[]),
    ("data/text", &["records"]),
    ("data/sandbox", &["records"]),
    ("data/tokens", &["records"]),
    ("data/hub", &["records"]),
    ("data/sources", &["hub", "records", "verify"]),
    ("data/sql", &["hub", "records", "sources", "text", "tokens", "verify"]),
    ("data/curate", &["records", "sandbox", "sources", "sql", "text", "tokens", "verify"]),
    ("teacher", &["hub", "records"]),
    ("student/model", &["records"]),
    ("student/folder", &["model", "records", "tokens"]),
    ("student/train", &["model", "records", "tokens"]),
    ("student/generate", &["model", "records", "tokens", "verify"]),
    (
        "pipeline",
        &[
            "curate", "folder", "generate", "hub", "model", "records", "sandbox", "sources", "sql", "teacher", "text",
            "tokens", "train", "verify",
        ],
    ),
];

/// Libraries that only some crates may know.
const OWNERS: [(&str, &[&str]); 10] = [
    ("datafusion", &["data/sql", "data/curate"]),
    ("parquet", &["data/records", "data/sources", "data/sql"]),
    ("tokenizers", &["data/tokens"]),
    ("seccompiler", &["data/sandbox"]),
    ("reqwest", &["teacher"]),
    ("rusqlite", &["teacher"]),
    ("burn", &["student/model", "student/folder", "student/train", "student/generate"]),
    ("safetensors", &["student/model"]),
    ("axum", &["student/generate"]),
    ("hyper", &["student/generate"]),
];

/// The folders of the crates.
fn crates() -> impl Iterator<Item = &'static str> {
    CRATES.into_iter().map(|(krate, _)| krate)
}

/// A crate's name as other crates write it.
fn name_of(krate: &str) -> &str {
    krate.rsplit('/').next().unwrap()
}

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

/// Whether a file holds tests alone. One on tests of programs (`test_columns.rs`) does not.
fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs") || name.ends_with("_tests.rs")
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
fn each_library_is_known_to_its_owners_only() {
    for (library, owners) in OWNERS {
        for krate in crates() {
            let depends = dependencies(&manifest(krate), false).iter().any(|package| is_of(package, library));
            assert_eq!(depends, owners.contains(&krate), "{krate} and {library}, which only {owners:?} may depend on");
            let of_others = sources(krate).into_iter().filter(|(name, _)| !owners.contains(&krate) && !is_test(name));
            for (name, text) in of_others {
                assert!(!names(&text, library), "{name} names {library}, which only {owners:?} may");
            }
        }
    }
}

#[test]
fn crates_depend_in_one_direction() {
    let workspace: Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let mut before: Vec<&str> = Vec::new();
    for (krate, may) in CRATES {
        let name = name_of(krate);
        let package = manifest(krate).parse::<Table>().unwrap()["package"]["name"].as_str().unwrap().to_owned();
        if let Some(entry) = workspace["workspace"]["dependencies"].get(name) {
            assert_eq!(entry["package"].as_str(), Some(&*package), "{name} is the package of {krate}");
            assert_eq!(entry["path"].as_str(), Some(krate), "{name} is in {krate}");
        }
        let found = dependencies(&manifest(krate), false);
        let mut found: Vec<&str> = found.iter().map(String::as_str).filter(|name| is_own(name)).collect();
        found.sort_unstable();
        assert_eq!(found, may, "what {krate} depends on");
        assert!(may.iter().all(|name| before.contains(name)), "{krate} stands before what it uses");
        // A crate may be tested with any that does not need it.
        let of_tests = dependencies(&manifest(krate), true);
        let later: Vec<&String> = of_tests.iter().filter(|name| is_own(name) && needs(name, name_of(krate))).collect();
        assert!(later.is_empty(), "{krate} is tested with {later:?}, which need it");
        before.push(name);
    }
    for folder in ["data", "student"] {
        let on_disk = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let on_disk: BTreeSet<String> = on_disk
            .filter(|path| path.join("Cargo.toml").is_file())
            .map(|path| format!("{folder}/{}", path.file_name().unwrap().to_string_lossy()))
            .collect();
        let known = crates().filter(|krate| krate.starts_with(&format!("{folder}/"))).map(str::to_owned).collect();
        assert_eq!(on_disk, known, "crates in {folder}/");
    }
}

fn is_own(name: &str) -> bool {
    crates().any(|krate| name_of(krate) == name)
}

/// Whether a crate uses another one, itself or through others.
fn needs(krate: &str, other: &str) -> bool {
    let uses = CRATES.into_iter().find(|(path, _)| name_of(path) == krate).map_or(&[] as &[&str], |(_, uses)| uses);
    uses.iter().any(|name| *name == other || needs(name, other))
}

/// The graph as README draws it: each crate with those that it needs and does not get through another one.
#[test]
fn the_graph_in_the_readme_is_that_of_the_manifests() {
    let mut graph = "```mermaid\nflowchart BT\n".to_owned();
    // Crates that need the same ones share a line.
    let mut lines: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (krate, uses) in CRATES.into_iter().filter(|(_, uses)| !uses.is_empty()) {
        let direct = uses.iter().filter(|name| !uses.iter().any(|other| needs(other, name)));
        let direct: Vec<&str> = direct.copied().collect();
        match lines.iter_mut().find(|(same, _)| *same == direct) {
            Some((_, crates)) => crates.push(name_of(krate)),
            None => lines.push((direct, vec![name_of(krate)])),
        }
    }
    for (direct, crates) in lines {
        writeln!(graph, "    {} --> {}", direct.join(" & "), crates.join(" & ")).unwrap();
    }
    graph += "```\n";
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&graph), "README.md has not this graph:\n{graph}");
}

/// The modules that a file of a crate imports, by their first name: `crate::a::b` and `use crate::{a, c}` give a, b's parent,
/// and c. What tests import is left out.
fn imports(text: &str) -> BTreeSet<String> {
    let (text, _) = text.split_once("#[cfg(test)]\nmod tests").unwrap_or((text, ""));
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let first_word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let mut found = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            None => _ = found.insert(first_word(rest)),
            Some(list) => {
                let mut depth = 0;
                let end = list.find(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    depth < 0
                });
                let list = &list[..end.unwrap_or(list.len())];
                // Items of the outer list only: commas within braces separate what is below one of them.
                let mut depth = 0;
                let items = list.split(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    c == ',' && depth == 0
                });
                found.extend(items.map(|item| first_word(item.trim())));
            }
        }
    }
    found
}

/// A circle in a graph of modules, if there is one.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<&str>> {
    fn visit<'a>(
        graph: &'a BTreeMap<String, BTreeSet<String>>,
        module: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        if let Some(begin) = path.iter().position(|earlier| *earlier == module) {
            path.drain(..begin);
            return true;
        }
        if !done.insert(module) {
            return false;
        }
        path.push(module);
        let found = graph.get(module).into_iter().flatten().any(|next| visit(graph, next, path, done));
        if !found {
            path.pop();
        }
        found
    }
    let (mut path, mut done) = (Vec::new(), BTreeSet::new());
    graph.keys().any(|module| visit(graph, module, &mut path, &mut done)).then_some(path)
}

/// Within a crate, too, imports go in one direction: the modules right below its root, each with all that is in its folder.
#[test]
fn modules_of_a_crate_import_in_one_direction() {
    for krate in crates() {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, text) in sources(krate).into_iter().filter(|(name, _)| !is_test(name)) {
            let below = name.strip_prefix(&format!("{krate}/src/")).unwrap();
            let module = below.split(['/', '.']).next().unwrap().to_owned();
            let mut imported = imports(&text);
            imported.remove(&module);
            graph.entry(module).or_default().extend(imported);
        }
        // The root only says what is in the crate.
        graph.remove("lib");
        assert_eq!(circle(&graph), None, "modules of {krate} that import one another");
    }
}

/// No room becomes the house: see the tree in README.md.
#[test]
fn no_crate_is_a_quarter_of_all() {
    let lines = |krate| sources(krate).iter().map(|(_, text)| text.lines().count()).sum::<usize>();
    let sizes: Vec<(&str, usize)> = crates().map(|krate| (krate, lines(krate))).collect();
    let all: usize = sizes.iter().map(|(_, lines)| lines).sum();
    for (krate, lines) in sizes {
        assert!(4 * lines < all, "{krate} has {lines} of {all} lines");
    }
}

/// The checks above find what they are for.
#[test]
fn what_is_not_allowed_is_found() {
    assert!(is_test("a/src/tests.rs") && is_test("a/src/tests/b.rs") && is_test("a/src/collect_tests.rs"));
    assert!(!is_test("a/src/test_columns.rs") && !is_test("a/src/test_columns/asserts.rs"));
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
    let code = "use crate::a::b;\nuse crate::{c, d::{e, f}, G};\nlet x = crate::h();\n// crate::i\n#[cfg(test)]\nmod tests { use crate::j; }";
    assert_eq!(Vec::from_iter(imports(code)), ["G", "a", "c", "d", "h"]);
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(circle(&graph(&[("x", "a"), ("a", "b"), ("b", "c"), ("c", "a")])), Some(vec!["a", "b", "c"]));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    for krate in crates() {
        for (name, text) in sources(krate) {
            let lines = text.lines().count();
            assert!(lines <= 500, "{name} has {lines} lines");
            let needs_none = is_test(&name) || name.ends_with("/error.rs");
            assert!(needs_none || text.starts_with("//!"), "{name} has no module documentation");
            let allow = ["#[", "allow("].concat();
            assert!(!text.contains(&allow), "{name}: expect with a reason instead");
        }
    }
}

#[test]
fn only_the_artifact_module_and_checkpoints_publish_by_renaming() {
    let may = ["data/records/src/artifact.rs", "student/train/src/checkpoint.rs", "pipeline/src/run/store.rs"];
    for krate in crates() {
        for (name, text) in sources(krate) {
            let renames = ["rename", "renameat", "renameat2", "renameat_with"].iter().any(|call| names(&text, call));
            assert!(!renames || may.contains(&name.as_str()), "{name} renames files");
        }
    }
}

/// README's tree has a line for each crate, in the order of [`CRATES`].
#[test]
fn the_tree_in_the_readme_is_the_tree_on_disk() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, tree) = readme.split_once("\n## Where things are\n\n").unwrap();
    let lines = tree.lines().take_while(|line| line.starts_with("    "));
    let folders: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(folders, crates().chain(["recipes/", "tests/"]).collect::<Vec<_>>(), "README's tree");
}

/// Tests that skip are counted by `.ci/run` only if they say so through the crate `fixtures`, and a crate is known to be tested
/// with its checks on only if its tests have `checked.rs`.
#[test]
fn tests_skip_in_one_way_and_know_whether_they_are_checked() {
    let sources = crates().flat_map(|krate| rust_files(&root().join(krate).join("src")));
    for path in sources.chain(rust_files(&root().join("tests"))) {
        let text = fs::read_to_string(&path).unwrap();
        let one_way = path.ends_with("fixtures/src/lib.rs") || path.ends_with("tests/tidy.rs");
        for mark in ["\"skipped:", "R1D_SHARED\"", "R1D_CACHE\""] {
            assert!(one_way || !text.contains(mark), "{} skips without the crate `fixtures`: {mark}", path.display());
        }
    }
    let roots = crates().filter(|krate| *krate != "pipeline").map(|krate| format!("{krate}/src/lib.rs"));
    for root_of_tests in roots.chain(["tests/main.rs".to_owned()]) {
        let text = fs::read_to_string(root().join(&root_of_tests)).unwrap();
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
