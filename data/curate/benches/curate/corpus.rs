//! A corpus of made-up traces in the shape of R1's, with planted duplicates, contamination and defects whose truth is
//! kept aside. The same size gives the same corpus.

use std::path::{Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use records::Result;
use records::parquet_file::RecordWriter;
use records::record::{FinishReason, Prompt, Sampling, Trace, TraceId};
use serde::{Deserialize, Serialize};
use text::contamination::Item;

use crate::words::{Writer, edited, jaccard};

/// Prompts of a file; each chunk has random numbers of its own.
const CHUNK: usize = 16_384;
/// Prompts in memory at once.
const BATCH: usize = 256;
/// Samples a prompt on average.
const SAMPLES: f64 = 2.0;
/// Domains with R1's shares of traces and mean tokens (arXiv 2501.12948v2, table 5).
const DOMAINS: [(&str, f64, f64); 5] = [
    ("math", 395_285.0, 6094.2),
    ("code", 211_129.0, 7435.7),
    ("stem", 10_124.0, 4928.8),
    ("logic", 10_395.0, 2739.0),
    ("general", 177_812.0, 1419.8),
];
/// Mean tokens over all domains.
const MEAN_TOKENS: f64 = 5355.3;
/// Items of the benchmark.
const ITEMS: usize = 1500;

/// What was planted in one trace or its prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Truth {
    pub(crate) trace_id: String,
    /// The earlier trace of the same prompt that this one was made from.
    pub(crate) copy_of: Option<String>,
    /// Their Jaccard similarity; 1 with only case and markup changed.
    pub(crate) similarity: f64,
    /// The earlier prompt that this one's prompt was made from.
    pub(crate) prompt_copy_of: Option<String>,
    /// Their Jaccard similarity.
    pub(crate) prompt_similarity: f64,
    /// The item of the benchmark that stands in the prompt or the trace; in a copy, words of it may be changed.
    pub(crate) item: Option<String>,
    /// Of the original, in a copy. `cut`, `loop`, `refusal`, `identity`, `leak`, `language`, `code`, `secret`, `wrong` or nothing.
    pub(crate) defect: String,
}

/// Where a corpus is.
pub(crate) struct Corpus {
    pub(crate) prompts: PathBuf,
    pub(crate) traces: PathBuf,
    pub(crate) truth: PathBuf,
}

impl Corpus {
    pub(crate) fn at(dir: &Path) -> Self {
        Self { prompts: dir.join("prompts"), traces: dir.join("traces"), truth: dir.join("truth") }
    }

    /// Writes a corpus of about `traces` traces of `mean` bytes.
    pub(crate) fn write(&self, traces: usize, mean: usize) -> Result<()> {
        let prompts = (traces as f64 / SAMPLES) as usize;
        let items = items();
        (0..prompts.div_ceil(CHUNK)).into_par_iter().try_for_each(|chunk| {
            let count = CHUNK.min(prompts - chunk * CHUNK);
            let name = format!("part-{chunk:05}.parquet");
            let mut prompts = RecordWriter::create(&self.prompts.join(&name))?;
            let mut traces = RecordWriter::create(&self.traces.join(&name))?;
            let mut truth = RecordWriter::create(&self.truth.join(&name))?;
            let mut maker = Maker::new(chunk as u64, mean, &items);
            for first in (0..count).step_by(BATCH) {
                let mut made = Made::default();
                (first..count.min(first + BATCH)).for_each(|_| maker.prompt(&mut made));
                prompts.write(&made.prompts)?;
                traces.write(&made.traces)?;
                truth.write(&made.truth)?;
            }
            prompts.finish()?;
            traces.finish()?;
            truth.finish()
        })
    }
}

/// The benchmark that some prompts and traces were contaminated with.
pub(crate) fn items() -> Vec<Item> {
    let writer = Writer::new();
    let mut rng = ChaCha8Rng::seed_from_u64(0xbe7c);
    let mut text = |words| {
        let mut text = String::new();
        writer.words(&mut rng, words, &mut text);
        text
    };
    let mut item = |i: usize| {
        let (question, solution) = (format!("{} {i}?", text(24 + i % 40)), Some(text(60 + i % 50)));
        Item { benchmark: "made-up".into(), id: i.to_string(), question, solution }
    };
    (0..ITEMS).map(&mut item).collect()
}

#[derive(Default)]
struct Made {
    prompts: Vec<Prompt>,
    traces: Vec<Trace>,
    truth: Vec<Truth>,
}

struct Maker<'a> {
    rng: ChaCha8Rng,
    writer: Writer,
    mean: usize,
    items: &'a [Item],
    /// The last prompts, of which copies are made, and the items in them.
    recent: Vec<(Prompt, Option<String>)>,
    number: u64,
}

