use records::parquet_file::{ROW_GROUP_ROWS, write_records};
use records::record::{FinishReason, short_hash};
use text::duplicates::Near;

use super::*;
use crate::{CurateConfig, Inputs, annotate, select};

fn trace(prompt: &Prompt, n: u32, thinking: &str, answer: &str) -> Trace {
    Trace::new(TraceId::from_stored(short_hash(&n.to_le_bytes())), prompt.id.clone(), "t", n)
        .with_text(Some(thinking.to_owned()), answer, FinishReason::Stop)
        .with_tokens(None, Some(n))
}

async fn curated(policy: &str, traces: &[Trace], prompt: &Prompt) -> (tempfile::TempDir, Places) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_records(&at("prompts/a.parquet"), std::slice::from_ref(prompt)).unwrap();
    let (a, b) = traces.split_at(1);
    write_records(&at("traces/a.parquet"), a).unwrap();
    write_records(&at("traces/b.parquet"), b).unwrap();
    let config = CurateConfig {
        policy: policy.into(),
        traces_per_prompt: None,
        balance: None,
        near_prompts: Near::OURS,
        near_traces: Near::OURS,
        contamination: None,
        code: None,
        judge: None,
    };
    let traces = at("traces");
    let prompts = [prompt.clone()];
    let inputs = Inputs {
        prompts: &prompts,
        traces: &traces,
        name: "k",
        tests: None,
        tokenizer: None,
        items: Vec::new(),
        earlier: &[],
        sandboxes: 1,
    };
    annotate(inputs, &config, dir.path()).unwrap();
    select(&prompts, &traces, &config, dir.path()).await.unwrap();
    let places = Places {
        traces,
        prompts: Some(at("prompts")),
        judged: Some(Judged { folder: dir.path().to_owned(), policy: policy.to_owned(), benchmarks: false }),
        curated: Some(at("curated")),
    };
    (dir, places)
}

#[tokio::test]
async fn everything_that_is_known_comes_together() {
    let prompt = Prompt::new("math", "sum", "2+2?", Some("4".into()), "s");
    let traces = [
        trace(&prompt, 0, "two and two are four", "\\boxed{4}"),
        trace(&prompt, 1, "two and two are four", "\\boxed{4}"),
        trace(&prompt, 2, "Let me guess.", "\\boxed{5}"),
    ];
    let (_dir, places) = curated("well_formed AND correct AND NOT duplicate", &traces, &prompt).await;
    let found = inspect(&places, traces[0].id.as_str()).await.unwrap();
    assert_eq!((&found.trace, found.prompt.as_ref()), (&traces[0], Some(&prompt)));
    assert_eq!(found.selected, Some(true));
    assert_eq!(found.similar, [traces[1].id.clone()]);
    assert!(found.rules.iter().filter(|rule| rule.of_policy).all(|rule| rule.holds));

    let failing = async |n: usize| {
        let found = inspect(&places, &traces[n].id.as_str()[..8]).await.unwrap();
        assert_eq!((&found.trace, found.selected), (&traces[n], Some(false)));
        let rules = found.rules.into_iter().filter(|rule| !rule.holds && rule.of_policy).map(|rule| rule.rule);
        rules.collect::<Vec<_>>()
    };
    assert_eq!(failing(1).await, ["NOT duplicate"]);
    assert_eq!(failing(2).await, ["correct"]);
    let common = inspect(&places, traces[0].id.as_str()).await.unwrap().rules;
    assert!(common.iter().any(|rule| rule.rule == "NOT refusal" && rule.holds && !rule.of_policy), "{common:?}");

    // Nothing was compared with benchmarks, run or judged: what allows for that is no check that passed.
    let unchecked: Vec<&str> = common.iter().filter(|rule| !rule.checked).map(|rule| rule.rule.as_str()).collect();
    let expected = [
        "code_verdict IS NULL OR code_verdict = 'AC'",
        "judge_verdict IS NULL OR judge_verdict = 'correct'",
        "contaminated IS NULL",
    ];
    assert_eq!(unchecked, expected);
    let judged = places.judged.clone().map(|judged| Judged { benchmarks: true, ..judged });
    let compared = Places { judged, ..places.clone() };
    let rules = inspect(&compared, traces[0].id.as_str()).await.unwrap().rules;
    assert!(rules.iter().any(|rule| rule.rule == "contaminated IS NULL" && rule.checked && rule.holds));

    let early = Places { prompts: None, judged: None, curated: None, ..places };
    let found = inspect(&early, traces[2].id.as_str()).await.unwrap();
    assert_eq!((found.selected, found.verdict, found.prompt), (None, None, None));
}

