//! Repetition: loops at the end, sequences and lines that come again, and how far a text can be compressed.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use crate::words::POLYNOMIAL_FACTOR;

/// Bytes at the end in which a loop is looked for.
const TAIL: usize = 32 << 10;
/// Longest piece of a loop in bytes, about 1,000 words.
const LONGEST_PERIOD: usize = TAIL / LEAST_REPEATS;
/// A piece is a loop from that many repetitions on.
const LEAST_REPEATS: usize = 4;
/// A shorter stretch is emphasis ("!!!!", "-----"), not a loop.
const LEAST_LOOP: usize = 60;
/// Words of a sequence.
const WORDS: usize = 20;

/// A text's sequences of 20 words.
pub struct Repetition {
    /// How often the most frequent one occurs.
    pub most_repeated: u32,
    /// Share of those that are different.
    pub distinct: f32,
}

/// Hashes are their own hashes.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type Counts = HashMap<u64, u32, BuildHasherDefault<Same>>;

/// Length in characters of the longest suffix that is one piece (of up to 8 KiB) at least 4 times over; 0 if there
/// is none. Read backwards, a suffix is a prefix, and the prefix function gives every prefix's smallest period (Knuth,
/// Morris & Pratt 1977) in linear time.
pub fn tail_loop(text: &str) -> u32 {
    let text = text.trim_end();
    let tail: Vec<u8> = text.bytes().rev().take(TAIL).collect();
    let mut border = vec![0usize; tail.len()];
    let mut longest = 0;
    for i in 1..tail.len() {
        let mut b = border[i - 1];
        while b > 0 && tail[i] != tail[b] {
            b = border[b - 1];
        }
        border[i] = b + usize::from(tail[i] == tail[b]);
        let (length, period) = (i + 1, i + 1 - border[i]);
        if period <= LONGEST_PERIOD && length >= LEAST_REPEATS * period && length >= LEAST_LOOP {
            longest = length;
        }
    }
    // A rule of dashes, a row of a table, an indentation: no letters, no loop of words.
    let repeated = &tail[..longest];
    if !repeated.iter().any(|b| b.is_ascii_alphanumeric() || !b.is_ascii()) {
        return 0;
    }
    // Bytes that continue a character are no characters.
    repeated.iter().filter(|b| **b & 0xc0 != 0x80).count() as u32
}

/// Counts the sequences of 20 words.
pub fn repetition(text: &str) -> Repetition {
    let words: Vec<u64> = text.split_whitespace().map(|word| xxh3_64(word.as_bytes())).collect();
    let total = (words.len() + 1).saturating_sub(WORDS);
    if total == 0 {
        return Repetition { most_repeated: u32::from(!words.is_empty()), distinct: 1.0 };
    }
    let leading = (1..WORDS).fold(1u64, |power, _| power.wrapping_mul(POLYNOMIAL_FACTOR));
    let mut counts = Counts::with_capacity_and_hasher(total, BuildHasherDefault::default());
    let mut rolling = 0u64;
    for (i, word) in words.iter().enumerate() {
        if i >= WORDS {
            rolling = rolling.wrapping_sub(words[i - WORDS].wrapping_mul(leading));
        }
        rolling = rolling.wrapping_mul(POLYNOMIAL_FACTOR).wrapping_add(*word);
        if i + 1 >= WORDS {
            // The low bits of a polynomial mix badly; the table uses both ends.
            *counts.entry(rolling ^ (rolling >> 32)).or_insert(0) += 1;
        }
    }
    Repetition {
        most_repeated: counts.values().copied().max().unwrap_or(0),
        distinct: counts.len() as f32 / total as f32,
    }
}

/// Share of a text's bytes that are in sentences which occurred before; a line ends a sentence. By size, as the `\[` and
/// `Wait.` of a text come again anyway.
pub fn duplicate_sentences(text: &str) -> f32 {
    let mut seen = std::collections::HashSet::<u64, BuildHasherDefault<Same>>::default();
    let (mut all, mut again) = (0, 0);
    for sentence in text.lines().flat_map(sentences) {
        all += sentence.len();
        if !seen.insert(xxh3_64(sentence.as_bytes())) {
            again += sentence.len();
        }
    }
    if all == 0 { 0.0 } else { again as f32 / all as f32 }
}

/// What stands between the ends of sentences in a line: `.`, `!` or `?` before a space, or a full stop of other scripts.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line.trim();
    std::iter::from_fn(move || {
        let ends = |(at, sign): &(usize, &str)| !sign.is_ascii() || rest[at + sign.len()..].starts_with(' ');
        let end =
            rest.match_indices(['.', '!', '?', '।', '。', '！', '？']).find(ends).map(|(at, sign)| at + sign.len());
        let (sentence, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after.trim_start();
        (!sentence.is_empty()).then_some(sentence)
    })
}

/// Bytes by compressed bytes; 1 for an empty text.
pub fn compression(text: &str) -> f32 {
    thread_local! {
        static CONTEXT: std::cell::RefCell<Option<zstd::bulk::Compressor<'static>>> =
            std::cell::RefCell::new(zstd::bulk::Compressor::new(1).ok());
    }
    let compressed = CONTEXT.with_borrow_mut(|context| context.as_mut()?.compress(text.as_bytes()).ok());
    match compressed {
        Some(bytes) if !text.is_empty() => text.len() as f32 / bytes.len().max(1) as f32,
        _ => 1.0,
    }
}
