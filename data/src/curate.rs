//! Curation: rules annotate every trace, a policy in SQL selects.
//!
//! R1 was distilled from samples that passed rejection: right answer, readable, complete (arXiv 2501.12948, section
//! 2.3.3). Here a rule never drops a trace. It writes its verdict into a column, and the recipe's policy, a predicate over
//! those columns, decides. So a choice can be revisited with one query, and an ablation is a change of one line.
//!
//! Trace text never enters DataFusion: the policy runs over a narrow table and yields row numbers.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::col;
use datafusion::prelude::SessionContext;
use serde::{Deserialize, Serialize};

use crate::parquet_file::{fields_of, write_records};
use crate::record::{CuratedTrace, FinishReason, Message, Prompt, Trace, Verdict};
use crate::verify::verify;
use crate::{Error, Result};

/// Longer "answers" are no answers; verdicts are narrow.
const MOST_EXTRACTED_CHARS: usize = 200;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curation {
    /// All traces.
    pub total: usize,
    /// The traces that the policy selected.
    pub selected: usize,
    /// The rules in order, and the policy as the last line.
    pub funnel: Vec<FunnelStep>,
}

/// One line of the funnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelStep {
    /// The rule.
    pub rule: String,
    /// How many of all traces fail this rule alone.
    pub dropped: usize,
    /// How many pass this rule and those before it. For the policy: how many it selects.
    pub remaining: usize,
}

/// A rule of the funnel: its name, and whether a trace passes it.
type Rule = (&'static str, fn(&Verdict) -> bool);

/// The rules in the order of the funnel. Unknown correctness passes: there is nothing to hold against the trace.
const RULES: [Rule; 4] = [
    ("well_formed", |v| v.well_formed),
    ("finished", |v| v.finished),
    ("correct", |v| v.correct != Some(false)),
    ("NOT duplicate", |v| !v.duplicate),
];

/// Judges all traces, writes `verdicts/part-00000.parquet` for all and `curated/part-00000.parquet` for those the policy
/// selects, both under `out`.
pub async fn curate(prompts: &[Prompt], traces: &[Trace], policy: &str, out: &Path) -> Result<Curation> {
    let prompts: HashMap<&str, &Prompt> = prompts.iter().map(|p| (p.id.as_str(), p)).collect();
    let judged = judge(&prompts, traces)?;
    let verdicts: Vec<Verdict> = judged.iter().map(|j| j.verdict.clone()).collect();
    write_records(&out.join("verdicts/part-00000.parquet"), &verdicts)?;

    let selected = Box::pin(select(&judged, policy)).await?;
    let mut funnel = funnel(&verdicts);
    if selected.is_empty() {
        return Err(nothing_selected(policy, &verdicts, &funnel));
    }
    funnel.push(FunnelStep {
        rule: "policy".to_owned(),
        dropped: traces.len() - selected.len(),
        remaining: selected.len(),
    });
    let curated: Vec<CuratedTrace> =
        selected.iter().map(|row| curated_trace(judged[*row].prompt, &traces[*row])).collect();
    write_records(&out.join("curated/part-00000.parquet"), &curated)?;
    Ok(Curation { total: traces.len(), selected: selected.len(), funnel })
}

/// A verdict with the prompt it belongs to.
struct Judged<'a> {
    verdict: Verdict,
    prompt: &'a Prompt,
    sample: u32,
}

fn judge<'a>(prompts: &HashMap<&str, &'a Prompt>, traces: &[Trace]) -> Result<Vec<Judged<'a>>> {
    let mut texts = HashSet::with_capacity(traces.len());
    traces
        .iter()
        .map(|trace| {
            let prompt = *prompts.get(trace.prompt_id.as_str()).ok_or_else(|| {
                Error::invalid(
                    format!("trace {}", trace.id),
                    format!("it answers prompt {}, which is not among the prompts", trace.prompt_id),
                    "curate traces together with the prompts they were collected for",
                )
            })?;
            let duplicate = !texts.insert((&trace.prompt_id, blake3::hash(trace.text().as_bytes())));
            Ok(Judged { verdict: verdict(prompt, trace, duplicate), prompt, sample: trace.sample })
        })
        .collect()
}

