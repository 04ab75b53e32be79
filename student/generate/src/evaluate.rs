//! Accuracy by sampling: pass@1 over k samples a problem, with a 95 % interval.
//!
//! pass@1 is the mean over problems of the share of correct samples (Chen et al. 2021, arXiv 2107.03374, with k = 1), as
//! DeepSeek-R1 reports it. Samples of one problem are not independent. So the variance of the mean is the cluster-robust
//! one, with problems as clusters (Miller 2024, "Adding Error Bars to Evals", arXiv 2411.00640); and since a share near 0
//! or 1 has no symmetric error, the interval is Wilson's (1927) for the number of independent samples that would have this
//! variance: samples by design effect, as Korn and Graubard (1998) take for Clopper and Pearson's.

use std::collections::BTreeMap;

use records::record::{Prompt, PromptId, Sample, Sampling, short_hash};
use records::think;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokens::chat::ChatFormat;

use crate::engine::{Engine, Request};
use crate::{Error, Result};

/// What an interval says, and what it does not.
pub const INTERVALS: &str = "An interval covers the sampling of the problems and of the answers in this evaluation, the \
                             answers to one problem not counted as independent; another seed of the training or of its \
                             data may move the accuracy further.";

/// The recipe's sampling protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Samples a problem.
    pub samples: u32,
    /// Temperature, nucleus and token limit.
    pub sampling: Sampling,
    /// Appended to every question, as it was for the teacher.
    pub instruction: String,
    /// Seed of the draws.
    pub seed: u64,
}

/// Accuracy of one model on one set of problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// Who answered.
    pub model: String,
    /// Problems sampled.
    pub problems: usize,
    /// Samples a problem.
    pub samples: u32,
    /// pass@1.
    pub accuracy: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Mean tokens of a completion.
    pub mean_tokens: f64,
    /// Share of completions cut off at the token limit.
    pub truncated: f64,
    /// Accuracy by problem kind.
    pub by_kind: Vec<KindAccuracy>,
}

/// Accuracy on one kind of problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindAccuracy {
    /// The kind.
    pub kind: String,
    /// Problems of it.
    pub problems: usize,
    /// pass@1 on them.
    pub accuracy: f64,
}

/// Tokens that the longest of these problems and its answer may take: what an engine must hold.
pub fn context(format: &ChatFormat, prompts: &[Prompt], protocol: &Protocol) -> Result<usize> {
    let mut longest = 0;
    for prompt in prompts {
        longest = longest.max(format.prompt_ids(&prompt.messages(&protocol.instruction))?.len());
    }
    Ok(longest + protocol.sampling.max_tokens as usize)
}

/// Asks a model every problem k times and verifies the answers. Problems without a gold answer are an error.
pub fn evaluate(
    engine: &Engine,
    format: &ChatFormat,
    prompts: &[Prompt],
    protocol: &Protocol,
    model: &str,
    progress: &dyn Fn(usize) -> bool,
) -> Result<Vec<Sample>> {
    let mut sampled = Vec::new();
    let mut requests = Vec::new();
    for prompt in prompts {
        let Some(gold) = &prompt.answer else {
            let problem = format!("problem {} has no gold answer", prompt.id);
            return Err(Error::invalid("evaluate.problems", problem, "name the answer column, or leave it out"));
        };
        let ids = format.prompt_ids(&prompt.messages(&protocol.instruction))?;
        for sample in 0..protocol.samples {
            let seed = seed_of(protocol.seed, &prompt.id, sample);
            requests.push(Request { prompt: ids.clone(), sampling: protocol.sampling, seed });
            sampled.push((prompt, gold, sample));
        }
    }
    let completions = engine.complete(requests, progress)?;
    sampled
        .into_iter()
        .zip(completions)
        .map(|((prompt, gold, sample), completion)| {
            let text = format.tokenizer.decode(&completion.token_ids, false)?;
            let (_, answer) = think::split(None, &text);
            let verdict = verify::verify(gold, &answer);
            Ok(Sample {
                model: model.to_owned(),
                prompt_id: prompt.id.clone(),
                kind: prompt.kind.clone(),
                sample,
                question: prompt.question.clone(),
                gold: gold.clone(),
                completion: text,
                correct: verdict.correct(),
                extracted: verdict.extracted,
                finish_reason: completion.finish_reason,
                tokens: completion.token_ids.len() as u32,
            })
        })
        .collect()
}

/// A seed for one sample that depends on nothing but the protocol's seed and what is sampled.
fn seed_of(seed: u64, prompt_id: &PromptId, sample: u32) -> u64 {
    let hash = short_hash(format!("{seed}\u{1f}{prompt_id}\u{1f}{sample}").as_bytes());
    u64::from_str_radix(&hash, 16).unwrap_or(seed)
}

