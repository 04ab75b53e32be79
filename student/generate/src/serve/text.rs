//! Tokens to text, cut at stop strings and split into thinking and answer, each piece as soon as it is certain.
//!
//! Three steps in a row, each holding back only what a later token could still change: bytes of an unfinished
//! character, the beginning of a stop string, the beginning of a think tag or white space that may turn out to be at
//! the end. However the text is cut into pieces, the sum of what comes out is the same.

use tokens::tokenizer::Tokenizer;

use crate::Result;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";
/// Stands in for bytes that are not (yet) a character.
const REPLACEMENT: char = '\u{FFFD}';
/// Tokens held back for the sake of an unfinished character before it is taken to be broken.
const HELD_TOKENS: usize = 24;
/// Tokens kept as context when broken bytes are let go: three unfinished characters of three bytes, and one more.
const KEPT_TOKENS: usize = 12;

/// Tokens to text. A token may end in the middle of a character and its text may depend on the tokens before it, so a
/// window of tokens is decoded and what it adds is the piece. The window stays short, so the cost is linear.
#[derive(Debug, Default)]
pub(super) struct Detokenizer {
    window: Vec<u32>,
    /// Tokens of the window whose text is out.
    read: usize,
    /// Bytes of the window's text that are out.
    written: usize,
}

impl Detokenizer {
    /// The text that becomes certain with the next token.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        if is_hidden(tokenizer, id)? {
            return Ok(String::new());
        }
        self.window.push(id);
        let text = tokenizer.decode(&self.window, false)?;
        let unread = self.window.len() - self.read;
        let unfinished = text.chars().rev().take(3).take_while(|c| *c == REPLACEMENT).count();
        if unfinished > 0 && unread <= HELD_TOKENS {
            return Ok(String::new());
        }
        let unfinished = unfinished * REPLACEMENT.len_utf8();
        let piece = text.get(self.written..text.len() - unfinished).unwrap_or_default().to_owned();
        // A piece ends where a character ends, so its own tokens are context enough for the next.
        let kept = if unfinished == 0 { unread } else { KEPT_TOKENS };
        self.window.drain(..self.window.len() - kept);
        self.read = kept;
        self.written = tokenizer.decode(&self.window, false)?.len().saturating_sub(unfinished);
        Ok(piece)
    }

    /// What is left at the end: an unfinished character shows as U+FFFD.
    pub(super) fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        let text = tokenizer.decode(&std::mem::take(&mut self.window), false)?;
        Ok(text.get(self.written..).unwrap_or_default().to_owned())
    }
}

/// Special tokens are not text, nor are ids beyond the tokenizer's (embedding tables are padded). Think tags are shown
/// even where a tokenizer calls them special, because they are what the text is split at.
fn is_hidden(tokenizer: &Tokenizer, id: u32) -> Result<bool> {
    match tokenizer.token(id) {
        None => Ok(true),
        Some(token) if token == OPEN || token == CLOSE => Ok(false),
        Some(_) => Ok(tokenizer.decode(&[id], true)?.is_empty() && tokenizer.is_added(id)),
    }
}

/// Cuts a text before the first stop string: the one that is complete first and, of those, the one that began first.
#[derive(Debug)]
pub(super) struct StopStrings {
    stops: Vec<String>,
    held: String,
}

impl StopStrings {
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// The text that is certainly before any stop string, and whether one has come.
    pub(super) fn push(&mut self, piece: &str) -> (String, bool) {
        let mut text = std::mem::take(&mut self.held) + piece;
        let ends = self.stops.iter().filter_map(|stop| text.find(stop).map(|start| (start + stop.len(), start)));
        if let Some((_, start)) = ends.min() {
            text.truncate(start);
            return (text, true);
        }
        let begun = self.stops.iter().map(|stop| begun(&text, stop)).max().unwrap_or(0);
        self.held = text.split_off(text.len() - begun);
        (text, false)
    }