fn verdict(prompt: &Prompt, trace: &Trace, duplicate: bool) -> Verdict {
    let well_formed = is_well_formed(trace);
    let verification = prompt.answer.as_deref().map(|gold| verify(gold, &trace.answer));
    let (extracted, correct) = match verification {
        Some(verification) => (verification.extracted, Some(verification.correct)),
        None => (None, None),
    };
    Verdict {
        trace_id: trace.id.clone(),
        prompt_id: trace.prompt_id.clone(),
        well_formed,
        // Imported traces do not say why they ended; one that is whole counts as finished.
        finished: match trace.finish_reason {
            FinishReason::Stop => true,
            FinishReason::Unknown => well_formed,
            FinishReason::Length | FinishReason::Other => false,
        },
        extracted: extracted.map(|answer| answer.chars().take(MOST_EXTRACTED_CHARS).collect()),
        correct,
        duplicate,
        thinking_chars: trace.thinking.as_deref().map_or(0, |t| t.chars().count() as u32),
    }
}

/// One complete, non-empty thinking block, a non-empty answer, and no tag left over in either.
fn is_well_formed(trace: &Trace) -> bool {
    let whole = |text: &str| !text.trim().is_empty() && !text.contains("<think>") && !text.contains("</think>");
    trace.thinking.as_deref().is_some_and(whole) && whole(&trace.answer)
}

/// What the policy sees of a trace.
#[derive(Serialize, Deserialize)]
struct NarrowRow {
    row: u64,
    trace_id: String,
    prompt_id: String,
    well_formed: bool,
    finished: bool,
    extracted: Option<String>,
    correct: Option<bool>,
    duplicate: bool,
    thinking_chars: u32,
    domain: String,
    kind: String,
    source: String,
    sample: u32,
}

fn narrow_table(judged: &[Judged]) -> Result<RecordBatch> {
    let rows: Vec<NarrowRow> = judged
        .iter()
        .zip(0..)
        .map(|(judged, row)| {
            let Judged { verdict, prompt, sample } = judged;
            NarrowRow {
                row,
                trace_id: verdict.trace_id.clone(),
                prompt_id: verdict.prompt_id.clone(),
                well_formed: verdict.well_formed,
                finished: verdict.finished,
                extracted: verdict.extracted.clone(),
                correct: verdict.correct,
                duplicate: verdict.duplicate,
                thinking_chars: verdict.thinking_chars,
                domain: prompt.domain.clone(),
                kind: prompt.kind.clone(),
                source: prompt.source.clone(),
                sample: *sample,
            }
        })
        .collect();
    serde_arrow::to_record_batch(&fields_of::<NarrowRow>()?, &rows)
        .map_err(|e| Error::engine("making the table of verdicts", e))
}

/// The rows where the policy is true, in order.
async fn select(judged: &[Judged<'_>], policy: &str) -> Result<Vec<usize>> {
    let table = narrow_table(judged)?;
    let columns = table.schema().fields().iter().skip(1).map(|f| f.name().clone()).collect::<Vec<_>>().join(", ");
    let refused = |e: DataFusionError| {
        Error::invalid(
            "curate.policy",
            format!("{policy:?} cannot be used: {}", e.strip_backtrace()),
            format!("write one SQL predicate over these columns: {columns}"),
        )
    };
    let context = SessionContext::new();
    let frame = context.read_batch(table).map_err(refused)?;
    let predicate = context.parse_sql_expr(policy, frame.schema()).map_err(refused)?;
    let batches = frame
        .filter(predicate)
        .and_then(|frame| frame.select(vec![col("\"row\"")]))
        .map_err(refused)?
        .collect()
        .await
        .map_err(refused)?;
    let mut rows: Vec<usize> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<UInt64Type>().values().iter().map(|row| *row as usize))
        .collect();
    rows.sort_unstable();
    Ok(rows)
}

fn funnel(verdicts: &[Verdict]) -> Vec<FunnelStep> {
    let mut passing: Vec<&Verdict> = verdicts.iter().collect();
    RULES
        .iter()
        .map(|(rule, passes)| {
            passing.retain(|verdict| passes(verdict));
            let dropped = verdicts.iter().filter(|verdict| !passes(verdict)).count();
            FunnelStep { rule: (*rule).to_owned(), dropped, remaining: passing.len() }
        })
        .collect()
}

