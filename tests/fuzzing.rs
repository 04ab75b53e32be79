//! Nothing that others wrote makes a reader panic: the entry points of `fuzz/entries.rs` on mutated inputs.
//!
//! cargo-fuzz finds more, but needs a nightly compiler (`fuzz/Cargo.toml`). Here inputs are mutated without knowing what
//! they reach: a few hundred in a run of the tests, and as many as there is time for with `R1D_FUZZ_SECONDS=600` for each
//! entry point (`R1D_FUZZ_SEED` begins elsewhere). An input that panics is printed, and so is the slowest one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use records::parquet_file::write_records;
use records::record::{CuratedTrace, Message, PromptId, TraceId};
use sources::formats::export::{Schema, export};
use tokens::tokenizer::Tokenizer;

use crate::entries;

/// SplitMix64 (Steele, Lea & Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// One to eight changes of one of the seeds. The first byte may choose what the rest is, and mostly stays.
fn mutated(random: &mut Random, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below((bytes.len() - at).min(60) + 1);
        match random.below(9) {
            0 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            1 => drop(bytes.drain(at.max(1).min(end)..end)),
            2 => bytes.truncate(at.max(1)),
            3 => {
                let piece = bytes[at..end].to_vec();
                let place = 1 + random.below(bytes.len());
                bytes.splice(place.min(bytes.len())..place.min(bytes.len()), piece);
            }
            4 => {
                let word = random.of(words).repeat(1 + random.below(4) * random.below(60));
                bytes.splice(at..at, word.bytes());
            }
            5 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                bytes.splice(at..end, other[from..].iter().copied().take(200));
            }
            6 => bytes.splice(at..end, random.next().to_le_bytes()).for_each(drop),
            _ => bytes.splice(at..end, random.of(words).bytes()).for_each(drop),
        }
        // Long inputs only take time.
        bytes.truncate(1 << 16);
    }
    bytes
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var_os(name)?;
    let number = value.to_str().and_then(|value| value.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is no number: {}", value.display())))
}

/// Gives an entry point the seeds, all of which it can read, then mutated ones.
#[expect(clippy::print_stderr, reason = "what panics or is slow is shown")]
fn fuzz(name: &str, entry: fn(&[u8]) -> bool, seeds: &[Vec<u8>], words: &[&str], times: usize) {
    let time = setting("R1D_FUZZ_SECONDS").map(Duration::from_secs);
    let mut random = Random(setting("R1D_FUZZ_SEED").unwrap_or(1));
    let began = Instant::now();
    let (mut count, mut slowest, mut panics) = (0, (Duration::ZERO, Vec::new()), 0);
    loop {
        let go_on = time.map_or(count < times, |time| began.elapsed() < time);
        if !go_on || panics >= 5 {
            break;
        }
        let bytes = seeds.get(count).cloned().unwrap_or_else(|| mutated(&mut random, seeds, words));
        count += 1;
        let started = Instant::now();
        if let Ok(read) = catch_unwind(AssertUnwindSafe(|| entry(&bytes))) {
            // Else nothing behind the first check would ever be reached.
            assert!(read || count > seeds.len(), "{name} cannot read b\"{}\"", bytes.escape_ascii());
        } else {
            panics += 1;
            eprintln!("{name} panics on b\"{}\"", bytes.escape_ascii());
        }
        if started.elapsed() > slowest.0 {
            slowest = (started.elapsed(), bytes);
        }
    }
    if time.is_some() {
        let (time, bytes) = slowest;
        eprintln!("{name}: {count} inputs, {panics} panics; the slowest took {time:?}: b\"{}\"", bytes.escape_ascii());
    }
    assert_eq!(panics, 0, "{name} panics, see above");
}

const MATHS: [&str; 72] = [
    "\\boxed{",
    "}",
    "{",
    "\\frac{",
    "\\dfrac",
    "\\sqrt[3]{",
    "\\left(",
    "\\right]",
    "(",
    ")",
    "[",
    "]",
    "\\{",
    "\\}",
    "|",
    "\\cup",
    "\\infty",
    "\\pi",
    "\\pm",
    "\\le",
    "\\ge",
    "\\ne",
    "\\in",
    "\\mathbb{R}",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "\\\\",
    "&",
    "^",
    "_",
    "!",
    "+",
    "-",
    "*",
    "/",
    "=",
    "<",
    ",",
    ".",
    ":",
    "%",
    "\\%",
    "$",
    "$$",
    "\\(",
    "\\]",
    "\\text{",
    "\\circ",
    "°",
    "\\sin",
    "\\log_",
    "e^",
    "1",
    "0.5",
    "12,345",
    "10^{400}",
    "9^{9^9}",
    "100!",
    "x",
    "y",
    "\0",
    "answer is",
    "####",
    "\u{221a}",
    "\u{00bd}",
    "and",
    " or ",
    "\n",
    "\\cdot",
    "\\binom{",
    "(A)",
    "hours",
];

