//! What is said of recipes with mistakes in them, word for word.

use std::path::Path;

use annotate_snippets::Renderer;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Recipe;
use super::shape::Shape;

/// Names that are not known, or missing.
mod names;
/// Kinds, words, types, and what is no TOML.
mod types;
/// SQL and values that only fit each other.
mod values;

const WHOLE: &str = include_str!("tests/whole.toml");

/// The recipe with texts replaced.
#[track_caller]
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(WHOLE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

/// What is said of a text.
#[track_caller]
fn said_of(path: &Path, text: String) -> String {
    Recipe::parse(path, text).unwrap_err().render(&Renderer::plain())
}

/// What is said of the recipe with texts replaced.
#[track_caller]
fn shows(changes: &[(&str, &str)], expected: &str) {
    let said = said_of(Path::new("recipe.toml"), changed(changes));
    // All columns of the verdicts would be a long line.
    let short = |line: &str| match line.split_once("the columns are: row, trace_id, ") {
        Some((before, _)) => format!("{before}the columns are: ..."),
        None => line.to_owned(),
    };
    let said = said.lines().map(short).collect::<Vec<_>>().join("\n");
    assert!(said == expected.trim(), "{changes:?} gives\n{said}\nand not\n{}", expected.trim());
}

#[test]
fn a_recipe_without_mistakes_is_read() {
    let (recipe, text) = Recipe::parse(Path::new("recipe.toml"), WHOLE.to_owned()).unwrap();
    assert_eq!((recipe.name.as_str(), text.as_str()), ("whole", WHOLE));
}

#[test]
fn every_type_of_a_recipe_has_a_shape() {
    fn walk(schema: &Value, path: &str, count: &mut usize) {
        *count += 1;
        let shape = Shape::of(schema).unwrap_or_else(|| panic!("{path}: {schema}"));
        let mut fields = |fields: super::shape::Fields<'_>| {
            for name in fields.names() {
                walk(fields.get(name).unwrap(), &format!("{path}.{name}"), count);
            }
        };
        match shape {
            Shape::Table(all) | Shape::Words(_, Some(all)) => fields(all),
            Shape::Kinds(kinds) => kinds.into_iter().for_each(|(_, all)| fields(all)),
            Shape::Names(inner) | Shape::List(inner) => walk(inner, path, count),
            _ => {}
        }
    }
    let schema = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = schema.into_generator().into_root_schema_for::<Recipe>();
    let mut count = 0;
    walk(schema.as_value(), "", &mut count);
    assert!(count > 120, "{count}");
}

#[test]
fn colour_is_asked_for() {
    let said = |renderer: &Renderer| {
        Recipe::parse(Path::new("recipe.toml"), changed(&[("[train]", "[trian]")])).unwrap_err().render(renderer)
    };
    assert!(said(&Renderer::styled()).contains('\u{1b}'));
    assert!(!said(&Renderer::plain()).contains('\u{1b}'));
}

const POLICY: &str = "policy = \"well_formed AND finished AND correct\"";

/// The recipe with another policy, and maybe a file beside it.
fn load(policy: &str, sql: Option<&str>) -> Result<(Recipe, String), String> {
    let dir = tempfile::tempdir().unwrap();
    if let Some(sql) = sql {
        std::fs::create_dir(dir.path().join("policies")).unwrap();
        std::fs::write(dir.path().join("policies/mine.sql"), sql).unwrap();
    }
    let path = dir.path().join("recipe.toml");
    Recipe::parse(&path, changed(&[(POLICY, policy)])).map_err(|found| found.render(&Renderer::plain()))
}

#[test]
fn a_policy_in_a_file_is_its_text() {
    let sql = "-- \"readable\" \\ and right\r\nwell_formed AND\tcorrect -- é \u{7f} \u{1}\n";
    let (recipe, text) = load("policy = { file = \"policies/mine.sql\" }", Some(sql)).unwrap();
    assert_eq!(recipe.curate.policy, sql);
    // The recipe that a run keeps needs no file, and its lines are where they were.
    assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe);
    assert_eq!(text.lines().count(), WHOLE.lines().count());
}

#[test]
fn a_policy_of_many_lines_is_taken_as_it_is() {
    let sql = "-- right\nwell_formed\n  AND correct -- and that is all\n";
    let (recipe, _) = load(&format!("policy = \"\"\"\n{sql}\"\"\""), None).unwrap();
    assert_eq!(recipe.curate.policy, sql);
    let (same, _) = load("policy = { file = 'policies/mine.sql' }", Some(sql)).unwrap();
    assert_eq!(recipe, same, "what counts is the text, wherever it stands");
}

#[test]
fn a_policy_that_is_not_there_is_named() {
    let message = load("policy = { file = \"absent.sql\" }", None).unwrap_err();
    assert!(message.contains("curate.policy") && message.contains("absent.sql"), "{message}");
    for policy in ["policy = { path = \"a.sql\" }", "policy = { file = \"a.sql\", more = 1 }", "policy = {}"] {
        let message = load(policy, None).unwrap_err();
        assert!(message.contains("policy.sql"), "{policy}: {message}");
    }
    assert!(load("policy = 3", None).unwrap_err().contains("policy"));
}