    /// What was held back for a stop string that did not come.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that may be the beginning of `pattern`.
fn begun(text: &str, pattern: &str) -> usize {
    pattern.char_indices().rev().map(|(end, _)| end).find(|end| text.ends_with(&pattern[..*end])).unwrap_or(0)
}

/// New text of a reply.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Delta {
    /// Of the thinking.
    pub(super) reasoning: String,
    /// Of the answer; it comes after all reasoning.
    pub(super) content: String,
}

impl Delta {
    pub(super) fn is_empty(&self) -> bool {
        self.reasoning.is_empty() && self.content.is_empty()
    }

    /// Appends what follows.
    pub(super) fn append(&mut self, next: &Self) {
        self.reasoning.push_str(&next.reasoning);
        self.content.push_str(&next.content);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Nothing but white space and perhaps the beginning of a tag has come.
    Undecided,
    Thinking,
    Answer,
}

/// Splits a reply as [`records::think::split`] does, piece by piece.
///
/// A reply thinks if it begins, after white space, with `<think>`, or if the prompt ended with it. The thinking goes up
/// to the first `</think>`, or to the end if there is none; all else is the answer. The tags of this block are in
/// neither; any other tag is text. Each part is trimmed as `str::trim` does: white space before it is dropped, white
/// space within it is held back until something follows.
///
/// Two of `think::split`'s cases need the whole reply, which a stream does not have: a closing tag without an opening
/// one stays in the answer (a client's `think::split` finds it there), and an opening tag within the thinking is text.
#[derive(Debug)]
pub(super) struct Splitter {
    section: Section,
    opened_by_prompt: bool,
    /// The beginning of what may be a tag.
    held: String,
    /// White space that is out only if more text of its part follows.
    blank: String,
    /// Whether any text of the part has come.
    begun: bool,
}

impl Splitter {
    /// `opened_by_prompt`: the chat template has written `<think>` at the end of the prompt.
    pub(super) fn new(opened_by_prompt: bool) -> Self {
        let (held, blank) = (String::new(), String::new());
        Self { section: Section::Undecided, opened_by_prompt, held, blank, begun: false }
    }

    /// Whether what has come so far is the thinking, its opening tag included.
    pub(super) fn is_thinking(&self) -> bool {
        match self.section {
            Section::Undecided => self.opened_by_prompt,
            Section::Thinking => true,
            Section::Answer => false,
        }
    }

    /// The text that becomes certain with the next piece.
    pub(super) fn push(&mut self, piece: &str) -> Delta {
        let mut delta = Delta::default();
        let mut text = std::mem::take(&mut self.held) + piece;
        if self.section == Section::Undecided {
            let start = text.trim_start();
            if start.len() < OPEN.len() && OPEN.starts_with(start) {
                start.clone_into(&mut self.held);
                return delta;
            }
            let after_tag = start.strip_prefix(OPEN);
            let thinking = after_tag.is_some() || self.opened_by_prompt;
            self.section = if thinking { Section::Thinking } else { Section::Answer };
            text = after_tag.unwrap_or(start).to_owned();
        }
        if self.section == Section::Thinking {
            let Some((thinking, answer)) = text.split_once(CLOSE) else {
                self.held = text.split_off(text.len() - begun(&text, CLOSE));
                self.write(&text, &mut delta.reasoning);
                return delta;
            };
            self.write(thinking, &mut delta.reasoning);
            (self.section, self.begun) = (Section::Answer, false);
            self.blank.clear();
            text = answer.to_owned();
        }
        self.write(&text, &mut delta.content);
        delta
    }

    /// What is left at the end: the beginning of a tag that did not come.
    pub(super) fn finish(&mut self) -> Delta {
        let held = std::mem::take(&mut self.held);
        let mut delta = Delta::default();
        let part = if self.is_thinking() { &mut delta.reasoning } else { &mut delta.content };
        self.write(&held, part);
        delta
    }

    fn write(&mut self, text: &str, part: &mut String) {
        let text = if self.begun { text } else { text.trim_start() };
        let solid = text.trim_end();
        if !solid.is_empty() {
            part.push_str(&self.blank);
            part.push_str(solid);
            self.blank.clear();
            self.begun = true;
        }
        self.blank.push_str(&text[solid.len()..]);
    }
}

#[cfg(test)]
mod tests;