fn nothing_selected(policy: &str, verdicts: &[Verdict], funnel: &[FunnelStep]) -> Error {
    let mut problem = format!("{policy:?} selects none of {} traces. On its own, ", verdicts.len());
    for step in funnel {
        let _ = write!(problem, "{} drops {}, ", step.rule, step.dropped);
    }
    let unknown = verdicts.iter().filter(|v| v.correct.is_none()).count();
    let _ = write!(problem, "and {unknown} have no gold answer, so that `correct` is unknown");
    Error::invalid("curate.policy", problem, "loosen the policy or look into the verdicts table")
}

fn curated_trace(prompt: &Prompt, trace: &Trace) -> CuratedTrace {
    CuratedTrace {
        trace_id: trace.id.clone(),
        prompt_id: trace.prompt_id.clone(),
        domain: prompt.domain.clone(),
        kind: prompt.kind.clone(),
        source: prompt.source.clone(),
        gold: prompt.answer.clone(),
        messages: vec![Message::user(prompt.question.as_str()), Message::assistant(trace.text())],
        num_tokens: trace.completion_tokens.map(i64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet_file::read_folder;

    fn trace(prompt: &Prompt, sample: u32, thinking: Option<&str>, answer: &str, finish: FinishReason) -> Trace {
        Trace {
            id: format!("{}-{sample}", prompt.id),
            prompt_id: prompt.id.clone(),
            sample,
            thinking: thinking.map(Into::into),
            answer: answer.into(),
            finish_reason: finish,
            prompt_tokens: None,
            completion_tokens: Some(40 + sample),
            teacher: "t".into(),
            temperature: None,
            top_p: None,
            max_tokens: None,
            seed: None,
        }
    }

    fn run() -> (Vec<Prompt>, Vec<Trace>) {
        use FinishReason::{Length, Stop, Unknown};
        let sum = Prompt::new("maths", "sum", "2+2?", Some("4".into()), "s");
        let essay = Prompt::new("writing", "essay", "Write.", None, "s");
        let traces = vec![
            trace(&sum, 0, Some("two and two"), "\\boxed{4}", Stop),
            trace(&sum, 1, Some("two and two"), "\\boxed{4}", Stop),
            trace(&sum, 2, Some("hm"), "\\boxed{5}", Stop),
            trace(&sum, 3, None, "\\boxed{4}", Stop),
            trace(&sum, 4, Some("on and on"), "so 4", Length),
            trace(&essay, 0, Some("plan"), "Once.", Unknown),
            trace(&essay, 1, None, "Once.", Unknown),
            // The same text as an answer to another question is no duplicate.
            trace(&essay, 2, Some("two and two"), "\\boxed{4}", Stop),
        ];
        (vec![sum, essay], traces)
    }

    async fn curate_run(policy: &str) -> (Result<Curation>, Vec<Verdict>, Vec<CuratedTrace>) {
        let (prompts, traces) = run();
        let dir = tempfile::tempdir().unwrap();
        let curation = curate(&prompts, &traces, policy, dir.path()).await;
        let verdicts = read_folder(&dir.path().join("verdicts")).unwrap_or_default();
        let curated = read_folder(&dir.path().join("curated")).unwrap_or_default();
        (curation, verdicts, curated)
    }

    #[tokio::test]
    async fn rules_annotate_and_the_policy_selects() {
        let policy = "well_formed AND finished AND correct IS NOT FALSE AND NOT duplicate";
        let (curation, verdicts, curated) = curate_run(policy).await;
        let (prompts, traces) = run();
        let of = |read: fn(&Verdict) -> bool| verdicts.iter().map(|v| u8::from(read(v))).collect::<Vec<_>>();
        assert_eq!(of(|v| v.well_formed), [1, 1, 1, 0, 1, 1, 0, 1]);
        assert_eq!(of(|v| v.finished), [1, 1, 1, 1, 0, 1, 0, 1]);
        assert_eq!(of(|v| v.duplicate), [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(of(|v| v.correct == Some(true)), [1, 1, 0, 1, 1, 0, 0, 0]);
        assert_eq!(of(|v| v.correct.is_none()), [0, 0, 0, 0, 0, 1, 1, 1]);
        assert_eq!(verdicts[2].extracted.as_deref(), Some("5"));
        assert_eq!((verdicts[0].thinking_chars, verdicts[3].thinking_chars), (11, 0));

        let step = |rule: &str, dropped, remaining| FunnelStep { rule: rule.into(), dropped, remaining };
        assert_eq!(
            curation.unwrap(),
            Curation {
                total: 8,
                selected: 3,
                funnel: vec![
                    step("well_formed", 2, 6),
                    step("finished", 2, 5),
                    step("correct", 1, 4),
                    step("NOT duplicate", 1, 3),
                    step("policy", 5, 3),
                ],
            }
        );
        let ids: Vec<&str> = curated.iter().map(|c| c.trace_id.as_str()).collect();
        assert_eq!(ids, [&traces[0].id, &traces[5].id, &traces[7].id]);
        assert_eq!(
            curated[0],
            CuratedTrace {
                trace_id: traces[0].id.clone(),
                prompt_id: prompts[0].id.clone(),
                domain: "maths".into(),
                kind: "sum".into(),
                source: "s".into(),
                gold: Some("4".into()),
                messages: vec![Message::user("2+2?"), Message::assistant(traces[0].text())],
                num_tokens: Some(40),
            }
        );
    }

    #[tokio::test]
    async fn a_policy_sees_verdicts_and_prompt_columns_and_unknown_is_not_true() {
        for (policy, expected) in [
            ("correct", vec![0, 1, 3, 4]),
            ("domain = 'writing' AND sample < 2", vec![5, 6]),
            ("correct IS NULL OR thinking_chars BETWEEN 1 AND 2", vec![2, 5, 6, 7]),
            ("kind IN ('sum') AND source = 's' AND extracted = '5'", vec![2]),
            ("true", (0..8).collect()),
        ] {
            let (curation, _, curated) = curate_run(policy).await;
            let (_, traces) = run();
            let ids: Vec<&str> = curated.iter().map(|c| c.trace_id.as_str()).collect();
            assert_eq!(ids, expected.iter().map(|row: &usize| &traces[*row].id).collect::<Vec<_>>(), "{policy}");
            assert_eq!(curation.unwrap().selected, expected.len());
        }
    }

    #[tokio::test]
    async fn a_policy_that_cannot_be_used_is_refused_with_the_columns() {
        for wrong in ["well_formed AND", "finnished", "sample", "true; DROP TABLE x", "SELECT 1", "", "nope(correct)"] {
            let (curation, verdicts, curated) = curate_run(wrong).await;
            let message = curation.unwrap_err().to_string();
            assert!(message.starts_with("curate.policy") && message.contains("well_formed, finished"), "{message}");
            assert!(message.contains("domain, kind, source, sample"), "{message}");
            assert_eq!((verdicts.len(), curated.len()), (8, 0), "verdicts are there for a second try");
        }
    }

    #[tokio::test]
    async fn selecting_nothing_says_which_rule_drops_how_many() {
        let (curation, verdicts, curated) = curate_run("correct AND domain = 'writing'").await;
        let message = curation.unwrap_err().to_string();
        for part in ["none of 8", "well_formed drops 2", "finished drops 2", "correct drops 1", "NOT duplicate drops 1"]
        {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(message.contains("3 have no gold answer"), "{message}");
        assert_eq!((verdicts.len(), curated.len()), (8, 0));
    }

    #[tokio::test]
    async fn a_trace_without_its_prompt_is_refused() {
        let (prompts, traces) = run();
        let dir = tempfile::tempdir().unwrap();
        let message = curate(&prompts[1..], &traces, "true", dir.path()).await.unwrap_err().to_string();
        assert!(message.contains(&traces[0].id) && message.contains(&prompts[0].id), "{message}");
    }

    #[test]
    fn leftover_tags_and_blanks_are_not_well_formed() {
        let (prompts, _) = run();
        for (thinking, answer, expected) in [
            (Some("x"), "y", true),
            (Some(" \n"), "y", false),
            (Some("x"), " ", false),
            (Some("x <think> y"), "z", false),
            (Some("x"), "y </think> z", false),
            (None, "<think> x", false),
        ] {
            let trace = trace(&prompts[0], 0, thinking, answer, FinishReason::Stop);
            assert_eq!(is_well_formed(&trace), expected, "{thinking:?} {answer:?}");
        }
    }
}
