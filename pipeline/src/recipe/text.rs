//! The text of a recipe: read with a bound, told from what is no TOML, and with the policy's file where one is named.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::Diagnostic;

/// No recipe and no policy is larger.
const MOST_BYTES: u64 = 1 << 20;

/// Reads a text; `Err` is what is wrong, to stand after the file's name.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    if path.is_dir() {
        return Err("it is a folder".into());
    }
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("it is larger than {} MB", MOST_BYTES >> 20));
    }
    if bytes.contains(&0) {
        return Err("it is no text: it holds bytes of zero".into());
    }
    String::from_utf8(bytes).map_err(|e| {
        let before = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        format!("it is no UTF-8: line {line} has a byte that is not; save it as UTF-8")
    })
}

/// Reads TOML as far as it is TOML.
pub(super) fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, Box<Diagnostic>> {
    let (root, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    // What follows is often of the first one's making.
    let Some(error) = errors.first() else {
        if root.get_ref().is_empty() {
            return Err(Box::new(whole("the recipe is empty")));
        }
        return Ok(root);
    };
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    Err(Box::new(if first.starts_with('{') {
        whole("this is JSON; a recipe is TOML")
    } else if is_yaml(first) {
        whole("this is YAML; a recipe is TOML")
    } else {
        syntax(text, root.get_ref(), error)
    }))
}

fn whole(title: &str) -> Diagnostic {
    let help = vec!["`r1-distill init` writes a recipe to start from".to_owned()];
    Diagnostic { title: title.into(), help, ..Diagnostic::default() }
}

/// Whether a line is `name: value`, or what begins a document or a list.
fn is_yaml(line: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
    let key = line.split_once(':').filter(|(_, after)| after.is_empty() || after.starts_with(' '));
    line.starts_with("---") || line.starts_with("- ") || key.is_some_and(|(name, _)| is_name(name))
}

fn syntax(text: &str, root: &DeTable<'_>, error: &Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    if error.message().starts_with("invalid boolean") || error.message().starts_with("string values must be quoted") {
        let rest = &text[span.start..];
        let word = &rest[..rest.find(|c: char| !(c.is_alphanumeric() || "_-./".contains(c))).unwrap_or(rest.len())];
        let lower = word.to_lowercase();
        let write = if ["true", "false"].contains(&lower.as_str()) { lower } else { format!("{word:?}") };
        let span = span.start..span.start + word.len();
        return Diagnostic::at(span, "this is no TOML: a string stands in quotes", format!("write {write}"));
    }
    if error.message() != "duplicate key" {
        return Diagnostic::at(span, format!("this is no TOML: {}", error.message()), "");
    }
    let key = text.get(span.clone()).unwrap_or_default();
    let line = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
    let is_header = text[line..].trim_start().starts_with('[');
    let (written, first) = if is_header {
        let name = header(&text[line..]);
        (format!("the table [{name}]"), earlier_header(&text[..line], name))
    } else {
        (format!("`{key}`"), earlier(text, root, key.trim_matches(['"', '\'']), &span))
    };
    Diagnostic {
        context: first.map(|first| (first, "first here".to_owned())),
        ..Diagnostic::at(span, format!("{written} is there twice"), "and again here")
    }
}

/// What stands between the brackets at the beginning of a line.
fn header(line: &str) -> &str {
    let line = line.trim_start().trim_start_matches('[');
    line.split([']', '\n']).next().unwrap_or_default().trim()
}

/// The last header of this table.
fn earlier_header(text: &str, name: &str) -> Option<Range<usize>> {
    let lines = text.split_inclusive('\n').scan(0, |start, line| {
        let at = *start;
        *start += line.len();
        Some((at, line))
    });
    let is_it = |line: &str| line.trim_start().starts_with('[') && header(line) == name;
    let (at, line) = lines.filter(|(_, line)| is_it(line)).last()?;
    let start = at + line.find(name)?;
    Some(start..start + name.len())
}

/// The last place before `span` at which a table that is still open there has this key.
fn earlier(text: &str, table: &DeTable<'_>, key: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let places = table.iter().flat_map(|(name, value)| {
        let here = Some(name.span()).filter(|place| name.get_ref() == key && place.end <= span.start);
        let is_inline = text.get(value.span()).is_some_and(|written| written.starts_with('{'));
        let is_open = !is_inline || value.span().contains(&span.start);
        let inner = value.get_ref().as_table().filter(|_| is_open);
        here.into_iter().chain(inner.and_then(|inner| earlier(text, inner, key, span)))
    });
    places.max_by_key(|place| place.start)
}

/// A policy's file.
pub(super) struct PolicyFile {
    /// Its path, as it is shown.
    pub(super) name: String,
    /// What it holds.
    pub(super) text: String,
    /// Where the recipe names it.
    pub(super) named: Range<usize>,
}

/// Puts the text of a policy's file where the recipe names it, `policy = { file = "policy.sql" }`, so that what counts is
/// what the file holds and not where it is.
pub(super) fn policy_inside(
    recipe: &Path,
    text: &str,
    root: &mut DeTable<'_>,
) -> Result<Option<PolicyFile>, Box<Diagnostic>> {
    let Some(curate) = root.iter_mut().find(|(key, _)| key.get_ref() == "curate") else { return Ok(None) };
    let DeValue::Table(curate) = curate.1.get_mut() else { return Ok(None) };
    let Some((_, policy)) = curate.iter_mut().find(|(key, _)| key.get_ref() == "policy") else { return Ok(None) };
    let DeValue::Table(table) = policy.get_ref() else { return Ok(None) };
    let named = policy.span();
    let mut fields = table.iter();
    let file = match (fields.next(), fields.next()) {
        (Some((key, value)), None) if key.get_ref() == "file" => value.get_ref().as_str().map(|file| (file, value)),
        _ => None,
    };
    let is_inline = text.get(named.clone()).is_some_and(|written| written.starts_with('{'));
    // Until there is one.
    let without = Spanned::new(named.clone(), DeValue::String("".into()));
    let Some((file, value)) = file.filter(|_| is_inline) else {
        *policy = without;
        return Err(Box::new(Diagnostic {
            help: vec!["write a condition in SQL, or { file = \"policy.sql\" } for one beside the recipe".into()],
            ..Diagnostic::at(named, "`curate.policy` is neither SQL nor a file of it", "")
        }));
    };
    let path = recipe.parent().unwrap_or(Path::new("")).join(file);
    let named_at = value.span();
    *policy = without;
    let sql = read(&path).map_err(|problem| {
        let title = format!("`curate.policy`: cannot read {}: {problem}", path.display());
        Box::new(Diagnostic::at(named_at, title, ""))
    })?;
    *policy = Spanned::new(named.clone(), DeValue::String(sql.clone().into()));
    Ok(Some(PolicyFile { name: path.display().to_string(), text: sql, named }))
}
