use std::fmt::Write as _;
use std::path::Path;

use crate::functions;

/// The table of functions in the crate's README is what the code says of them.
#[test]
fn the_readme_has_the_table_of_functions() {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut table = "| function | what it gives | example | result |\n|---|---|---|---|\n".to_owned();
    for function in functions() {
        let (signature, summary) = (cell(function.signature), cell(function.summary));
        let (example, result) = (cell(function.example), cell(function.result));
        writeln!(table, "| `{signature}` | {summary} | `{example}` | {result} |").unwrap();
    }
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(readme.contains(&table), "data/sql/README.md has not this table:\n{table}");
}
