//! A recipe against the schema of its types: all names, kinds and types that are wrong, before anything is made of it.
//!
//! Serde stops at the first mistake, and knows no place of what is in a table with a kind. So the text is compared with
//! the schema that is derived from the same types. Where a name is not known, what it stands for is looked for: a name
//! nearby that is missing, or the table that it belongs to. What is missing for such a reason is not told again.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;
use sql::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::shape::{Fields, KIND, Shape, listed};

/// Tables that are named as the right place of a field; a name that is in more tables gets no such hint.
const MOST_HOMES: usize = 3;
/// Missing fields that are explained.
const MOST_EXPLAINED: usize = 6;

/// A field that the schema knows.
struct Home<'s> {
    /// The table.
    table: String,
    name: &'s str,
    /// The kind of table that has it.
    kind: Option<&'s str>,
    /// It is a table itself.
    is_table: bool,
}

impl Home<'_> {
    fn path(&self) -> String {
        joined(&self.table, self.name)
    }

    fn in_words(&self) -> String {
        let kind = self.kind.map_or_else(String::new, |kind| format!(" with {KIND} = {kind:?}"));
        match (self.table.as_str(), self.is_table) {
            (_, true) => format!("[{}]{kind}", self.path()),
            ("", false) => "the top, before the first [table]".to_owned(),
            (table, false) => format!("[{table}]{kind}"),
        }
    }
}

/// A table of the recipe.
#[derive(Clone, Copy)]
struct Place<'a, 'i> {
    path: &'a str,
    table: &'a DeTable<'i>,
    /// The table's header, or an inline table.
    span: &'a Range<usize>,
    /// The rest of it stands elsewhere under a misspelt name.
    is_part: bool,
}

struct Missing<'s> {
    table: String,
    span: Range<usize>,
    names: Vec<(&'s str, &'s Value)>,
}

struct Comparison<'s, 't> {
    text: &'t str,
    homes: Vec<Home<'s>>,
    found: Vec<Diagnostic>,
    missing: Vec<Missing<'s>>,
    /// What unknown names stand for, by path.
    meant: BTreeSet<String>,
}

/// Compares a recipe with the schema.
pub(super) fn mistakes(text: &str, root: &DeTable<'_>, schema: &Value) -> Vec<Diagnostic> {
    let mut homes = Vec::new();
    collect_homes(schema, "", &mut homes);
    let mut comparison = Comparison { text, homes, found: Vec::new(), missing: Vec::new(), meant: BTreeSet::new() };
    if let Some(Shape::Table(fields)) = Shape::of(schema) {
        comparison.fields(Place { path: "", table: root, span: &(0..0), is_part: false }, fields);
    }
    comparison.finish()
}

fn joined(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}

fn is_table(schema: &Value) -> bool {
    matches!(Shape::of(schema), Some(Shape::Table(_) | Shape::Names(_) | Shape::Kinds(_)))
}

fn collect_homes<'s>(schema: &'s Value, path: &str, homes: &mut Vec<Home<'s>>) {
    let mut add = |fields: Fields<'s>, kind: Option<&'s str>| {
        for (name, schema) in fields.names().filter_map(|name| Some((name, fields.get(name)?))) {
            homes.push(Home { table: path.to_owned(), name, kind, is_table: is_table(schema) });
            collect_homes(schema, &joined(path, name), homes);
        }
    };
    match Shape::of(schema) {
        Some(Shape::Table(fields) | Shape::Words(_, Some(fields))) => add(fields, None),
        Some(Shape::Kinds(kinds)) => kinds.into_iter().for_each(|(kind, fields)| add(fields, Some(kind))),
        Some(Shape::List(items)) => collect_homes(items, path, homes),
        _ => {}
    }
}

