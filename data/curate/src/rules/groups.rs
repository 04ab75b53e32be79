//! What one trace and its prompt show, without the other traces: groups of rules, and the trace's length.

use std::borrow::Cow;

use rayon::prelude::*;
use records::Result;
use records::record::{FinishReason, Prompt, PromptId, Trace, TraceId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use text::contamination::{Hit, Index, Item, Preset};
use text::duplicates::{Near, Sketcher};
use text::signals::{Signals, signals};
use tokens::tokenizer::Tokenizer;
use verify::{Verification, verify};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::rules::cache::{Case, Group};

/// Longer "answers" are no answers; verdicts are narrow.
const MOST_EXTRACTED_CHARS: usize = 200;

/// What the trace shows by itself.
pub(crate) struct Form;

/// Its row.
#[expect(clippy::struct_field_names, reason = "the fields are named as the columns are")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Formed {
    pub(crate) trace_id: TraceId,
    pub(crate) prompt_id: PromptId,
    pub(crate) sample: u32,
    pub(crate) tokens: Option<u32>,
    pub(crate) thinking_chars: u32,
    pub(crate) well_formed: bool,
    pub(crate) finished: bool,
    pub(crate) signals: Signals,
}

impl Group for Form {
    const NAME: &'static str = "signals";
    const VERSION: u32 = 1;
    type Row = Formed;

    fn settings(&self) -> Value {
        Value::Null
    }

    fn of_prompt(&self, prompt: &Prompt) -> u64 {
        xxh3_64(prompt.question.as_bytes())
    }

    fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Formed>> {
        Ok(cases.par_iter().map(|case| formed(case.prompt, case.trace)).collect())
    }
}

fn formed(prompt: &Prompt, trace: &Trace) -> Formed {
    let well_formed = is_well_formed(trace);
    Formed {
        trace_id: trace.id.clone(),
        prompt_id: trace.prompt_id.clone(),
        sample: trace.sample,
        tokens: trace.completion_tokens,
        thinking_chars: trace.thinking.as_deref().map_or(0, |t| t.chars().count() as u32),
        well_formed,
        // Imported traces do not say why they ended; one that is whole counts as finished.
        finished: match trace.finish_reason {
            FinishReason::Stop => true,
            FinishReason::Unknown => well_formed,
            FinishReason::Length | FinishReason::Other => false,
        },
        signals: signals(&prompt.question, trace),
    }
}

/// One complete, non-empty thinking block, a non-empty answer, and no tag left over in either.
fn is_well_formed(trace: &Trace) -> bool {
    let whole = |text: &str| !text.trim().is_empty() && !text.contains("<think>") && !text.contains("</think>");
    trace.thinking.as_deref().is_some_and(whole) && whole(&trace.answer)
}

/// How long the trace is in the student's tokens; unknown where its tokenizer cannot encode it.
pub(crate) struct Length(pub(crate) Tokenizer);

impl Group for Length {
    const NAME: &'static str = "student_tokens";
    const VERSION: u32 = 1;
    type Row = Option<u32>;

    fn settings(&self) -> Value {
        self.0.hash().into()
    }

    fn of_prompt(&self, _: &Prompt) -> u64 {
        0
    }

    fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Option<u32>>> {
        // A text that the tokenizer cannot encode has no count: null in its column, which a policy sees.
        Ok(cases.par_iter().map(|case| Some(self.0.count(&case.trace.text()).ok()? as u32)).collect())
    }
}

/// Whether the final answer is the gold answer.
pub(crate) struct Answers;

/// Its row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) extracted: Option<String>,
    pub(crate) correct: Option<bool>,
    pub(crate) answer_verdict: Option<String>,
    pub(crate) answer_rule: Option<String>,
}

impl Group for Answers {
    const NAME: &'static str = "answers";
    const VERSION: u32 = 1;
    type Row = Answered;

    fn settings(&self) -> Value {
        Value::Null
    }

    fn of_prompt(&self, prompt: &Prompt) -> u64 {
        prompt.answer.as_ref().map_or(0, |answer| xxh3_64(answer.as_bytes()))
    }

    fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Answered>> {
        Ok(cases.par_iter().map(|case| answered(case.prompt, case.trace)).collect())
    }
}

