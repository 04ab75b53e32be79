//! What may be written at a place of a recipe, as the schema of its types says.

use serde_json::{Map, Value};

/// The field that tells the kinds of a table apart.
pub(super) const KIND: &str = "kind";

/// What a value must be.
#[derive(Debug)]
pub(super) enum Shape<'s> {
    /// A table of these fields, of which some must be there.
    Table(Fields<'s>),
    /// A table of any names.
    Names(&'s Value),
    /// A table whose fields depend on its kind.
    Kinds(Vec<(&'s str, Fields<'s>)>),
    /// One of some words, or, in a few places, a table.
    Words(Vec<&'s str>, Option<Fields<'s>>),
    List(&'s Value),
    Text,
    Flag,
    /// From the first to the last.
    Integer(i128, i128),
    Float,
}

/// The fields of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'s> {
    all: &'s Map<String, Value>,
    required: Option<&'s Vec<Value>>,
}

impl<'s> Fields<'s> {
    fn of(schema: &'s Value) -> Option<Self> {
        Some(Self { all: schema["properties"].as_object()?, required: schema["required"].as_array() })
    }

    pub(super) fn get(self, name: &str) -> Option<&'s Value> {
        self.all.get(name)
    }

    /// In the order of the types.
    pub(super) fn names(self) -> impl Iterator<Item = &'s str> {
        self.all.keys().map(String::as_str)
    }

    pub(super) fn required(self) -> impl Iterator<Item = &'s str> {
        let required = move |name: &&str| self.required.is_some_and(|all| all.iter().any(|one| one == name));
        self.names().filter(required)
    }
}

impl<'s> Shape<'s> {
    /// `None` for what no type of a recipe is; a test sees to it.
    pub(super) fn of(schema: &'s Value) -> Option<Self> {
        // What may be left out.
        if let Some(any) = schema["anyOf"].as_array() {
            return Self::of(any.iter().find(|one| one["type"] != "null")?);
        }
        if let Some(one_of) = schema["oneOf"].as_array() {
            let kinds = one_of.iter().map(|one| Some((one["properties"][KIND]["const"].as_str()?, Fields::of(one)?)));
            return match kinds.collect() {
                Some(kinds) => Some(Self::Kinds(kinds)),
                None => Some(Self::Words(one_of.iter().flat_map(words).collect(), one_of.iter().find_map(Fields::of))),
            };
        }
        let words = words(schema);
        if !words.is_empty() {
            return Some(Self::Words(words, None));
        }
        let name = match &schema["type"] {
            Value::Array(names) => names.iter().find(|name| *name != "null")?,
            name => name,
        };
        match name.as_str()? {
            "string" => Some(Self::Text),
            "boolean" => Some(Self::Flag),
            "number" => Some(Self::Float),
            "array" => Some(Self::List(&schema["items"])),
            "integer" => match schema["format"].as_str()? {
                "uint32" => Some(Self::Integer(0, u32::MAX.into())),
                "uint" | "uint64" => Some(Self::Integer(0, u64::MAX.into())),
                _ => None,
            },
            "object" => Fields::of(schema).map(Self::Table).or(Some(Self::Names(&schema["additionalProperties"]))),
            _ => None,
        }
    }

    /// In words, as in "must be …".
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Table(_) | Self::Names(_) | Self::Kinds(_) => "a table".into(),
            Self::Words(words, table) => {
                let table = if table.is_some() { ", or a table" } else { "" };
                format!("{}{table}", listed(words.iter().map(|word| format!("{word:?}")), "or"))
            }
            Self::List(_) => "an array".into(),
            Self::Text => "a string".into(),
            Self::Flag => "true or false".into(),
            Self::Integer(..) => "an integer".into(),
            Self::Float => "a number".into(),
        }
    }
}

fn words(schema: &Value) -> Vec<&str> {
    let several = schema["enum"].as_array().into_iter().flatten();
    schema.get("const").into_iter().chain(several).filter_map(Value::as_str).collect()
}

/// "a, b and c"
pub(super) fn listed(names: impl IntoIterator<Item = String>, and: &str) -> String {
    let mut names: Vec<String> = names.into_iter().collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} {and} {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}
