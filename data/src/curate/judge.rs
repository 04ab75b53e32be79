//! What one trace and its prompt show, without the other traces.

use std::borrow::Cow;
use std::collections::HashMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::code::CodeJudge;
use crate::contamination::{Hit, Index};
use crate::duplicates::{Near, Sketcher};
use crate::record::{FinishReason, Prompt, Trace, Verdict};
use crate::signals::signals;
use crate::verify::{Verification, verify};
use crate::{Error, Result};

/// Longer "answers" are no answers; verdicts are narrow.
const MOST_EXTRACTED_CHARS: usize = 200;

/// A verdict as far as it goes, and what finds duplicates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    digest_high: u64,
    digest_low: u64,
    pub(super) bands: Vec<u64>,
    pub(super) shingles: u32,
}

impl Judged {
    pub(super) fn digest(&self) -> u128 {
        u128::from(self.digest_high) << 64 | u128::from(self.digest_low)
    }
}

/// Judges traces one by one, on all threads.
pub(super) struct Judge<'a> {
    prompts: HashMap<&'a str, (&'a Prompt, u32)>,
    index: Option<Index>,
    near: Near,
    code: Option<CodeJudge<'a>>,
}

impl<'a> Judge<'a> {
    /// `clusters` says for each prompt which one stands for it.
    pub(super) fn new(
        prompts: &'a [Prompt],
        clusters: &[u32],
        index: Option<Index>,
        near: Near,
        code: Option<CodeJudge<'a>>,
    ) -> Self {
        let prompts = prompts.iter().zip(clusters).map(|(prompt, cluster)| (prompt.id.as_str(), (prompt, *cluster)));
        Self { prompts: prompts.collect(), index, near, code }
    }

    pub(super) fn near(&self) -> Near {
        self.near
    }

    /// Which prompt stands for this one.
    pub(super) fn cluster_of(&self, prompt_id: &str) -> Result<u32> {
        self.prompts.get(prompt_id).map(|(_, cluster)| *cluster).ok_or_else(|| {
            Error::invalid(
                "the traces",
                format!("one of them answers prompt {prompt_id}, which is not among the prompts"),
                "curate traces together with the prompts they were collected for",
            )
        })
    }

    /// Judges traces, of which the first is the `first` of all.
    pub(super) fn judge(&self, traces: &[Trace], first: usize) -> Result<Vec<Judged>> {
        self.code.as_ref().map_or(Ok(()), CodeJudge::open)?;
        traces
            .par_iter()
            .enumerate()
            .map_init(
                || Sketcher::new(self.near),
                |sketcher, (i, trace)| {
                    self.cluster_of(&trace.prompt_id)?;
                    let (prompt, _) = self.prompts[trace.prompt_id.as_str()];
                    let hit = self.index.as_ref().and_then(|index| {
                        index.check(&prompt.question, &[trace.thinking.as_deref().unwrap_or_default(), &trace.answer])
                    });
                    let mut bands = Vec::with_capacity(self.near.bands);
                    let (digest, shingles) = sketcher.sketch(&compared(trace), &mut bands);
                    let code = self.code.as_ref().and_then(|code| code.verdict(&prompt.id, &trace.answer));
                    Ok(Judged {
                        verdict: Verdict { code_verdict: code, ..verdict(prompt, trace, first + i, hit) },
                        digest_high: (digest >> 64) as u64,
                        digest_low: digest as u64,
                        bands,
                        shingles: shingles as u32,
                    })
                },
            )
            .collect()
    }
}

/// What of a trace is compared with others.
pub(super) fn compared(trace: &Trace) -> Cow<'_, str> {
    match &trace.thinking {
        Some(thinking) => Cow::Owned([thinking, "\n", trace.answer.as_str()].concat()),
        None => Cow::Borrowed(&trace.answer),
    }
}

fn verdict(prompt: &Prompt, trace: &Trace, row: usize, hit: Option<Hit>) -> Verdict {
    let well_formed = is_well_formed(trace);
    let verification = prompt.answer.as_deref().map(|gold| verify(gold, &trace.answer));
    let correct = verification.as_ref().map(Verification::correct);
    let answer_verdict = verification.as_ref().map(|v| v.verdict.name().to_owned());
    let answer_rule = verification.as_ref().map(|v| v.rule.to_owned());
    let extracted = verification.and_then(|v| v.extracted);
    let signals = signals(&prompt.question, trace);
    let (benchmark, item, rule, evidence) =
        hit.map_or((None, None, None, None), |h| (Some(h.benchmark), Some(h.item), Some(h.rule), Some(h.evidence)));
    Verdict {
        row: row as u64,
        trace_id: trace.id.clone(),
        prompt_id: trace.prompt_id.clone(),
        domain: prompt.domain.clone(),
        kind: prompt.kind.clone(),
        source: prompt.source.clone(),
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
        ending: signals.ending,
        thinking_ending: signals.thinking_ending,
        at_limit: signals.at_limit,
        extracted: extracted.map(|answer| answer.chars().take(MOST_EXTRACTED_CHARS).collect()),
        correct,
        answer_verdict,
        answer_rule,
        code_verdict: None,
        // These six need the other traces.
        duplicate: false,
        near_duplicate: false,
        cluster: String::new(),
        prompt_cluster: String::new(),
        samples: 0,
        pass_rate: None,
        consensus: None,
        loop_chars: signals.loop_chars,
        most_repeated_20gram: signals.most_repeated_20gram,
        distinct_20grams: signals.distinct_20grams,
        duplicate_sentences: signals.duplicate_sentences,
        compression: signals.compression,
        language: signals.language,
        foreign_script: signals.foreign_script,
        stray_letters: signals.stray_letters,
        lost_characters: signals.lost_characters,
        foreign_paragraphs: signals.foreign_paragraphs,
        longest_paragraph: signals.longest_paragraph,
        code_blocks: signals.code_blocks,
        identity: signals.identity,
        refusal: signals.refusal,
        leak: signals.leak,
        secrets: signals.secrets,
        contaminated: benchmark,
        contamination_item: item,
        contamination_rule: rule,
        contamination_evidence: evidence.map(|text| text.chars().take(MOST_EXTRACTED_CHARS).collect()),
    }
}

/// One complete, non-empty thinking block, a non-empty answer, and no tag left over in either.
fn is_well_formed(trace: &Trace) -> bool {
    let whole = |text: &str| !text.trim().is_empty() && !text.contains("<think>") && !text.contains("</think>");
    trace.thinking.as_deref().is_some_and(whole) && whole(&trace.answer)
}
