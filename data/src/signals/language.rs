//! Which language a text is in, and whether it is in one. Maths and code say nothing about that and are left out; scripts
//! are counted first, which no detector is needed for, then paragraphs are detected one by one.

use std::collections::BTreeMap;

use whichlang::Lang;

/// Letters from which a paragraph is long enough to be detected.
const LONG: usize = 80;
/// Letters of prose from which there is a language at all.
const LEAST: usize = 20;

/// What was found.
pub(crate) struct Census {
    /// ISO 639-3.
    pub(crate) language: Option<&'static str>,
    pub(crate) foreign_script: f32,
    pub(crate) foreign_paragraphs: f32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Script {
    Latin,
    Cyrillic,
    Arabic,
    Devanagari,
    Hangul,
    /// Han, and kana, which Japanese mixes with it.
    EastAsian,
    Other,
}

/// The script of a letter. Greek is left out: single letters of it are maths.
fn script(c: char) -> Option<Script> {
    Some(match u32::from(c) {
        0x41..=0x5a | 0x61..=0x7a | 0xc0..=0x24f => Script::Latin,
        0x370..=0x3ff | 0x1d400..=0x1d7ff | 0x2100..=0x214f => return None,
        0x400..=0x52f => Script::Cyrillic,
        0x600..=0x6ff | 0x750..=0x77f => Script::Arabic,
        0x900..=0x97f => Script::Devanagari,
        0x1100..=0x11ff | 0xac00..=0xd7af => Script::Hangul,
        0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0x20000..=0x2ffff => Script::EastAsian,
        _ if c.is_alphabetic() => Script::Other,
        _ => return None,
    })
}

/// Looks at the prose of a text.
pub(crate) fn census(text: &str) -> Census {
    let mut scripts = BTreeMap::<Script, usize>::new();
    let mut languages = BTreeMap::<&str, (usize, usize)>::new();
    let mut prose = String::new();
    let mut all = String::new();
    let mut in_fence = false;
    for paragraph in text.split("\n\n") {
        prose.clear();
        in_fence = strip(paragraph, in_fence, &mut prose);
        let mut letters = 0;
        for script in prose.chars().filter_map(script) {
            *scripts.entry(script).or_default() += 1;
            letters += 1;
        }
        if letters >= LONG {
            let found = languages.entry(whichlang::detect_language(&prose).three_letter_code()).or_default();
            found.0 += 1;
            found.1 += letters;
        } else if all.len() < 2000 {
            all.push_str(&prose);
            all.push(' ');
        }
    }
    let letters: usize = scripts.values().sum();
    let main = scripts.values().copied().max().unwrap_or(0);
    let paragraphs: usize = languages.values().map(|(count, _)| count).sum();
    let most = languages.iter().max_by_key(|(_, (_, letters))| *letters);
    let language = match most {
        Some((language, _)) => Some(*language),
        None if letters >= LEAST => Some(Lang::three_letter_code(whichlang::detect_language(&all))),
        None => None,
    };
    let in_main = most.map_or(0, |(_, (count, _))| *count);
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f32 / whole as f32 };
    Census {
        language,
        foreign_script: share(letters - main, letters),
        foreign_paragraphs: share(paragraphs - in_main, paragraphs),
    }
}

/// Appends a paragraph without its formulas, code and commands; returns whether a code block is open after it.
fn strip(paragraph: &str, mut in_fence: bool, prose: &mut String) -> bool {
    for line in paragraph.lines() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
            continue;
        }
        if in_fence {
            continue;
        }
        let mut rest = line;
        let mut unpaired = Vec::new();
        while let Some(at) = rest.find(['$', '`', '\\']) {
            prose.push_str(&rest[..at]);
            rest = after_markup(&rest[at..], &mut unpaired);
            prose.push(' ');
        }
        prose.push_str(rest);
        prose.push(' ');
    }
    in_fence
}

/// What follows the formula, code or command that `rest` begins with. Without a partner in the line, the sign stands alone;
/// `unpaired` are those that have none from here on, so that no line is searched for them again and again.
fn after_markup<'a>(rest: &'a str, unpaired: &mut Vec<&'static str>) -> &'a str {
    let (open, close) = match rest.as_bytes() {
        [b'$', b'$', ..] => ("$$", "$$"),
        [b'$', ..] => ("$", "$"),
        [b'`', ..] => ("`", "`"),
        [b'\\', b'(', ..] => ("\\(", "\\)"),
        [b'\\', b'[', ..] => ("\\[", "\\]"),
        _ => {
            let name = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
            return &rest[1 + name..];
        }
    };
    let inner = &rest[open.len()..];
    if unpaired.contains(&close) {
        return inner;
    }
    match inner.find(close) {
        // "$5 or $6": a dollar with a space before its partner is money.
        Some(end) if open == "$" && inner[..end].ends_with(' ') => inner,
        Some(end) => &inner[end + close.len()..],
        None => {
            unpaired.push(close);
            inner
        }
    }
}