/// A prompt, and what was planted in it.
struct Planted {
    prompt: Prompt,
    copy_of: Option<(String, f64)>,
    item: Option<String>,
    mean_bytes: f64,
}

impl<'a> Maker<'a> {
    fn new(chunk: u64, mean: usize, items: &'a [Item]) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(chunk);
        Self { rng, writer: Writer::new(), mean, items, recent: Vec::new(), number: chunk * CHUNK as u64 }
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random::<f64>() < probability
    }

    /// Adds a prompt with its traces.
    fn prompt(&mut self, made: &mut Made) {
        let planted = self.question();
        // One to three samples: two on average.
        let samples = self.rng.random_range(1..=3u32);
        let first = made.traces.len();
        for sample in 0..samples {
            let earlier = (sample > 0).then(|| (made.traces[first].clone(), made.truth[first].clone()));
            let (trace, mut truth) = self.trace(&planted, sample, earlier.as_ref());
            if let Some((id, similarity)) = &planted.copy_of {
                (truth.prompt_copy_of, truth.prompt_similarity) = (Some(id.clone()), *similarity);
            }
            made.traces.push(trace);
            made.truth.push(truth);
        }
        self.recent.push((planted.prompt.clone(), planted.item));
        if self.recent.len() > 64 {
            self.recent.remove(0);
        }
        made.prompts.push(planted.prompt);
    }

    fn question(&mut self) -> Planted {
        self.number += 1;
        let total: f64 = DOMAINS.iter().map(|(_, share, _)| share).sum();
        let mut at = self.rng.random::<f64>() * total;
        let found = DOMAINS.iter().find(|(_, share, _)| {
            at -= share;
            at <= 0.0
        });
        let (domain, _, tokens) = *found.unwrap_or(&DOMAINS[0]);
        let mut gold = matches!(domain, "math" | "stem").then(|| self.gold());
        let (mut copy_of, mut item) = (None, None);
        let copied = (!self.recent.is_empty()).then(|| self.rng.random_range(0..self.recent.len()));
        let mut question = String::new();
        match (copied, self.rng.random::<f64>()) {
            (Some(i), p) if p < 0.01 => {
                question = format!("**{}**", self.recent[i].0.question.to_uppercase());
                copy_of = Some((self.recent[i].0.id.to_string(), 1.0));
                item.clone_from(&self.recent[i].1);
                gold.clone_from(&self.recent[i].0.answer);
            }
            (Some(i), p) if p < 0.06 => {
                let original = self.recent[i].0.question.clone();
                let aim = self.rng.random_range(0.5..0.99);
                question = edited(&self.writer, &mut self.rng, &original, aim);
                if question == original {
                    question.push_str(" Explain.");
                }
                copy_of = Some((self.recent[i].0.id.to_string(), jaccard(&original, &question)));
                item.clone_from(&self.recent[i].1);
                gold.clone_from(&self.recent[i].0.answer);
            }
            (_, p) if p < 0.065 => {
                let i = self.rng.random_range(0..self.items.len());
                self.writer.words(&mut self.rng, 8, &mut question);
                question.push_str(". ");
                question.push_str(&self.items[i].question);
                item = Some(self.items[i].id.clone());
            }
            _ => {
                let words = self.rng.random_range(25..120);
                self.writer.words(&mut self.rng, words, &mut question);
                question = format!("{question} {}?", self.number);
            }
        }
        let prompt = Prompt::new(domain, "", &question, gold, "made-up");
        Planted { prompt, copy_of, item, mean_bytes: self.mean as f64 * tokens / MEAN_TOKENS }
    }

    fn gold(&mut self) -> String {
        let (a, b) = (self.rng.random_range(2..500u32), self.rng.random_range(2..60u32));
        match self.rng.random_range(0..6u32) {
            0 => format!("\\frac{{{a}}}{{{}}}", b + 1),
            1 => format!("{a}\\sqrt{{{b}}}"),
            2 => format!("({a}, {b})"),
            3 => format!("{a}.{b}"),
            4 => format!("x^2 + {a}x + {b}"),
            _ => a.to_string(),
        }
    }

