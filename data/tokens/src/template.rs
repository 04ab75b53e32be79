//! Chat templates as transformers renders them: Jinja with transformers' additions, by minijinja.
//!
//! What transformers sets up is in its `chat_template_utils.py`: trimmed blocks, loop controls, a `tojson` that is
//! Python's `json.dumps`, `raise_exception`, `strftime_now`, `{% generation %}` marks. What Jinja2 itself does differently
//! from minijinja is Python's doing: how None, booleans and lists print, and methods of strings.

use std::fmt::Write;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, Error as JinjaError, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::json;

use records::record::{Message, short_hash};
use records::{Error, Result};

/// The day that templates which write today's date are given, always: training must see the prompt that inference sees,
/// and the same recipe must give the same tokens tomorrow. It is the day Llama 3's own templates fall back to.
pub const TODAY: &str = "2024-07-26";

/// A compiled chat template. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Template {
    source: Arc<str>,
    environment: Arc<Environment<'static>>,
}

impl Template {
    /// Compiles a template's Jinja source.
    pub fn new(source: impl Into<String>) -> Result<Self> {
        let source: String = source.into();
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
        environment.set_syntax(syntax);
        environment.set_formatter(|out, _, value| out.write_str(&python_str(value)).map_err(JinjaError::from));
        environment.set_unknown_method_callback(method);
        environment.add_filter("tojson", tojson);
        environment.add_filter("indent", indent);
        environment.add_filter("string", |value: Value| python_str(&value));
        environment.add_test("sequence", |value: Value| {
            matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined)
        });
        environment.add_function("raise_exception", |message: String| -> std::result::Result<String, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| strftime(&format));
        environment.add_template_owned("chat", prepared(&source)).map_err(failed)?;
        Ok(Self { source: source.into(), environment: Arc::new(environment) })
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it writes the date, which is [`TODAY`] here and the day of the request elsewhere.
    pub fn writes_the_date(&self) -> bool {
        self.source.contains("strftime_now")
    }

    /// Hash of the source.
    pub fn fingerprint(&self) -> String {
        short_hash(self.source.as_bytes())
    }

    /// Renders a conversation. `special` are the special tokens by name (`bos_token`); a tokenizer without one leaves it
    /// undefined, as transformers does.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        special: &[(&str, &str)],
    ) -> Result<String> {
        let mut variables = json!({
            "messages": messages, "add_generation_prompt": add_generation_prompt, "tools": null, "documents": null,
        });
        for (name, token) in special {
            variables[*name] = json!(token);
        }
        self.environment.get_template("chat").and_then(|t| t.render(Serde(&variables))).map_err(failed)
    }
}

fn failed(error: JinjaError) -> Error {
    Error::invalid("chat template", format!("{error:#}"), "fix chat_template in the model's folder")
}

/// The source as minijinja takes it: line ends as Jinja2 reads them, and `{% generation %}` marks as plain scopes (they
/// render as what is inside).
fn prepared(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 2);
        let name = tag.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+']).trim();
        match name {
            "generation" => out.push_str(&tag.replace(name, "with")),
            "endgeneration" => out.push_str(&tag.replace(name, "endwith")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Methods of Python's str that minijinja-contrib lacks, then its own.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> std::result::Result<Value, JinjaError> {
    if let (Some(text), [argument]) = (value.as_str(), args)
        && let Some(part) = argument.as_str()
    {
        match name {
            "removeprefix" => return Ok(text.strip_prefix(part).unwrap_or(text).into()),
            "removesuffix" => return Ok(text.strip_suffix(part).unwrap_or(text).into()),
            "partition" => {
                let (before, after) = text.split_once(part).map_or((text, None), |(b, a)| (b, Some(a)));
                let mark = if after.is_some() { part } else { "" };
                return Ok([before, mark, after.unwrap_or_default()].map(Value::from).to_vec().into());
            }
            "rpartition" => {
                let (before, after) = text.rsplit_once(part).map_or((None, text), |(b, a)| (Some(b), a));
                let mark = if before.is_some() { part } else { "" };
                return Ok([before.unwrap_or_default(), mark, after].map(Value::from).to_vec().into());
            }
            _ => {}
        }
    }
    unknown_method_callback(state, value, name, args)
}

/// What Python's `str` makes of a value.
fn python_str(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => python_repr(value),
    }
}

