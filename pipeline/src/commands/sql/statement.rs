//! The shell's own commands, and where a statement ends: at a semicolon that is not within a text, a name or a comment.

/// The commands, their arguments and what they do.
pub(super) const COMMANDS: [(&str, &str, &str); 9] = [
    ("d", "", "the tables"),
    ("d", "TABLE", "its columns, their types, and how many rows it has; a file's too: \\d 'traces.parquet'"),
    ("functions", "[NAME]", "functions on texts, with examples"),
    ("format", "[table|csv|json|parquet|markdown]", "how rows are shown"),
    ("o", "FILE", "write the rows of the next query to this file, all of them"),
    ("rows", "[N|all]", "most rows shown"),
    ("timing", "[on|off]", "say how long a query took"),
    ("help", "", "this"),
    ("q", "", "leave; so does Ctrl-D. Ctrl-C stops a query, twice leaves at once"),
];

/// What the scanner is in the middle of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// A text or a quoted name, up to this sign.
    Quotes(char),
    Line,
    Block,
}

/// Whether a line of the shell is one of its own commands.
pub(super) fn is_command(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('\\') || ["quit", "exit", "help"].iter().any(|word| text.trim_end_matches(';') == *word)
}

/// Splits off the complete statements of `text`, without their semicolons; the rest stays.
pub(super) fn take_complete(text: &mut String) -> Vec<String> {
    let mut found = Vec::new();
    let mut begin = 0;
    let mut inside = Inside::Nothing;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, c)| *c);
        inside = match (inside, c) {
            (Inside::Nothing, '\'' | '"') => Inside::Quotes(c),
            (Inside::Nothing, '-') if next == Some('-') => Inside::Line,
            (Inside::Nothing, '/') if next == Some('*') => {
                chars.next();
                Inside::Block
            }
            (Inside::Nothing, ';') => {
                let statement = text[begin..at].trim();
                if !is_blank(statement) {
                    found.push(statement.to_owned());
                }
                begin = at + 1;
                Inside::Nothing
            }
            // A doubled quote closes and opens again, which comes to the same.
            (Inside::Quotes(quote), c) if c == quote => Inside::Nothing,
            (Inside::Line, '\n') => Inside::Nothing,
            (Inside::Block, '*') if next == Some('/') => {
                chars.next();
                Inside::Nothing
            }
            (inside, _) => inside,
        };
    }
    text.drain(..begin);
    found
}

/// Whether there is nothing but spaces and comments.
pub(super) fn is_blank(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after).trim_start()
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after).trim_start()
        } else {
            return rest.is_empty();
        };
    }
}

/// Whether Enter sends the text, or begins another line of it.
pub(super) fn is_complete(text: &str) -> bool {
    if is_command(text) {
        return true;
    }
    let mut rest = text.to_owned();
    take_complete(&mut rest);
    is_blank(&rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_end_statements_outside_of_texts_and_comments() {
        let mut text = "SELECT ';', \"a;b\", 'it''s; ' -- no; \n FROM t /* ; */; SELECT 2;; SELECT 'open; ".to_owned();
        let found = take_complete(&mut text);
        assert_eq!(found, ["SELECT ';', \"a;b\", 'it''s; ' -- no; \n FROM t /* ; */", "SELECT 2"]);
        assert_eq!(text, " SELECT 'open; ");
    }

    #[test]
    fn enter_sends_what_is_complete() {
        for complete in ["", "  ", "-- only a comment", "SELECT 1;", "SELECT 1; -- done", "\\d traces", "quit", "exit;"]
        {
            assert!(is_complete(complete), "{complete}");
        }
        for open in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT", "SELECT 1 /* ;", "quits"] {
            assert!(!is_complete(open), "{open}");
        }
    }
}
