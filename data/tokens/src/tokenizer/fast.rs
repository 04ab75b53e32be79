//! The fast way to the ids of the tokenizers library, for byte-level BPE behind a known pre-tokenizer.
//!
//! The library keeps, for every character of a text, where it came from, and asks a backtracking engine for every piece.
//! Nobody here reads that. This way does the same steps on the text itself: added tokens are found, what is between them
//! is normalised and split (`split`), and of each piece the ids are looked up (`pieces`). A piece that is not known is
//! encoded by the library's own model, so vocabulary, merges and `ignore_merges` stay the library's.
//!
//! A tokenizer of which any part is not known here takes the library's way for all texts.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::models::ModelWrapper;
use tokenizers::{Encoding, Model, NormalizerWrapper, Token};

use super::nfc::nfc;
use super::pieces::Pieces;
use super::split::Split;
use records::panics::catch_panic;
use records::{Error, Result};

/// How a tokenizer of a known kind encodes.
#[derive(Debug)]
pub(super) struct Fast {
    /// Added tokens that are found in the text as it is.
    as_written: Added,
    to_nfc: bool,
    /// Added tokens that are found after that.
    normalized: Added,
    split: Split,
    /// The characters that stand for bytes in the vocabulary.
    alphabet: [char; 256],
    /// What is known of pieces, for as many threads as have encoded at a time.
    known: Mutex<Vec<Pieces>>,
}

impl Fast {
    /// `None` if any part of the tokenizer is not of a known kind.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        // With dropout the ids of a text are drawn.
        if !matches!(tokenizer.get_model(), ModelWrapper::BPE(bpe) if bpe.dropout.is_none())
            || tokenizer.get_encode_special_tokens()
            || !leaves_ids(tokenizer)
        {
            return None;
        }
        let to_nfc = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        let split = Split::recognise(tokenizer.get_pre_tokenizer()?)?;
        let vocabulary = tokenizer.get_added_vocabulary();
        let tokens = vocabulary.get_added_tokens_decoder();
        if tokens.values().any(|token| token.lstrip || token.rstrip || token.single_word) {
            return None;
        }
        let added = |normalized: bool| {
            let ids = tokens.iter().filter(|(_, token)| token.normalized == normalized).map(|(id, _)| *id);
            // As it is searched for: a normalised one as the normaliser leaves it.
            Added::new(ids.filter_map(|id| Some((id, vocabulary.simple_id_to_token(id)?))))
        };
        Some(Self {
            as_written: added(false)?,
            to_nfc,
            normalized: added(true)?,
            split,
            alphabet: alphabet(),
            known: Mutex::default(),
        })
    }

    /// Calls `each` with the ids of a text, some at a time.
    pub(super) fn encode(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
        mut each: impl FnMut(&[u32]),
    ) -> Result<()> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut known = known.unwrap_or_default();
        let found = self.as_written.split(text, |part| match part {
            Part::Token(id) => {
                each(&[id]);
                Ok(())
            }
            Part::Text(text) => self.normalized.split(&self.normal(text), |part| match part {
                Part::Token(id) => {
                    each(&[id]);
                    Ok(())
                }
                Part::Text(text) => self.pieces(tokenizer, text, &mut known, &mut each),
            }),
        });
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push(known);
        found
    }

    fn normal<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.to_nfc { nfc(text) } else { text.into() }
    }

    #[inline]
    fn pieces(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
        known: &mut Pieces,
        each: &mut impl FnMut(&[u32]),
    ) -> Result<()> {
        self.split.pieces(text, |start, end| {
            if let Some(ids) = known.get(text, start, end) {
                each(ids);
            } else {
                let ids = self.ask(tokenizer, &text[start..end])?;
                known.insert(text, start, end, &ids);
                each(&ids);
            }
            Ok(())
        })
    }

    /// The library's ids of a piece.
    #[cold]
    fn ask(&self, tokenizer: &tokenizers::Tokenizer, piece: &str) -> Result<Vec<u32>> {
        let mapped: String = piece.bytes().map(|byte| self.alphabet[usize::from(byte)]).collect();
        let tokens = tokenizer.get_model().tokenize(&mapped).map_err(|e| Error::engine("tokenizing", e))?;
        Ok(tokens.into_iter().map(|token| token.id).collect())
    }
}

/// Whether what comes after the model leaves ids as they are when no special tokens are asked for.
fn leaves_ids(tokenizer: &tokenizers::Tokenizer) -> bool {
    let ids = [3, 1, 2];
    let tokens = ids.iter().map(|id| Token::new(*id, "a".into(), (0, 1))).collect();
    // A template that is not one panics.
    let processed = catch_panic(|| tokenizer.post_process(Encoding::from_tokens(tokens, 0), None, false));
    processed.is_ok_and(|processed| processed.is_ok_and(|encoding| encoding.get_ids() == ids))
}

/// The characters that byte-level vocabularies write bytes as: printable ones as themselves, the others from U+0100 on
/// (GPT-2's `bytes_to_unicode`).
fn alphabet() -> [char; 256] {
    let mut beyond = 256..;
    std::array::from_fn(|byte| {
        let itself = matches!(byte as u8, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let code = if itself { Some(byte as u32) } else { beyond.next() };
        code.and_then(char::from_u32).unwrap_or_default()
    })
}

/// Added tokens are this long at most, all together.
const MOST_ADDED_BYTES: usize = 1 << 16;

/// Added tokens.
#[derive(Debug)]
struct Added {
    /// `None` where there is none.
    search: Option<AhoCorasick>,
    ids: Vec<u32>,
}

enum Part<'a> {
    Token(u32),
    Text(&'a str),
}

impl Added {
    /// `None` if they are more than can be searched for.
    fn new(tokens: impl Iterator<Item = (u32, String)>) -> Option<Self> {
        let (ids, contents): (Vec<u32>, Vec<String>) = tokens.unzip();
        if ids.is_empty() {
            return Some(Self { search: None, ids });
        }
        // Of few tokens the search makes a table of up to 1 KiB a byte.
        if contents.iter().map(String::len).sum::<usize>() > MOST_ADDED_BYTES {
            return None;
        }
        // As the library does: of those that begin first the longest.
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(contents).ok()?;
        Some(Self { search: Some(search), ids })
    }

    /// Calls `each` with the tokens and the texts between them, in order; no text is empty.
    fn split(&self, text: &str, mut each: impl FnMut(Part<'_>) -> Result<()>) -> Result<()> {
        let mut from = 0;
        for found in self.search.iter().flat_map(|search| search.find_iter(text)) {
            if from < found.start() {
                each(Part::Text(&text[from..found.start()]))?;
            }
            each(Part::Token(self.ids[found.pattern()]))?;
            from = found.end();
        }
        if from < text.len() { each(Part::Text(&text[from..])) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
