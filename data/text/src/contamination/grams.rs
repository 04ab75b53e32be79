//! Sequences of words, looked up by hash and then compared word by word.

use std::collections::HashMap;

use crate::words::{POLYNOMIAL_FACTOR, for_each_word};

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// What stands between spaces, in lower case.
    Spaces,
    /// Letters and digits, or one sign: see [`crate::words`].
    Words,
}

/// The words of a text as hashes, and where each ends.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) hashes: Vec<u64>,
    ends: Vec<usize>,
}

/// Which sequences are indexed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequences {
    /// Words of a sequence.
    pub(super) n: usize,
    /// What a word is.
    pub(super) split: Split,
    /// The most items that may have it.
    pub(super) most: usize,
    /// The least of its words that are of two letters or more: `2 + 3 = 5` is in all maths.
    pub(super) prose: usize,
}

impl Sequences {
    /// Every sequence of `n`.
    pub(super) fn all(n: usize, split: Split) -> Self {
        Self { n, split, most: usize::MAX, prose: 0 }
    }
}

impl Words {
    pub(super) fn of(text: &str, split: Split) -> Self {
        let mut words = Self::default();
        let mut add = |hash, end| {
            words.hashes.push(hash);
            words.ends.push(end);
        };
        match split {
            Split::Words => for_each_word(text, add),
            Split::Spaces => {
                for word in text.split_whitespace() {
                    let end = word.as_ptr() as usize - text.as_ptr() as usize + word.len();
                    add(xxhash_rust::xxh3::xxh3_64(word.to_lowercase().as_bytes()), end);
                }
            }
        }
        words
    }
}

impl Words {
    /// Which words have two letters or more.
    fn of_prose(&self, text: &str) -> Vec<bool> {
        let mut start = 0;
        let letters = |word: &str| word.chars().filter(|c| c.is_alphabetic()).take(2).count();
        self.ends.iter().map(|end| letters(&text[std::mem::replace(&mut start, *end)..*end]) == 2).collect()
    }
}

/// Sequences of `n` words of some texts.
pub(super) struct Grams {
    pub(super) n: usize,
    split: Split,
    texts: Vec<Vec<u64>>,
    /// From a sequence's hash to where it is, once for each item that has it, [`MOST_PLACES`] at most.
    places: HashMap<u64, Vec<Place>>,
    /// A bit for each hash that is in `places`, and for few others: nearly all sequences of a trace end here.
    filter: Vec<u64>,
}

/// Where a sequence is: an item, one of the texts, and the place in that.
#[derive(Debug, Clone, Copy)]
struct Place {
    item: u32,
    text: u32,
    at: u32,
}

/// Of the items that share a sequence, so many are told apart: more than any limit of [`Sequences::most`].
const MOST_PLACES: usize = 8;

/// Bits of the filter for each sequence.
const FILTER_BITS: usize = 16;

/// The word of the filter and the bit in it. The high bits of a polynomial's hash are the well-mixed ones.
fn bit(hash: u64, words: usize) -> (usize, u64) {
    let place = hash.wrapping_mul(POLYNOMIAL_FACTOR) >> 32;
    ((place >> 6) as usize & (words - 1), 1 << (place & 63))
}

/// Calls `found` with the place and hash of every sequence of `n`, until it returns something.
fn rolling<T>(hashes: &[u64], n: usize, mut found: impl FnMut(usize, u64) -> Option<T>) -> Option<T> {
    let leading = (1..n).fold(1u64, |power, _| power.wrapping_mul(POLYNOMIAL_FACTOR));
    let mut rolling = 0u64;
    for (i, word) in hashes.iter().enumerate() {
        if i >= n {
            rolling = rolling.wrapping_sub(hashes[i - n].wrapping_mul(leading));
        }
        rolling = rolling.wrapping_mul(POLYNOMIAL_FACTOR).wrapping_add(*word);
        if i + 1 >= n
            && let Some(result) = found(i + 1 - n, rolling)
        {
            return Some(result);
        }
    }
    None
}

impl Grams {
    /// Indexes texts, each of the item with that number.
    pub(super) fn new<'a>(rule: Sequences, texts: impl Iterator<Item = (u32, &'a str)>) -> Self {
        let Sequences { n, split, most, prose } = rule;
        assert!(most == usize::MAX || most < MOST_PLACES, "items are counted up to {MOST_PLACES}");
        let (mut all, mut places) = (Vec::new(), HashMap::<u64, Vec<Place>>::new());
        for (item, text) in texts {
            let words = Words::of(text, split);
            let of_prose = if prose > 0 { words.of_prose(text) } else { Vec::new() };
            let words = words.hashes;
            rolling(&words, n, |at, hash| {
                if prose > 0 && of_prose[at..at + n].iter().filter(|word| **word).count() < prose {
                    return None;
                }
                let of = places.entry(hash).or_default();
                if of.len() < MOST_PLACES && of.last().is_none_or(|last| last.item != item) {
                    of.push(Place { item, text: all.len() as u32, at: at as u32 });
                }
                None::<()>
            });
            all.push(words);
        }
        places.retain(|_, places| places.len() <= most);
        let mut filter = vec![0; (places.len() * FILTER_BITS).div_ceil(64).next_power_of_two()];
        for hash in places.keys() {
            let (word, mask) = bit(*hash, filter.len());
            filter[word] |= mask;
        }
        Self { n, split, texts: all, places, filter }
    }

    /// The items that have the sequence which begins at a word.
    fn at(&self, words: &[u64], at: usize, hash: u64) -> impl Iterator<Item = u32> {
        let (word, mask) = bit(hash, self.filter.len());
        let places = if self.filter[word] & mask == 0 { None } else { self.places.get(&hash) };
        let ours = &words[at..at + self.n];
        let theirs = |place: &Place| &self.texts[place.text as usize][place.at as usize..][..self.n];
        places.into_iter().flatten().filter(move |place| ours == theirs(place)).map(|place| place.item)
    }

    /// The first sequence of `text` that an item has which `fits`: the item, and the words as they stand in the text.
    pub(super) fn find<'a>(&self, text: &'a str, fits: impl Fn(u32) -> bool) -> Option<(u32, &'a str)> {
        let words = Words::of(text, self.split);
        let mut unfit = Vec::new();
        rolling(&words.hashes, self.n, |at, hash| {
            let item = self.at(&words.hashes, at, hash).find(|item| {
                let fit = !unfit.contains(item) && fits(*item);
                if !fit {
                    unfit.push(*item);
                }
                fit
            })?;
            let start = if at == 0 { 0 } else { words.ends[at - 1] };
            let between = |c: char| !c.is_alphanumeric();
            Some((item, text[start..words.ends[at + self.n - 1]].trim_start_matches(between)))
        })
    }

    /// All items that share a sequence with the text, in order.
    pub(super) fn items(&self, text: &str) -> Vec<u32> {
        let words = Words::of(text, self.split).hashes;
        let mut items = Vec::new();
        rolling(&words, self.n, |at, hash| {
            items.extend(self.at(&words, at, hash));
            None::<()>
        });
        items.sort_unstable();
        items.dedup();
        items
    }
}