fn answered(prompt: &Prompt, trace: &Trace) -> Answered {
    let verification = prompt.answer.as_deref().map(|gold| verify(gold, &trace.answer));
    Answered {
        correct: verification.as_ref().map(Verification::correct),
        answer_verdict: verification.as_ref().map(|v| v.verdict.name().to_owned()),
        answer_rule: verification.as_ref().map(|v| v.rule.name().to_owned()),
        extracted: verification.and_then(|v| v.extracted).map(|text| cut(&text)),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_EXTRACTED_CHARS).collect()
}

/// What finds duplicates. The threshold comes later: it decides no row.
pub(crate) struct Similarity(pub(crate) Near);

/// Its row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sketch {
    digest_high: u64,
    digest_low: u64,
    pub(crate) bands: Vec<u64>,
    pub(crate) shingles: u32,
}

impl Sketch {
    pub(crate) fn digest(&self) -> u128 {
        u128::from(self.digest_high) << 64 | u128::from(self.digest_low)
    }
}

impl Group for Similarity {
    const NAME: &'static str = "sketches";
    const VERSION: u32 = 1;
    type Row = Sketch;

    fn settings(&self) -> Value {
        let Near { shingle, bands, rows, threshold: _ } = self.0;
        json!([shingle, bands, rows])
    }

    fn of_prompt(&self, _: &Prompt) -> u64 {
        0
    }

    fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Sketch>> {
        let sketch = |sketcher: &mut Sketcher, case: &Case<'_>| {
            let mut bands = Vec::with_capacity(self.0.bands);
            let (digest, shingles) = sketcher.sketch(&compared(case.trace), &mut bands);
            Sketch { digest_high: (digest >> 64) as u64, digest_low: digest as u64, bands, shingles: shingles as u32 }
        };
        Ok(cases.par_iter().map_init(|| Sketcher::new(self.0), sketch).collect())
    }
}

/// What of a trace is compared with others.
pub(crate) fn compared(trace: &Trace) -> Cow<'_, str> {
    match &trace.thinking {
        Some(thinking) => Cow::Owned([thinking, "\n", trace.answer.as_str()].concat()),
        None => Cow::Borrowed(&trace.answer),
    }
}

/// Which benchmark it shows.
pub(crate) struct Benchmarks {
    settings: Value,
    index: Index,
}

impl Benchmarks {
    pub(crate) fn new(preset: Preset, items: Vec<Item>) -> Self {
        let all: Vec<_> =
            items.iter().map(|item| (&item.benchmark, &item.id, &item.question, &item.solution)).collect();
        Self { settings: json!([preset, all]), index: Index::new(preset, items) }
    }
}

impl Group for Benchmarks {
    const NAME: &'static str = "contamination";
    const VERSION: u32 = 2;
    type Row = Option<Hit>;

    fn settings(&self) -> Value {
        self.settings.clone()
    }

    fn of_prompt(&self, prompt: &Prompt) -> u64 {
        let mut hasher = Xxh3Default::new();
        for turn in prompt.context.iter().flat_map(|m| [&m.role, &m.content]).chain([&prompt.question]) {
            hasher.update(&turn.len().to_le_bytes());
            hasher.update(turn.as_bytes());
        }
        hasher.digest()
    }

    fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Option<Hit>>> {
        let check = |case: &Case<'_>| {
            let hit = contamination(&self.index, case)?;
            Some(Hit { evidence: cut(&hit.evidence), ..hit })
        };
        Ok(cases.par_iter().map(check).collect())
    }
}

/// What a conversation shows of a benchmark: the question with its trace, then earlier questions with their replies.
fn contamination(index: &Index, Case { prompt, trace }: &Case<'_>) -> Option<Hit> {
    let own = index.check(&prompt.question, &[trace.thinking.as_deref().unwrap_or_default(), &trace.answer]);
    own.or_else(|| {
        let turns = prompt.context.iter().filter(|message| message.role != "system").map(|m| m.content.as_str());
        let turns: Vec<&str> = turns.collect();
        turns.chunks(2).find_map(|turn| index.check(turn[0], &turn[1..]))
    })
}
