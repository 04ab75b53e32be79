//! Pieces of text whose ids are known, so that the model is asked once for each.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;

/// Known pieces, at most; then all are forgotten.
pub(super) const MOST_PIECES: usize = 1 << 17;
/// Their ids, at most.
const MOST_IDS: usize = 1 << 20;
/// Longer pieces are encoded each time.
const MOST_BYTES: usize = 128;
/// Pieces up to this length are compared as one number.
const SHORT: usize = 15;

/// A bounded memory of pieces and their ids. Its hashes begin with a random seed: no text is made to collide.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    short: HashMap<u128, Place, RandomState>,
    long: HashMap<Box<[u8]>, Place, RandomState>,
    ids: Vec<u32>,
}

/// Where the ids of a piece are.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    count: u32,
}

impl Place {
    fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.count) as usize
    }
}

impl Pieces {
    /// The ids of a piece of the text, if they are known.
    #[inline(always)]
    pub(super) fn get(&self, text: &str, start: usize, end: usize) -> Option<&[u32]> {
        let place = match short_key(text, start, end) {
            Some(key) => self.short.get(&key),
            None => self.long.get(&text.as_bytes()[start..end]),
        }?;
        Some(&self.ids[place.range()])
    }

    /// Remembers the ids of a piece of the text.
    pub(super) fn insert(&mut self, text: &str, start: usize, end: usize, ids: &[u32]) {
        if end - start > MOST_BYTES {
            return;
        }
        if self.short.len() + self.long.len() >= MOST_PIECES || self.ids.len() + ids.len() > MOST_IDS {
            self.short.clear();
            self.long.clear();
            self.ids.clear();
        }
        let place = Place { start: self.ids.len() as u32, count: ids.len() as u32 };
        self.ids.extend_from_slice(ids);
        match short_key(text, start, end) {
            Some(key) => self.short.insert(key, place),
            None => self.long.insert(text.as_bytes()[start..end].into(), place),
        };
    }
}

/// The bytes of a short piece and its length, as one number.
#[inline(always)]
fn short_key(text: &str, start: usize, end: usize) -> Option<u128> {
    let length = end - start;
    if length > SHORT {
        return None;
    }
    let bytes = text.as_bytes();
    // The text goes on behind most pieces: then it is read at once, and what is too much is masked.
    let read = if let Some(chunk) = bytes[start..].first_chunk() {
        u128::from_le_bytes(*chunk) & ((1 << (8 * length)) - 1)
    } else {
        let mut chunk = [0; 16];
        chunk[..length].copy_from_slice(&bytes[start..end]);
        u128::from_le_bytes(chunk)
    };
    Some(read | (length as u128) << (8 * SHORT))
}
