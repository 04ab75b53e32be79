//! Text that looks like a reasoning trace: English words by Zipf's law, sums, formulas, paragraphs.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Common words first.
const WORDS: &str = "the of and to a in is that so we it for be this with are then if number as x by n equals which at \
from have can on two or an let each all one not there value answer but first wait sum case given since same means problem \
step now three must need check would total because side them only more time every point equation when line second second \
what should find find integer even odd think product square other between than these after both right left before whole \
greater triangle angle area length distance hours minutes per rate cost price money dollars circle radius root factor \
prime positive negative fraction ratio percent terms sequence series function graph slope curve limit zero maximum minimum \
divide multiply add subtract remaining again approach method rule formula solve simplify substitute expand gives becomes \
result correct wrong maybe perhaps alternatively however therefore hence suppose assume consider notice recall remember \
know known unknown variable constant parameter set subset element pair group order arrange choose probability chance dice \
coin card color red blue green black white ball box bag draw event outcome expected average mean median table column row \
grid cell board path move turn player game win strategy code loop array string list index input output return function \
print test example sample memory complexity sort search tree node edge weight vertex cycle bound upper lower range interval \
energy force mass velocity acceleration charge current voltage resistance field wave frequency temperature pressure volume \
gas reaction acid base bond atom molecule electron proton cell gene protein enzyme plant animal species water air light heat \
sound speed train car boat river bridge wall door window room house street city farm garden tree apple orange banana bread \
milk sugar flour cup bottle basket shelf book page pencil paper student teacher class school friend brother sister mother \
father child person people worker company market store week month year day morning evening clock watch letter word sentence \
paragraph story question reply idea reason evidence claim argument proof lemma theorem contradiction induction base \
hypothesis conclusion statement true false exactly about around almost nearly roughly quite very much many few several some \
none any another next last final initial previous following above below inside outside under over through across along \
toward away near far close open start end begin stop continue repeat finish complete make take give get put keep hold \
bring carry show tell ask say write read look see hear feel want try use work help play run walk stand sit fall rise grow";

const OPENINGS: [&str; 16] = [
    "Wait, ",
    "So ",
    "Let me think. ",
    "Hmm, ",
    "Okay, ",
    "First, ",
    "Now ",
    "But ",
    "Then ",
    "Alternatively, ",
    "Let me check that: ",
    "Therefore, ",
    "Next, ",
    "That means ",
    "Since ",
    "",
];

/// Draws words.
pub(crate) struct Writer {
    words: Vec<&'static str>,
    /// Numbers of words, each as often as Zipf's law (Zipf 1949; exponent 1, shifted by 2.7 as Mandelbrot does) has it.
    table: Vec<u16>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let weight = |rank: usize| 1.0 / (rank as f64 + 2.7);
        let total: f64 = (0..words.len()).map(weight).sum();
        let share = |rank: usize| (weight(rank) / total * 16_384.0).round().max(1.0) as usize;
        let table = (0..words.len()).flat_map(|rank| std::iter::repeat_n(rank as u16, share(rank))).collect();
        Self { words, table }
    }

    pub(crate) fn word(&self, rng: &mut ChaCha8Rng) -> &'static str {
        self.words[self.table[rng.random_range(0..self.table.len())] as usize]
    }

    /// Appends `count` words, separated by spaces.
    pub(crate) fn words(&self, rng: &mut ChaCha8Rng, count: usize, out: &mut String) {
        for i in 0..count {
            if i > 0 {
                out.push(' ');
            }
            out.push_str(self.word(rng));
        }
    }

    /// Appends sentences and sums in paragraphs, up to about `bytes`.
    pub(crate) fn prose(&self, rng: &mut ChaCha8Rng, bytes: usize, out: &mut String) {
        use std::fmt::Write as _;
        let end = out.len() + bytes;
        while out.len() < end {
            for _ in 0..rng.random_range(2..6) {
                out.push_str(OPENINGS[rng.random_range(0..OPENINGS.len())]);
                let count = rng.random_range(6..18);
                self.words(rng, count, out);
                match rng.random_range(0..5u32) {
                    0 => {
                        let (a, b) = (rng.random_range(2..900u32), rng.random_range(2..90u32));
                        let _ = write!(out, ", so {a} + {b} = {}", a + b);
                    }
                    1 => {
                        let (a, b) = (rng.random_range(2..60u32), rng.random_range(1..99u32));
                        let _ = write!(out, " and ${a}x + {b} = {}$", a * 7 + b);
                    }
                    _ => {}
                }
                out.push_str(". ");
            }
            out.pop();
            out.push_str("\n\n");
        }
        out.truncate(out.trim_end().len());
    }
}

/// A text's words as curation counts them: runs of letters and digits, and single signs.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        if c.is_alphanumeric() {
            start.get_or_insert(at);
            continue;
        }
        if let Some(start) = start.take() {
            words.push(&text[start..at]);
        }
        if "+-/<=>^|%&@~".contains(c) {
            words.push(&text[at..=at]);
        }
    }
    words.extend(start.map(|start| &text[start..]));
    words
}

/// Jaccard similarity of the sets of 5 words in a row, by the words themselves.
pub(crate) fn jaccard(a: &str, b: &str) -> f64 {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let set = |text| split(text).windows(5).map(<[&str]>::to_vec).collect::<std::collections::HashSet<_>>();
    let (a, b) = (set(&a), set(&b));
    a.intersection(&b).count() as f64 / a.union(&b).count().max(1) as f64
}

/// Replaces words at even distances, so that about the given Jaccard similarity is left: an edit changes five of the
/// sequences of either text.
pub(crate) fn edited(writer: &Writer, rng: &mut ChaCha8Rng, text: &str, jaccard: f64) -> String {
    let words = split(text);
    let sequences = words.len().saturating_sub(4).max(1) as f64;
    let edits = ((sequences * (1.0 - jaccard) / (5.0 * (1.0 + jaccard))).round() as usize).max(1);
    let every = (words.len() / edits).max(1);
    let phase = rng.random_range(0..every);
    let mut out = String::with_capacity(text.len() + 16 * edits);
    let mut copied = 0;
    for word in words.iter().skip(phase).step_by(every).filter(|word| word.len() > 1).take(edits) {
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        out.push_str(&text[copied..at]);
        out.push_str(writer.word(rng));
        out.push_str("ly");
        copied = at + word.len();
    }
    out.push_str(&text[copied..]);
    out
}
