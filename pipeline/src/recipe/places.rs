//! Where the fields of a recipe are in its text.

use std::ops::Range;

use records::Mistake;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::text::PolicyFile;

/// A recipe's text and what stands where in it.
pub(super) struct Places<'a> {
    pub(super) text: &'a str,
    pub(super) root: &'a DeTable<'a>,
    pub(super) policy: Option<&'a PolicyFile>,
}

impl Places<'_> {
    /// A mistake in a value, with its line.
    pub(super) fn shown(&self, mistake: Mistake) -> Diagnostic {
        let Mistake { field, problem, meant, remedy, choices, part } = mistake;
        let label = meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`?"));
        let (span, value) = self.find(&field);
        let diagnostic = Diagnostic {
            help: Some(remedy).filter(|remedy| !remedy.is_empty()).into_iter().collect(),
            choices,
            ..Diagnostic::at(span.clone(), format!("`{field}`: {problem}"), label)
        };
        let sql = value.and_then(DeValue::as_str);
        let (Some(part), Some(sql)) = (part, sql) else { return diagnostic };
        if let Some(PolicyFile { name, text, .. }) = self.policy.filter(|_| field == "curate.policy") {
            return Diagnostic { span: Some(part), other: Some((name.clone(), text.clone())), ..diagnostic };
        }
        match self.written(&span, sql) {
            Some(start) => Diagnostic { span: Some(start + part.start..start + part.end), ..diagnostic },
            // With escapes in it, its characters are not those of the file.
            None => Diagnostic { span: Some(part), other: Some((field, sql.to_owned())), ..diagnostic },
        }
    }

    /// A field's value; or, of what is not written, the table it would be in.
    fn find(&self, field: &str) -> (Range<usize>, Option<&DeValue<'_>>) {
        let (mut table, mut rest, mut span) = (self.root, field, 0..0);
        loop {
            // Names may have dots in them.
            let after = |name: &str| {
                let after = rest.strip_prefix(name)?;
                if after.is_empty() { Some(after) } else { after.strip_prefix('.') }
            };
            let found = table.iter().find_map(|(name, value)| Some((after(name.get_ref())?, value)));
            let Some((after, value)) = found else { return (span, None) };
            (rest, span) = (after, value.span());
            match value.get_ref() {
                DeValue::Table(inner) if !rest.is_empty() => table = inner,
                value => return (span, Some(value)),
            }
        }
    }

    /// Where a string's characters begin in the text, if they stand there as they are.
    fn written(&self, span: &Range<usize>, value: &str) -> Option<usize> {
        let raw = self.text.get(span.clone())?;
        let marks = ["\"\"\"", "'''", "\"", "'"];
        let mark = marks.into_iter().find(|mark| raw.len() >= 2 * mark.len() && raw.starts_with(mark))?;
        // The first line end of several lines is none of the text's.
        let lines = if mark.len() == 3 { ["\r\n", "\n"].as_slice() } else { &[] };
        let inner = &raw[mark.len()..raw.len() - mark.len()];
        let skipped = lines.iter().find(|end| inner.starts_with(**end)).map_or(0, |end| end.len());
        (&inner[skipped..] == value).then_some(span.start + mark.len() + skipped)
    }
}