    fn trace(&mut self, planted: &Planted, sample: u32, earlier: Option<&(Trace, Truth)>) -> (Trace, Truth) {
        let prompt = &planted.prompt;
        let sampling = Sampling { temperature: 0.6, top_p: 0.95, max_tokens: 32_768 };
        let id = TraceId::of(&prompt.id, "made-up", "", sampling, 1, sample);
        let mut truth = Truth { trace_id: id.to_string(), item: planted.item.clone(), ..Truth::default() };
        let gold = prompt.answer.clone().unwrap_or_else(|| "yes".into());
        let (mut thinking, mut answer) = (String::new(), format!("The final answer is $\\boxed{{{gold}}}$."));
        let mut finish_reason = FinishReason::Stop;
        let copied = earlier.and_then(|(earlier, of)| Some((earlier, earlier.thinking.as_ref()?, of)));
        match (copied, self.rng.random::<f64>()) {
            (Some((earlier, text, of)), p) if p < 0.02 => {
                truth = Truth { trace_id: id.to_string(), ..of.clone() };
                thinking = text.to_uppercase();
                answer.clone_from(&earlier.answer);
                finish_reason = earlier.finish_reason;
                (truth.copy_of, truth.similarity) = (Some(earlier.id.to_string()), 1.0);
            }
            (Some((earlier, text, of)), p) if p < 0.10 => {
                truth = Truth { trace_id: id.to_string(), ..of.clone() };
                let aim = self.rng.random_range(0.5..0.99);
                thinking = edited(&self.writer, &mut self.rng, text, aim);
                answer.clone_from(&earlier.answer);
                finish_reason = earlier.finish_reason;
                let whole = |thinking: &str, answer: &str| format!("{thinking}\n{answer}");
                truth.copy_of = Some(earlier.id.to_string());
                truth.similarity = jaccard(&whole(text, &earlier.answer), &whole(&thinking, &answer));
            }
            _ => {
                // Long traces are rare and long: log-normal, as R1's lengths nearly are.
                let spread = (self.normal() * 0.7 - 0.245).exp();
                let bytes = (planted.mean_bytes * spread).clamp(200.0, 120_000.0) as usize;
                self.writer.prose(&mut self.rng, bytes, &mut thinking);
                if truth.item.is_none() && self.chance(0.002) {
                    let i = self.rng.random_range(0..self.items.len());
                    thinking.push_str("\n\n");
                    thinking.push_str(self.items[i].solution.as_deref().unwrap_or_default());
                    truth.item = Some(self.items[i].id.clone());
                }
                truth.defect = self.defect(&mut thinking, &mut answer, &mut finish_reason).into();
            }
        }
        let tokens = (thinking.len() + answer.len()) as u32 / 4;
        let trace = Trace::new(id, prompt.id.clone(), "made-up", sample)
            .with_text(Some(thinking), answer, finish_reason)
            .with_tokens(None, Some(tokens))
            .with_sampling(sampling, None);
        (trace, truth)
    }

    /// A standard normal number (Box & Muller 1958).
    fn normal(&mut self) -> f64 {
        let (a, b): (f64, f64) = (self.rng.random(), self.rng.random());
        (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// Spoils one trace in twenty.
    fn defect(&mut self, thinking: &mut String, answer: &mut String, finish: &mut FinishReason) -> &'static str {
        match self.rng.random_range(0..200u32) {
            0 => {
                *answer = "The final answer is".into();
                *finish = FinishReason::Length;
                "cut"
            }
            1 => {
                let mut piece = String::from(" ");
                let words = self.rng.random_range(3..30);
                self.writer.words(&mut self.rng, words, &mut piece);
                thinking.push_str(&piece.repeat(30));
                "loop"
            }
            2 => {
                *answer = "I'm sorry, but I can't help with that.".into();
                "refusal"
            }
            3 => {
                add_paragraph(thinking, "As an AI developed by OpenAI I have to be careful here.");
                "identity"
            }
            4 => {
                add_paragraph(thinking, "According to the answer key that is right.");
                "leak"
            }
            5 => {
                let sentences = 1 + thinking.len() / 100;
                let foreign: String = (1..=sentences).map(|n| self.chinese(n)).collect();
                add_paragraph(thinking, &foreign);
                "language"
            }
            6 => {
                add_paragraph(thinking, "```python\nprint(1)\n```");
                "code"
            }
            7 => {
                add_paragraph(thinking, "Write to jane.doe@mailbox.org about it.");
                "secret"
            }
            8 | 9 => {
                *answer = "The final answer is $\\boxed{-12345}$.".into();
                "wrong"
            }
            _ => "",
        }
    }

    /// A sentence such as "in step 7 we check the result once more": with its number none is like another.
    fn chinese(&mut self, number: usize) -> String {
        const WHO: [&str; 5] = ["我们", "大家", "老师", "同学", "题目"];
        const HOW: [&str; 6] = ["先", "再", "接着", "最后", "仔细", "重新"];
        const WHAT: [&str; 8] =
            ["计算面积", "检查结果", "考虑条件", "比较大小", "代入数字", "化简公式", "画出图形", "验证答案"];
        let [who, how, what] = [&WHO[..], &HOW, &WHAT].map(|words| words[self.rng.random_range(0..words.len())]);
        format!("第{number}步{who}{how}{what}。")
    }
}

/// Puts a text into a paragraph of its own, after the first one.
fn add_paragraph(thinking: &mut String, text: &str) {
    let end = thinking.find("\n\n").unwrap_or(thinking.len());
    thinking.insert_str(end, &format!("\n\n{text}"));
}