#[test]
fn answers_are_judged_whatever_they_are() {
    let seeds = [
        "\\frac{1}{2}\0So the answer is \\boxed{0.5}.",
        "(-\\infty, 3]\0$x \\le 3$, that is \\boxed{\\left(-\\infty, 3\\right]}",
        "\\{1, 2\\}\0\\boxed{1} and \\boxed{2}",
        "x^2+2x+1\0\\boxed{(x+1)^2}",
        "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}\0\\boxed{\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}}",
        "C\0The correct option is **(C)**.",
        "1/2004!\0\\boxed{\\frac{1}{2006!}}",
        "\\sqrt[3]{2}+\\pi e^{i}\0it is 3.9",
        "12:30\0\\boxed{\\text{12:30 p.m.}}",
        "11_2\0\\boxed{3}",
        "45\\%\0#### 0.45",
        "2 hours and 30 minutes\x00150 minutes",
        "3:4\0\\boxed{\\frac{3}{4}}",
        "y = 2x + 1\0\\boxed{2x - y + 1 = 0}",
        "9^{9^{9}}\0\\boxed{9^{9^{8}}}",
        "\\cos 15^\\circ\0\\boxed{\\frac{\\sqrt6+\\sqrt2}{4}}",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    fuzz("answers", entries::answers, &seeds, &MATHS, 1500);
}

#[test]
fn replies_are_split_wherever_their_thinking_ends() {
    let seeds = ["<think>\nhm\n</think>\n\n4", "hm</think>4", "<think>so far", "4", "hm\0<think>a</think>b"];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    let words = ["<think>", "</think>", "<", ">", "/", "think", "\0", " ", "\n", "é", "\u{2003}"];
    fuzz("replies", entries::replies, &seeds, &words, 2000);
}

/// What JSON is made of.
const JSON: [&str; 13] =
    ["\"", "\\", "{", "}", "[", "]", ",", ":", "null", "true", "-0.0", "1e999", "12345678901234567890"];

const ROWS: [&str; 29] = [
    "\"role\"",
    "\"user\"",
    "\"assistant\"",
    "\"system\"",
    "\"content\"",
    "\"from\"",
    "\"gpt\"",
    "\"value\"",
    "\"messages\"",
    "\"conversations\"",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<|begin_of_thought|>",
    "<|end_of_solution|>",
    "\\ud800",
    "\\u0000",
    "\n",
    "\r\n",
    "\u{feff}",
    "\"info\"",
    "\"test_case\"",
    "\"inputs\"",
    "\"outputs\"",
    "\"fn_name\"",
    "\"from solution import f\\n\"",
    "\"test_cases\"",
    "é",
];

/// A row of each format, as lines and as an array, and the same traces in files that are compressed or Parquet.
fn row_seeds() -> Vec<Vec<u8>> {
    let chat = |reply: &str| serde_json::json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": reply}]);
    let think = chat("<think>\n2 and 2.\n</think>\n\nIt is \\boxed{4}.");
    let turns =
        serde_json::json!([{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "<think>2</think>4"}]);
    let thought = "<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>4<|end_of_solution|>";
    let tests =
        serde_json::json!({"language": "python", "test_cases": [{"input": "1", "output": "2", "fn_name": "f"}]});
    let rows = [
        (0, serde_json::json!({"messages": think, "source": "s", "verification_info": tests})),
        (1, serde_json::json!({"conversations": turns})),
        (
            2,
            serde_json::json!({"conversations": [{"from": "user", "value": "?"}, {"from": "assistant", "value": thought}]}),
        ),
        (
            2,
            serde_json::json!({"problem": "p", "deepseek_reasoning": "r", "deepseek_solution": "s", "test_cases": "{\"inputs\": [\"1\"], \"outputs\": [\"1\"]}", "starter_code": "x"}),
        ),
        (
            3,
            serde_json::json!({"problem": "p", "generations": ["<think>a</think>b", "c"], "answer": 4, "finish_reasons": ["stop", null]}),
        ),
        (
            4,
            serde_json::json!({"messages": [{"role": "user", "content": "?", "info": {"test_case": "from solution import f\ndef test_f():\n    assert f(1)", "reference_answer": "4"}}, {"role": "assistant", "content": "<think>a</think><answer>b</answer>"}]}),
        ),
        (
            5,
            serde_json::json!({"messages": think, "reasoning": "on", "generator": "r1", "metadata": "{\"expected_answer\": \"4\"}"}),
        ),
    ];
    let mut seeds = Vec::new();
    for (format, row) in rows {
        seeds.push([&[entries::choice(format, 0)], format!("{row}\n{row}\n").as_bytes()].concat());
        seeds.push([&[entries::choice(format, 1)], format!("[{row}, {row}]").as_bytes()].concat());
    }
    for (bytes, file) in packed() {
        seeds.push([&[entries::choice(0, file)], bytes.as_slice()].concat());
    }
    seeds
}

/// Curated traces as Parquet and as compressed lines, with the numbers that rows have for these kinds.
fn packed() -> [(Vec<u8>, usize); 2] {
    let dir = tempfile::tempdir().unwrap();
    let trace = |n: usize| CuratedTrace {
        trace_id: TraceId::from_stored(n.to_string()),
        prompt_id: PromptId::from_stored("p"),
        domain: "math".into(),
        kind: String::new(),
        source: "s".into(),
        gold: None,
        messages: vec![Message::user(format!("{n}?")), Message::assistant("<think>\na\n</think>\n\nb")],
        num_tokens: Some(3),
    };
    write_records(&dir.path().join("curated/a.parquet"), &(0..20).map(trace).collect::<Vec<_>>()).unwrap();
    [("a.parquet", 2), ("a.jsonl.zst", 3)].map(|(name, file)| {
        export(&dir.path().join("curated"), Schema::MixtureOfThoughts, &dir.path().join(name)).unwrap();
        (std::fs::read(dir.path().join(name)).unwrap(), file)
    })
}

#[test]
fn files_of_rows_are_read_or_refused() {
    fuzz("rows", entries::rows, &row_seeds(), &[&JSON[..], &ROWS].concat(), 300);
}

#[test]
fn files_that_are_asked_are_read_or_refused() {
    let lines = "{\"id\": 1, \"text\": \"one two three four five six\", \"x\": {\"y\": [1, null]}}\n{\"id\": 2, \"text\": null}\n";
    let csv = "id,text\n1,\"one, \"\"two\"\"\nthree\"\n2,\n";
    let [(parquet, _), (zstd, _)] = packed();
    let seeds = [(0, lines.as_bytes().to_vec()), (1, csv.as_bytes().to_vec()), (2, parquet), (3, zstd)]
        .map(|(kind, bytes)| [vec![kind], bytes].concat());
    fuzz("tables", entries::tables, &seeds, &[&JSON[..], &ROWS].concat(), 100);
}

const TOKENIZERS: [&str; 27] = [
    "false",
    "0",
    "-1",
    "4294967296",
    "\"NFC\"",
    "\"type\":\"NFD\"",
    "\"Isolated\"",
    "\"Removed\"",
    "\"Sequence\"",
    "\"ByteLevel\"",
    "\"use_regex\":true",
    "\"lstrip\":true",
    "\"normalized\":true",
    "\"ignore_merges\":true",
    "\"byte_fallback\":true",
    "\"unk_token\":\"!\"",
    "\"single\"",
    "\"B\"",
    "Ġ",
    "Ċ",
    "e\u{301}",
    "\\s+",
    "<think>",
    "'s",
    " ",
    "\n",
    "\0",
];

/// A small tokenizer with a text behind it, and others with another pre-tokenizer or one more added token.
fn tokenizer_seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let corpus = vec!["the sum of 12 and 34 is 46, isn't it?\n".to_owned(); 20];
    Tokenizer::train(&corpus, 300).unwrap().save(&path).unwrap();
    let trained: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let text = "\0<think>the sum, it'S  \n\n 12345 e\u{301}é ½ 面积\u{1112}\u{1161}</think><｜end▁of▁sentence｜>";
    let bytes =
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let digits = serde_json::json!({"type": "Digits", "individual_digits": true});
    let added = serde_json::json!({"id": 300, "content": "e\u{301}", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": true, "special": false});
    let variants: [&dyn Fn(&mut serde_json::Value); 4] = [
        &|_| {},
        &|json| json["pre_tokenizer"] = bytes.clone(),
        &|json| json["pre_tokenizer"] = serde_json::json!({"type": "Sequence", "pretokenizers": [digits, bytes]}),
        &|json| json["added_tokens"].as_array_mut().unwrap().push(added.clone()),
    ];
    let seed = |variant: &dyn Fn(&mut serde_json::Value)| {
        let mut json = trained.clone();
        variant(&mut json);
        format!("{json}{text}").into_bytes()
    };
    variants.into_iter().map(seed).collect()
}

#[test]
fn tokenizers_are_read_or_refused_and_give_the_ids_of_the_library() {
    fuzz("tokenizer", entries::tokenizer, &tokenizer_seeds(), &[&JSON[..], &TOKENIZERS].concat(), 300);
}
