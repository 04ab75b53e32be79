//! The program in an answer: the last fenced block of its language.

use records::test_spec::Language;

/// The last complete fenced block of `language` in a text, without its indentation if the fence is indented. Blocks of
/// other languages, blocks without one, and a block that is cut off do not count. `None` if there is no block.
pub fn program_in(text: &str, language: Language) -> Option<String> {
    let mut found = None;
    let mut open: Option<Fence<'_>> = None;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let Some(fence) = &open else {
            open = Fence::opens(line);
            lines.clear();
            continue;
        };
        if !fence.is_closed_by(line) {
            lines.push(line);
            continue;
        }
        if fence.is_of(language) {
            let indent = fence.indent;
            found = Some(lines.iter().map(|line| [dedent(line, indent), "\n"].concat()).collect());
        }
        open = None;
    }
    found
}

struct Fence<'a> {
    mark: char,
    length: usize,
    indent: usize,
    language: &'a str,
}

impl<'a> Fence<'a> {
    fn opens(line: &'a str) -> Option<Self> {
        let inner = line.trim_start();
        let mark = inner.chars().next().filter(|c| "`~".contains(*c))?;
        let info = inner.trim_start_matches(mark);
        let length = inner.len() - info.len();
        let language = info.split([' ', '\t', ',', '{']).find(|word| !word.is_empty()).unwrap_or_default();
        // Backticks after it are code within a line.
        (length >= 3 && !info.contains('`')).then_some(Self {
            mark,
            length,
            indent: line.len() - inner.len(),
            language,
        })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.length && line.chars().all(|c| c == self.mark)
    }

    fn is_of(&self, language: Language) -> bool {
        let names: &[&str] = match language {
            Language::Python => &["python", "python3", "py"],
            Language::Cpp => &["cpp", "c++", "cc", "cxx"],
        };
        names.iter().any(|name| self.language.eq_ignore_ascii_case(name))
    }
}

/// Takes away up to `indent` bytes of blanks.
fn dedent(line: &str, indent: usize) -> &str {
    let blanks = line.bytes().take(indent).take_while(|b| b" \t".contains(b)).count();
    &line[blanks..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(text: &str) -> Option<String> {
        program_in(text, Language::Python)
    }

    #[test]
    fn the_last_block_of_the_language_counts() {
        let text =
            "```python\nx = 1\n```\nBetter:\n```Python3\nx = 2\n\ny = 3\n```\nRun it:\n```sh\npython x.py\n```\n";
        assert_eq!(python(text).as_deref(), Some("x = 2\n\ny = 3\n"));
        assert_eq!(program_in(text, Language::Cpp), None);
        assert_eq!(program_in("~~~c++\nint main() {}\n~~~", Language::Cpp).as_deref(), Some("int main() {}\n"));
    }

    #[test]
    fn indentation_of_the_fence_is_taken_away() {
        assert_eq!(python("1. So\n   ```py\n   if x:\n       y\n  z\n   ```").as_deref(), Some("if x:\n    y\nz\n"));
    }

    #[test]
    fn no_block_is_none() {
        for text in
            ["", "x = 1", "```\nx = 1\n```", "```python\nx = 1", "`python` and ```python x```", "```javascript\n1\n```"]
        {
            assert_eq!(python(text), None, "{text}");
        }
        // A longer fence holds shorter ones.
        assert_eq!(python("````python\ns = '''\n```\n'''\n````").as_deref(), Some("s = '''\n```\n'''\n"));
    }
}
