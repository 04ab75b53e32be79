//! From what the groups of rules found to whole verdicts: what only all traces together show is added here.

use std::collections::HashMap;
use std::path::Path;

use records::Result;
use records::parquet_file::write_records;
use records::record::{CodeVerdict, Prompt, PromptId, TraceId, Verdict};
use text::contamination::Hit;
use xxhash_rust::xxh3::xxh3_64;

use super::{Part, Prompts, Rules, VERDICTS, part_path};
use crate::rules::duplicates::Duplicates;
use crate::rules::groups::{Answered, Formed};

/// What one sample shows of its prompt.
struct Sample {
    /// The prompt that stands for its own.
    prompt: u32,
    /// A hash of its final answer; [`RIGHT`] if it equals the gold answer.
    answer: Option<u64>,
    /// Whether it is right: by the tests, if its program was run, else by the gold answer.
    correct: Option<bool>,
}

/// Stands for all right answers: each may be written in another way.
const RIGHT: u64 = 0;

/// What the samples of a prompt have in common.
#[derive(Default)]
struct Samples {
    count: u32,
    right: u32,
    judged: u32,
    /// How many samples have each answer, in the order of the answers' first samples.
    answers: Vec<(u64, u32)>,
}

impl Samples {
    fn of_all(all: &[Sample]) -> HashMap<u32, Self> {
        let mut found: HashMap<u32, Self> = HashMap::new();
        for Sample { prompt, answer, correct } in all {
            let samples = found.entry(*prompt).or_default();
            samples.count += 1;
            samples.judged += u32::from(correct.is_some());
            samples.right += u32::from(*correct == Some(true));
            if let Some(answer) = answer {
                match samples.answers.iter_mut().find(|(known, _)| known == answer) {
                    Some((_, count)) => *count += 1,
                    None => samples.answers.push((*answer, 1)),
                }
            }
        }
        found
    }

    /// Whether an answer is that of most samples: of more than half of those that have one.
    fn is_majority(&self, answer: u64) -> bool {
        let all: u32 = self.answers.iter().map(|(_, count)| count).sum();
        self.answers.iter().any(|(known, count)| *known == answer && 2 * count > all)
    }
}

/// Writes the verdicts on all traces.
pub(super) fn write_verdicts(
    prompts: &Prompts<'_>,
    parts: &[Part],
    rules: &Rules<'_>,
    duplicates: &Duplicates,
    out: &Path,
) -> Result<()> {
    let all = samples(prompts, parts, rules, duplicates)?;
    let of_prompts = Samples::of_all(&all);
    // The first traces of clusters, for their names.
    let mut names: HashMap<u32, TraceId> = HashMap::new();
    for (number, part) in parts.iter().enumerate() {
        let mut verdicts = part_verdicts(prompts, number, part, rules)?;
        for (verdict, row) in verdicts.iter_mut().zip(part.first as u32..) {
            let sample = &all[row as usize];
            let of_prompt = &of_prompts[&sample.prompt];
            let like = duplicates.traces[row as usize];
            if like.first == row {
                names.insert(row, verdict.trace_id.clone());
            }
            verdict.row = u64::from(row);
            verdict.duplicate = like.exact;
            verdict.near_duplicate = like.first != row && !like.exact;
            verdict.cluster.clone_from(&names[&like.first]);
            verdict.prompt_cluster.clone_from(&prompts.all[sample.prompt as usize].id);
            verdict.samples = of_prompt.count;
            verdict.pass_rate =
                (of_prompt.judged > 0).then(|| f64::from(of_prompt.right) / f64::from(of_prompt.judged));
            verdict.consensus =
                if of_prompt.count > 1 { sample.answer.map(|answer| of_prompt.is_majority(answer)) } else { None };
        }
        write_records(&part_path(out, VERDICTS, number), &verdicts)?;
    }
    Ok(())
}