fn python_repr(value: &Value) -> String {
    let list = |value: &Value| value.try_iter().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    match value.kind() {
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number if !value.is_integer() => python_float(value),
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq => format!("[{}]", list(value).iter().map(python_repr).collect::<Vec<_>>().join(", ")),
        ValueKind::Map => {
            let pair = |key: &Value| {
                format!("{}: {}", python_repr(key), python_repr(&value.get_item(key).unwrap_or_default()))
            };
            format!("{{{}}}", list(value).iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        _ => value.to_string(),
    }
}

/// Python's repr of a string: single quotes unless only those are inside.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_ascii_control() => out.extend(format!("\\x{:02x}", c as u32).chars()),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Python writes 1e+20 and 1e-07 where Rust writes 1e20 and 1e-7; both switch to exponents at the same magnitudes.
fn python_float(value: &Value) -> String {
    let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    let text = format!("{number:?}").replace("NaN", "nan");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// transformers' `tojson`: Python's `json.dumps`, nothing escaped for HTML.
fn tojson(value: &Value, ascii: Option<bool>, options: Kwargs) -> std::result::Result<String, JinjaError> {
    let ascii = ascii.or(options.get("ensure_ascii")?).unwrap_or(false);
    let indent = match options.get::<Option<Value>>("indent")? {
        None => None,
        Some(value) if value.is_none() => None,
        Some(value) => Some(value.as_usize().map_or_else(|| python_str(&value), |n| " ".repeat(n))),
    };
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let item = if indent.is_some() { "," } else { ", " };
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        _ => (item.to_owned(), ": ".to_owned()),
    };
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut out = String::new();
    Json { ascii, indent, item, key, sort_keys }.write(&mut out, value, 0)?;
    Ok(out)
}

/// How `json.dumps` was asked to write.
struct Json {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
}

impl Json {
    fn write(&self, out: &mut String, value: &Value, depth: usize) -> std::result::Result<(), JinjaError> {
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => write!(out, "{value}")?,
            ValueKind::Number => out.push_str(&python_float(value)),
            ValueKind::String => self.string(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items(out, ['[', ']'], depth, &items, |out, item| self.write(out, item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.items(out, ['{', '}'], depth, &keys, |out, key| {
                    self.string(out, &python_str(key));
                    out.push_str(&self.key);
                    self.write(out, &value.get_item(key)?, depth + 1)
                })?;
            }
            kind => {
                let message = format!("tojson: {kind} is not JSON serializable");
                return Err(JinjaError::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn items(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        depth: usize,
        items: &[Value],
        each: impl Fn(&mut String, &Value) -> std::result::Result<(), JinjaError>,
    ) -> std::result::Result<(), JinjaError> {
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                out.push_str(&indent.repeat(depth));
            }
        };
        out.push(open);
        for (n, value) in items.iter().enumerate() {
            if n > 0 {
                out.push_str(&self.item);
            }
            line(out, depth + 1);
            each(out, value)?;
        }
        if !items.is_empty() {
            line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.extend(format!("\\u{unit:04x}").chars());
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// Jinja2's `indent`, which keeps a newline at the end.
fn indent(
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> std::result::Result<String, JinjaError> {
    let width = width.or(options.get("width")?).unwrap_or_else(|| Value::from(4));
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    let space = width.as_usize().map_or_else(|| python_str(&width), |n| " ".repeat(n));
    let line = |(n, line): (usize, &str)| {
        let indented = if n == 0 { first } else { blank || !line.is_empty() };
        if indented { format!("{space}{line}") } else { line.to_owned() }
    };
    // Where Python's `str.splitlines` breaks lines; what breaks them becomes a newline.
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    Ok(text.replace("\r\n", "\n").split(ends).enumerate().map(line).collect::<Vec<_>>().join("\n"))
}

/// `strftime` for [`TODAY`], the directives that chat templates use.
fn strftime(format: &str) -> std::result::Result<String, JinjaError> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        out.push_str(match chars.next() {
            Some('d') => "26",
            Some('m') => "07",
            Some('Y') => "2024",
            Some('y') => "24",
            Some('b') => "Jul",
            Some('B') => "July",
            Some('a') => "Fri",
            Some('A') => "Friday",
            Some('j') => "208",
            Some('H' | 'M' | 'S') => "00",
            Some('F') => TODAY,
            Some('%') => "%",
            other => {
                let message = format!("strftime_now: %{} is not supported", other.unwrap_or(' '));
                return Err(JinjaError::new(ErrorKind::InvalidOperation, message));
            }
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
