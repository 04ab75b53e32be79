//! The prose of a text: what is left without its formulas, code and commands.

/// Appends a paragraph without its formulas, code and commands; returns whether a code block is open after it.
pub(super) fn strip(paragraph: &str, mut in_fence: bool, prose: &mut String) -> bool {
    let mut rest = paragraph;
    let mut at_line_start = true;
    // Signs that have no partner from here on in the line and in the paragraph, so that none is looked for again and again.
    let (mut in_line, mut in_paragraph) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        if at_line_start {
            let fence = rest.trim_start_matches([' ', '\t']).starts_with("```");
            in_fence ^= fence;
            if fence || in_fence {
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
                continue;
            }
        }
        let Some(at) = rest.find(['$', '`', '\\', '\n']) else {
            prose.push_str(rest);
            break;
        };
        prose.push_str(&rest[..at]);
        prose.push(' ');
        at_line_start = rest.as_bytes()[at] == b'\n';
        rest = if at_line_start {
            in_line.clear();
            &rest[at + 1..]
        } else {
            after_markup(&rest[at..], &mut in_line, &mut in_paragraph)
        };
    }
    prose.push(' ');
    in_fence
}

/// What follows the formula, code or command that `rest` begins with. Display formulas may have several lines. Without a
/// partner, the sign stands alone.
fn after_markup<'a>(rest: &'a str, in_line: &mut Vec<&'static str>, in_paragraph: &mut Vec<&'static str>) -> &'a str {
    let (open, close, unpaired) = match rest.as_bytes() {
        [b'$', b'$', ..] => ("$$", "$$", in_paragraph),
        [b'$', ..] => ("$", "$", in_line),
        [b'`', ..] => ("`", "`", in_line),
        [b'\\', b'(', ..] => ("\\(", "\\)", in_line),
        [b'\\', b'[', ..] => ("\\[", "\\]", in_paragraph),
        _ => {
            let name = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
            return &rest[1 + name..];
        }
    };
    let inner = &rest[open.len()..];
    if unpaired.contains(&close) {
        return inner;
    }
    let lines = matches!(close, "$$" | "\\]");
    let place = if lines { inner } else { inner.split('\n').next().unwrap_or(inner) };
    match place.find(close) {
        // "$5 or $6": a dollar with a space before its partner is money.
        Some(end) if open == "$" && inner[..end].ends_with(' ') => inner,
        Some(end) => &inner[end + close.len()..],
        None => {
            unpaired.push(close);
            inner
        }
    }
}