fn samples(prompts: &Prompts<'_>, parts: &[Part], rules: &Rules<'_>, duplicates: &Duplicates) -> Result<Vec<Sample>> {
    let mut all = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let formed = rules.form.rows(number, part)?;
        let answered = rules.answers.rows(number, part)?;
        for ((form, answered), program) in formed.iter().zip(answered).zip(programs(number, part, rules)?) {
            let right = answered.correct == Some(true);
            all.push(Sample {
                prompt: duplicates.prompts[prompts.place(&form.prompt_id, &form.trace_id)?].first,
                answer: answered.extracted.map(|text| if right { RIGHT } else { xxh3_64(text.as_bytes()) }),
                correct: program.and_then(passes).or(answered.correct),
            });
        }
    }
    Ok(all)
}

/// The lengths of the traces of a part.
fn lengths(number: usize, part: &Part, rules: &Rules<'_>) -> Result<Vec<Option<u32>>> {
    rules.length.as_ref().map_or(Ok(vec![None; part.rows]), |kept| kept.rows(number, part))
}

/// The verdicts on the programs of a part.
fn programs(number: usize, part: &Part, rules: &Rules<'_>) -> Result<Vec<Option<CodeVerdict>>> {
    rules.code.as_ref().map_or(Ok(vec![None; part.rows]), |kept| kept.rows(number, part))
}

/// Whether a program is right; `None` where that could not be found out.
fn passes(verdict: CodeVerdict) -> Option<bool> {
    (verdict != CodeVerdict::SandboxError).then_some(verdict == CodeVerdict::Accepted)
}

/// The verdicts of a part, as far as single traces go.
fn part_verdicts(prompts: &Prompts<'_>, number: usize, part: &Part, rules: &Rules<'_>) -> Result<Vec<Verdict>> {
    let formed = rules.form.rows(number, part)?;
    let answered = rules.answers.rows(number, part)?;
    let hits = rules.contamination.as_ref().map_or(Ok(vec![None; part.rows]), |kept| kept.rows(number, part))?;
    let rows = formed.into_iter().zip(answered).zip(hits.into_iter().zip(programs(number, part, rules)?));
    rows.zip(lengths(number, part, rules)?)
        .map(|(((formed, answered), (hit, program)), student_tokens)| {
            let prompt = &prompts.all[prompts.place(&formed.prompt_id, &formed.trace_id)?];
            Ok(Verdict { student_tokens, ..verdict(prompt, formed, answered, hit, program) })
        })
        .collect()
}

fn verdict(
    prompt: &Prompt,
    formed: Formed,
    answered: Answered,
    hit: Option<Hit>,
    code_verdict: Option<CodeVerdict>,
) -> Verdict {
    let signals = formed.signals;
    let (contaminated, contamination_item, contamination_rule, contamination_evidence) =
        hit.map_or((None, None, None, None), |h| (Some(h.benchmark), Some(h.item), Some(h.rule), Some(h.evidence)));
    Verdict {
        trace_id: formed.trace_id,
        prompt_id: formed.prompt_id,
        domain: prompt.domain.clone(),
        kind: prompt.kind.clone(),
        source: prompt.source.clone(),
        sample: formed.sample,
        tokens: formed.tokens,
        student_tokens: None,
        thinking_chars: formed.thinking_chars,
        well_formed: formed.well_formed,
        finished: formed.finished,
        ending: signals.ending,
        thinking_ending: signals.thinking_ending,
        at_limit: signals.at_limit,
        extracted: answered.extracted,
        correct: answered.correct,
        answer_verdict: answered.answer_verdict,
        answer_rule: answered.answer_rule,
        code_verdict,
        judge_verdict: None,
        judge_analysis: None,
        // These eight need the other traces.
        row: 0,
        duplicate: false,
        near_duplicate: false,
        cluster: TraceId::from_stored(""),
        prompt_cluster: PromptId::from_stored(""),
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
        contaminated,
        contamination_item,
        contamination_rule,
        contamination_evidence,
    }
}