impl<'s> Comparison<'s, '_> {
    fn value(&mut self, path: &str, value: &Spanned<DeValue<'_>>, schema: &'s Value) {
        let span = value.span();
        let Some(shape) = Shape::of(schema) else { return };
        match (&shape, value.get_ref()) {
            (Shape::Table(fields) | Shape::Words(_, Some(fields)), DeValue::Table(table)) => {
                self.fields(Place { path, table, span: &span, is_part: false }, *fields);
            }
            (Shape::Kinds(kinds), DeValue::Table(table)) => {
                self.kinds(Place { path, table, span: &span, is_part: false }, kinds);
            }
            (Shape::Names(inner), DeValue::Table(table)) => {
                for (name, value) in table {
                    self.value(&joined(path, name.get_ref()), value, inner);
                }
            }
            (Shape::List(items), DeValue::Array(array)) => {
                for (number, item) in array.iter().enumerate() {
                    self.value(&format!("{path}[{number}]"), item, items);
                }
            }
            (Shape::Words(words, _), DeValue::String(word)) => self.word(path, word, span, words),
            (&Shape::Integer(first, last), DeValue::Integer(integer)) => {
                let number = i128::from_str_radix(integer.as_str(), integer.radix());
                if !number.is_ok_and(|number| (first..=last).contains(&number)) {
                    let title = format!("`{path}` is {integer}, which is out of range");
                    self.found.push(Diagnostic::at(span, title, format!("from {first} to {last}")));
                }
            }
            (Shape::Float, DeValue::Float(float)) => {
                if !float.as_str().parse::<f64>().is_ok_and(f64::is_finite) {
                    let title = format!("`{path}` is {}, which is no number to compute with", float.as_str());
                    self.found.push(Diagnostic::at(span, title, "must be finite"));
                }
            }
            (Shape::Float, DeValue::Integer(_))
            | (Shape::Text, DeValue::String(_))
            | (Shape::Flag, DeValue::Boolean(_)) => {}
            (shape, other) => self.found.push(wrong_type(path, span, shape, other)),
        }
    }

    fn word(&mut self, path: &str, word: &str, span: Range<usize>, words: &[&'s str]) {
        if words.contains(&word) {
            return;
        }
        let meant = nearest(word, words.iter().copied());
        let label = meant.map_or_else(String::new, |meant| format!("did you mean {meant:?}?"));
        self.found.push(Diagnostic {
            help: vec![format!("it may be {}", listed(words.iter().map(|word| format!("{word:?}")), "or"))],
            ..Diagnostic::at(span, format!("`{path}` may not be {word:?}"), label)
        });
    }

    /// A table whose fields depend on its kind.
    fn kinds(&mut self, place: Place<'_, '_>, kinds: &[(&'s str, Fields<'s>)]) {
        let Place { path, table, .. } = place;
        let names: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
        let kind = table.iter().find(|(name, _)| name.get_ref() == KIND).map(|(_, value)| value);
        let Some(kind) = kind else {
            let known = |name: &str| kinds.iter().any(|(_, fields)| fields.get(name).is_some());
            let others: Vec<_> = table.iter().map(|(name, _)| name).filter(|name| !known(name.get_ref())).collect();
            let meant = nearest(KIND, others.iter().map(|name| name.get_ref().as_ref()));
            if let Some(name) = others.iter().find(|name| Some(name.get_ref().as_ref()) == meant) {
                let title = format!("unknown field `{}` in {}", name.get_ref(), self.named(path, place.span));
                let label = format!("did you mean `{KIND}`?");
                self.found.push(Diagnostic { is_name: true, ..Diagnostic::at(name.span(), title, label) });
                return;
            }
            let title = format!("missing field `{KIND}` in {}", self.named(path, place.span));
            let help = format!("it may be {}", listed(names.iter().map(|name| format!("{name:?}")), "or"));
            self.found.push(Diagnostic { help: vec![help], ..Diagnostic::at(place.span.clone(), title, "") });
            return;
        };
        let DeValue::String(written) = kind.get_ref() else {
            let shape = Shape::Words(names, None);
            self.found.push(wrong_type(&joined(path, KIND), kind.span(), &shape, kind.get_ref()));
            return;
        };
        // The fields are compared with those of the kind that was meant.
        let meant = nearest(written, names.iter().copied());
        self.word(&joined(path, KIND), written, kind.span(), &names);
        if let Some((_, fields)) = kinds.iter().find(|(name, _)| Some(*name) == meant) {
            self.fields(place, *fields);
        }
    }

    fn fields(&mut self, place: Place<'_, '_>, fields: Fields<'s>) {
        let has = |name: &str| place.table.iter().any(|(key, _)| key.get_ref() == name);
        for (key, value) in place.table {
            match fields.get(key.get_ref()) {
                // The kind is known by now.
                Some(schema) if schema.get("const").is_some() => {}
                Some(schema) => self.value(&joined(place.path, key.get_ref()), value, schema),
                None => self.unknown(place, fields, key, value),
            }
        }
        if !place.is_part {
            let lacking = fields.required().filter(|name| !has(name));
            let names: Vec<_> = lacking.filter_map(|name| Some((name, fields.get(name)?))).collect();
            let (table, span) = (place.path.to_owned(), place.span.clone());
            self.missing.push(Missing { table, span, names });
        }
    }

    fn unknown(
        &mut self,
        place: Place<'_, '_>,
        fields: Fields<'s>,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let (Place { path, .. }, name) = (place, key.get_ref().as_ref());
        let inner = value.get_ref().as_table();
        let title = match inner {
            Some(_) => format!("unknown table `{}`", joined(path, name)),
            None => format!("unknown field `{name}` in {}", self.named(path, place.span)),
        };
        let mut diagnostic = Diagnostic { is_name: true, ..Diagnostic::at(key.span(), title, "") };
        let has = |name: &&str| place.table.iter().any(|(key, _)| key.get_ref() == name);
        let mut homes: Vec<&Home<'_>> = self.homes.iter().filter(|home| home.name == name).collect();
        // Another kind of the same table is the likeliest.
        if homes.iter().any(|home| home.table == path) {
            homes.retain(|home| home.table == path);
        }
        let is_known_elsewhere = (1..=MOST_HOMES).contains(&homes.len());
        let lacking = nearest(name, fields.names().filter(|name| !has(name)));
        let near = lacking.or_else(|| if is_known_elsewhere { None } else { nearest(name, fields.names()) });
        if let Some(near) = near {
            diagnostic.label = format!("did you mean `{near}`?");
            let meant = joined(path, near);
            // What is in it is not missing from the table that was meant, nor is it left unlooked at.
            let inside = inner.into_iter().flat_map(DeTable::keys);
            self.meant.extend(inside.map(|key| joined(&meant, key.get_ref())));
            self.meant.insert(meant);
            let is_part = lacking.is_none();
            match (inner, fields.get(near).and_then(Shape::of)) {
                (Some(table), Some(Shape::Table(fields))) => {
                    let place = Place { path: &joined(path, name), table, span: &value.span(), is_part };
                    self.fields(place, fields);
                }
                (None, _) if !is_part => {
                    if let Some(schema) = fields.get(near) {
                        self.value(&joined(path, name), value, schema);
                    }
                }
                _ => {}
            }
        } else if is_known_elsewhere {
            let places: Vec<String> = homes.iter().map(|home| home.in_words()).collect();
            diagnostic.label = format!("belongs to {}", places.join(" or "));
            self.meant.extend(homes.iter().map(|home| home.path()));
        } else {
            let names = listed(fields.names().map(|name| format!("`{name}`")), "and");
            diagnostic.help.push(format!("{} may have {names}", self.named(path, place.span)));
        }
        self.found.push(diagnostic);
    }

    /// A table, as it is written there.
    fn named(&self, path: &str, span: &Range<usize>) -> String {
        match self.text.get(span.clone()) {
            _ if path.is_empty() => "the recipe".to_owned(),
            Some(written) if written.starts_with('{') => format!("`{path}`"),
            _ => format!("[{path}]"),
        }
    }

    fn finish(mut self) -> Vec<Diagnostic> {
        for Missing { table, span, mut names } in std::mem::take(&mut self.missing) {
            names.retain(|(name, _)| !self.meant.contains(&joined(&table, name)));
            if names.is_empty() {
                continue;
            }
            let written = |(name, schema): &(&str, &Value)| {
                if is_table(schema) { format!("[{}]", joined(&table, name)) } else { format!("`{name}`") }
            };
            let word = match names.as_slice() {
                [(_, schema)] if is_table(schema) => "table",
                [_] => "field",
                all if all.iter().all(|(_, schema)| is_table(schema)) => "tables",
                _ => "fields",
            };
            let all = listed(names.iter().map(written), "and");
            let title = format!("missing {word} {all} in {}", self.named(&table, &span));
            let explained = names.iter().take(MOST_EXPLAINED);
            let about = |(name, schema): &(&str, &Value)| {
                let about = schema["description"].as_str()?.split_whitespace().collect::<Vec<_>>().join(" ");
                Some(format!("{}: {about}", written(&(*name, *schema))))
            };
            let mut diagnostic =
                Diagnostic { title, help: explained.filter_map(about).collect(), ..Diagnostic::default() };
            if table.is_empty() {
                diagnostic.help.push("`r1-distill init` writes a complete recipe".to_owned());
            } else {
                diagnostic.span = Some(span);
            }
            self.found.push(diagnostic);
        }
        self.found
    }
}

fn wrong_type(path: &str, span: Range<usize>, shape: &Shape<'_>, value: &DeValue<'_>) -> Diagnostic {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    let instead = match (shape, value) {
        (Shape::Integer(..), DeValue::String(text)) => text.parse::<u64>().ok().map(|number| number.to_string()),
        (Shape::Float, DeValue::String(text)) => text.parse::<f64>().ok().map(|_| text.to_string()),
        (Shape::Integer(..), DeValue::Float(float)) => {
            let whole = float.as_str().parse::<f64>().ok().filter(|number| number.fract() == 0.0 && *number >= 0.0);
            whole.filter(|number| *number < 1e15).map(|number| format!("{number:.0}"))
        }
        (Shape::Flag, DeValue::String(text)) => Some(text.to_lowercase()).filter(|t| t == "true" || t == "false"),
        _ => None,
    };
    let label = instead.map_or_else(|| format!("must be {}", shape.in_words()), |instead| format!("write {instead}"));
    Diagnostic::at(span, format!("`{path}` must be {}, not {found}", shape.in_words()), label)
}