impl EvalReport {
    /// Sums up the samples of one model.
    pub fn of(model: &str, samples: &[Sample]) -> Self {
        let mut by_problem: BTreeMap<&PromptId, (u32, u32)> = BTreeMap::new();
        let mut kinds: BTreeMap<&str, BTreeMap<&PromptId, (u32, u32)>> = BTreeMap::new();
        for sample in samples {
            let kind = kinds.entry(&sample.kind).or_default().entry(&sample.prompt_id).or_default();
            for (correct, sampled) in [by_problem.entry(&sample.prompt_id).or_default(), kind] {
                *correct += u32::from(sample.correct);
                *sampled += 1;
            }
        }
        let count = samples.len().max(1) as f64;
        let (accuracy, low, high) = interval(&by_problem.values().copied().collect::<Vec<_>>());
        let by_kind = kinds
            .into_iter()
            .map(|(kind, problems)| {
                let shares: Vec<_> = problems.into_values().collect();
                KindAccuracy { kind: kind.to_owned(), problems: shares.len(), accuracy: interval(&shares).0 }
            })
            .collect();
        Self {
            model: model.to_owned(),
            problems: by_problem.len(),
            samples: by_problem.values().map(|(_, sampled)| *sampled).max().unwrap_or(0),
            accuracy,
            low,
            high,
            mean_tokens: samples.iter().map(|s| f64::from(s.tokens)).sum::<f64>() / count,
            truncated: samples.iter().filter(|s| s.finish_reason == records::record::FinishReason::Length).count()
                as f64
                / count,
            by_kind,
        }
    }
}

/// Mean of the problems' shares and its 95 % interval.
fn interval(problems: &[(u32, u32)]) -> (f64, f64, f64) {
    let n = problems.len() as f64;
    if problems.is_empty() {
        return (0.0, 0.0, 1.0);
    }
    let shares: Vec<f64> =
        problems.iter().map(|(correct, sampled)| f64::from(*correct) / f64::from(*sampled)).collect();
    let sampled: f64 = problems.iter().map(|(_, sampled)| f64::from(*sampled)).sum();
    let p = shares.iter().sum::<f64>() / n;
    let between = shares.iter().map(|share| (share - p).powi(2)).sum::<f64>() / (n - 1.0).max(1.0) / n;
    let binomial = p * (1.0 - p) / sampled;
    // All right or all wrong shows no spread: then count problems, the careful choice.
    let design_effect = if binomial > 0.0 { (between / binomial).max(1.0) } else { sampled / n };
    let size = (sampled / design_effect).max(1.0);
    let (low, high) = wilson(p, size);
    (p, low, high)
}

/// Wilson's score interval at 95 %.
fn wilson(p: f64, n: f64) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    let z2 = Z * Z / n;
    let centre = (p + z2 / 2.0) / (1.0 + z2);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n)).sqrt() / (1.0 + z2);
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_agrees_with_published_values() {
        // Newcombe 1998, table I: 81/263 and 0/20.
        let (low, high) = wilson(81.0 / 263.0, 263.0);
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
        let (low, high) = wilson(0.0, 20.0);
        assert!(low == 0.0 && (high - 0.1611).abs() < 5e-5, "{high}");
    }

    #[test]
    fn samples_of_one_problem_are_not_counted_as_independent() {
        // Every problem is solved always or never: four samples tell no more than one.
        let clustered: Vec<_> = (0..100).map(|i| (if i < 50 { 4 } else { 0 }, 4)).collect();
        let single: Vec<_> = (0..100).map(|i| (u32::from(i < 50), 1)).collect();
        let (a, b) = (interval(&clustered), interval(&single));
        assert!((a.1 - b.1).abs() < 0.002 && (a.2 - b.2).abs() < 0.002, "{a:?} {b:?}");
        // Problems alike: samples are nearly independent.
        let alike: Vec<_> = (0..100).map(|_| (2, 4)).collect();
        let narrow = interval(&alike);
        assert!(narrow.2 - narrow.1 < 0.6 * (b.2 - b.1));
    }

    /// By hand: shares 1, 1/2, 0 and 1 of two samples each, so p = 5/8. Squared deviations 9/64 + 1/64 + 25/64 + 9/64 =
    /// 44/64; the variance of the mean of four is 44/64 / 3 / 4 = 11/192. A binomial of variance p(1 - p) = 15/64 has it
    /// with 15/64 / (11/192) = 45/11 samples, not with the 8 there are. Wilson's ends then are those of (5/8, 45/11).
    #[test]
    fn the_interval_is_that_of_as_many_samples_as_have_the_variance_between_problems() {
        let (p, low, high) = interval(&[(2, 2), (1, 2), (0, 2), (2, 2)]);
        assert!((p - 0.625).abs() < 1e-15, "{p}");
        let (n, z): (f64, f64) = (45.0 / 11.0, 1.959_963_984_540_054);
        let root = (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let ends = [-1.0, 1.0].map(|side| (p + z * z / (2.0 * n) + side * z * root) / (1.0 + z * z / n));
        assert!((low - ends[0]).abs() < 1e-12 && (high - ends[1]).abs() < 1e-12, "{low} {high} {ends:?}");
        // As numbers, from the same formula on paper: 0.2222 and 0.9068; of 8 independent samples it would be 0.3057 and 0.8632.
        assert!((low - 0.2222).abs() < 5e-5 && (high - 0.9068).abs() < 5e-5, "{low} {high}");
        let independent = wilson(0.625, 8.0);
        assert!((independent.0 - 0.3057).abs() < 5e-5 && (independent.1 - 0.8632).abs() < 5e-5, "{independent:?}");
        // The order of problems decides nothing.
        assert_eq!(interval(&[(0, 2), (2, 2), (2, 2), (1, 2)]), (p, low, high));
    }

    #[test]
    fn a_seed_depends_on_what_is_asked() {
        let p = &PromptId::from_stored("p");
        assert_eq!(seed_of(1, p, 0), seed_of(1, p, 0));
        assert_ne!(seed_of(1, p, 0), seed_of(1, p, 1));
        assert_ne!(seed_of(1, p, 0), seed_of(2, p, 0));
    }
}