#[tokio::test]
async fn traces_are_found_by_what_the_verdicts_say() {
    let prompt = Prompt::new("math", "sum", "2+2?", Some("4".into()), "s");
    let traces: Vec<Trace> =
        (0..5).map(|n| trace(&prompt, n, "so", if n % 2 == 1 { "\\boxed{5}" } else { "\\boxed{4}" })).collect();
    // Nothing is selected, and what was found out can be asked all the same.
    let (dir, places) = curated("correct AND samples > 99", &traces, &prompt).await;
    let found = async |sql: &str, most| crate::matching(dir.path(), sql, most).await.map_err(|e| e.to_string());
    let wrong = found("NOT correct", 1).await.unwrap();
    assert_eq!((wrong.count, &wrong.first), (2, &vec![traces[1].id.clone()]));
    let all = found("correct OR NOT correct", 9).await.unwrap();
    assert_eq!(all.first, traces.iter().map(|trace| trace.id.clone()).collect::<Vec<_>>());
    assert_eq!(found("sample > 7", 9).await.unwrap().count, 0);
    let message = found("corect", 9).await.unwrap_err();
    assert!(message.contains("corect") && message.contains("pass_rate"), "{message}");
    assert_eq!(inspect(&places, wrong.first[0].as_str()).await.unwrap().selected, Some(false));
    assert_eq!(first_id(&places).unwrap(), Some(traces[0].id.clone()));
}

#[tokio::test]
async fn a_prefix_must_be_of_one_trace() {
    let dir = tempfile::tempdir().unwrap();
    let prompt = Prompt::new("math", "sum", "2+2?", None, "s");
    let ids = ["aa11", "aa12", "ab00", "aa"];
    let traces: Vec<Trace> =
        ids.iter().map(|id| Trace { id: TraceId::from_stored(*id), ..trace(&prompt, 0, "x", "y") }).collect();
    write_records(&dir.path().join("a.parquet"), &traces).unwrap();
    let places = Places { traces: dir.path().to_owned(), prompts: None, judged: None, curated: None };
    let find = async |prefix: &str| {
        inspect(&places, prefix).await.map(|found| found.trace.id.to_string()).map_err(|e| e.to_string())
    };
    assert_eq!(find("ab").await.unwrap(), "ab00");
    assert_eq!(find(" AA12\n").await.unwrap(), "aa12");
    assert_eq!(find("aa").await.unwrap(), "aa", "a whole id is not ambiguous");
    let message = find("aa1").await.unwrap_err();
    assert!(message.contains("2 ids begin like that") && message.contains("aa11, aa12"), "{message}");
    let message = find("ab7").await.unwrap_err();
    assert!(message.contains("none of the 4 traces") && message.ends_with("the nearest are: ab00"), "{message}");
    assert!(find("").await.unwrap_err().contains("4 ids"));
}

/// The texts of a whole row group are overwritten: what is asked for in another one is still found.
#[tokio::test]
async fn the_text_of_other_traces_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let prompt = Prompt::new("math", "sum", "2+2?", None, "s");
    let many = ROW_GROUP_ROWS as u32 + 5;
    let traces: Vec<Trace> = (0..many).map(|n| trace(&prompt, n, &format!("text {n}"), "y")).collect();
    write_records(&path, &traces).unwrap();
    let reader =
        parquet::file::serialized_reader::SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    let group = parquet::file::reader::FileReader::metadata(&reader).row_group(0);
    let column = group.columns().iter().find(|column| column.column_path().string() == "thinking").unwrap();
    let (start, length) = column.byte_range();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[start as usize..(start + length) as usize].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    assert!(records::parquet_file::read_records::<Trace>(&path).is_err(), "the file is damaged");
    let places = Places { traces: dir.path().to_owned(), prompts: None, judged: None, curated: None };
    let last = traces.last().unwrap();
    assert_eq!(inspect(&places, last.id.as_str()).await.unwrap().trace, *last);
}
