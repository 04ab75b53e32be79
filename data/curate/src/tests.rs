mod cache;
mod quotas;

use fixtures::can_run;
use records::parquet_file::read_folder;
use records::record::{CodeVerdict, FinishReason, PromptTests, TraceId, Verdict};

use super::*;

pub(super) fn trace(prompt: &Prompt, sample: u32, thinking: Option<&str>, answer: &str, finish: FinishReason) -> Trace {
    Trace::new(TraceId::from_stored(format!("{}-{sample}", prompt.id)), prompt.id.clone(), "t", sample)
        .with_text(thinking.map(Into::into), answer, finish)
        .with_tokens(None, Some(40 + sample))
}

fn run() -> (Vec<Prompt>, Vec<Trace>) {
    use FinishReason::{Length, Stop, Unknown};
    let sum = Prompt::new("math", "sum", "2+2?", Some("4".into()), "s");
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

pub(super) fn config(policy: &str) -> CurateConfig {
    let near = |threshold| Near { threshold, ..Near::OURS };
    CurateConfig {
        policy: policy.into(),
        traces_per_prompt: None,
        balance: None,
        near_prompts: near(0.8),
        near_traces: near(0.9),
        contamination: None,
        code: None,
        judge: None,
    }
}

/// Runs curation over traces written to two files.
pub(super) struct Folder {
    pub(super) dir: tempfile::TempDir,
    pub(super) prompts: Vec<Prompt>,
    tokenizer: Option<Tokenizer>,
}

impl Folder {
    pub(super) fn new(prompts: Vec<Prompt>, traces: &[Trace]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = traces.split_at(traces.len() / 3);
        write_records(&dir.path().join("traces/a.parquet"), a).unwrap();
        write_records(&dir.path().join("traces/b.parquet"), b).unwrap();
        Self { dir, prompts, tokenizer: None }
    }

    pub(super) async fn curate(&self, config: &CurateConfig, out: &str, items: Vec<Item>) -> Result<Curation> {
        Ok(self.curate_as("k", config, out, items).await?.0)
    }

    /// Curates under another name of the traces.
    async fn curate_as(
        &self,
        name: &str,
        config: &CurateConfig,
        out: &str,
        items: Vec<Item>,
    ) -> Result<(Curation, Vec<Reuse>)> {
        let traces = self.dir.path().join("traces");
        let earlier = [self.dir.path().join("out/rules")];
        let tests = self.dir.path().join("tests.parquet");
        let tests = tests.exists().then_some(tests.as_path());
        let prompts = &self.prompts;
        let tokenizer = self.tokenizer.clone();
        let inputs =
            Inputs { prompts, traces: &traces, name, tests, tokenizer, items, earlier: &earlier, sandboxes: 2 };
        let out = self.dir.path().join(out);
        let reuse = annotate(inputs, config, &out)?;
        Ok((select(&self.prompts, &traces, config, &out).await?, reuse))
    }

    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        read_folder(&self.dir.path().join("out/verdicts")).unwrap_or_default()
    }

    fn curated(&self) -> Vec<CuratedTrace> {
        read_folder(&self.dir.path().join("out/curated")).unwrap_or_default()
    }
}

/// What is counted as selected is written, or the trace is named that cannot be.
#[tokio::test]
async fn a_trace_whose_prompt_is_missing_is_an_error_and_not_left_out() {
    let (prompts, traces) = run();
    let folder = Folder::new(prompts, &traces);
    folder.curate(&config("well_formed"), "out", Vec::new()).await.unwrap();
    let (sum, out) = (&folder.prompts[..1], folder.dir.path().join("out"));
    let message =
        select(sum, &folder.dir.path().join("traces"), &config("well_formed"), &out).await.unwrap_err().to_string();
    let essay = folder.prompts[1].id.as_str();
    assert!(message.contains(&format!("trace {essay}-0")) && message.contains(essay), "{message}");
}

/// DataFusion passes over a file of no bytes.
#[tokio::test]
async fn a_part_of_the_verdicts_that_is_empty_is_not_fewer_traces() {
    let (prompts, traces) = run();
    let folder = Folder::new(prompts, &traces);
    folder.curate(&config("well_formed"), "out", Vec::new()).await.unwrap();
    let out = folder.dir.path().join("out");
    std::fs::write(out.join("verdicts/part-00001.parquet"), "").unwrap();
    let traces = folder.dir.path().join("traces");
    let message = select(&folder.prompts, &traces, &config("well_formed"), &out).await.unwrap_err().to_string();
    assert!(message.contains("2 verdicts on 8 traces") && message.contains("verdicts"), "{message}");
}

async fn curate_run(policy: &str) -> (Result<Curation>, Vec<Verdict>, Vec<CuratedTrace>) {
    let (prompts, traces) = run();
    let folder = Folder::new(prompts, &traces);
    let curation = folder.curate(&config(policy), "out", Vec::new()).await;
    (curation, folder.verdicts(), folder.curated())
}

/// A test of the sum of two numbers.
fn tests_of(prompt: &Prompt, input: &str) -> PromptTests {
    use records::test_spec::Language;
    use records::test_spec::{Case, CodeTests, TestSpec};
    let cases = vec![Case { input: input.into(), output: "4".into() }];
    let tests = CodeTests::Stdio { cases };
    let spec = TestSpec { language: Language::Python, tests, time_limit_seconds: None, memory_mb: None };
    PromptTests {
        prompt_id: prompt.id.clone(),
        language: Some(spec.language),
        spec: Some(serde_json::to_string(&spec).unwrap()),
        problem: None,
        source: None,
    }
}

#[tokio::test]
async fn programs_are_run_only_if_the_recipe_says_so() {
    let (prompts, _) = run();
    let of_essay = tests_of(&prompts[1], "2 2");
    let of_none = PromptTests {
        prompt_id: prompts[0].id.clone(),
        language: None,
        spec: None,
        problem: Some("odd".into()),
        ..of_essay.clone()
    };
    let answer = |sum: &str| format!("So:\n```python\na, b = map(int, input().split())\nprint({sum})\n```");
    let of = |prompt: &Prompt, sample, text: &str| trace(prompt, sample, Some("hm"), text, FinishReason::Stop);
    let traces = [
        of(&prompts[0], 0, &answer("a + b")),
        of(&prompts[1], 0, &answer("a + b")),
        of(&prompts[1], 1, &answer("a - b")),
        of(&prompts[1], 2, "4"),
    ];
    let folder = Folder::new(prompts, &traces);
    write_records(&folder.dir.path().join("tests.parquet"), &[of_none.clone(), of_essay]).unwrap();
    folder.curate(&config("finished"), "out", Vec::new()).await.unwrap();
    let verdicts: Vec<_> = folder.verdicts().into_iter().map(|v| v.code_verdict).collect();
    assert_eq!(verdicts, [None, None, None, None]);

    let limits = Limits { time_limit_seconds: 5.0, memory_mb: 256 };
    let with_code = CurateConfig { code: Some(limits), ..config("code_verdict = 'AC'") };
    if !can_run() {
        let refused = folder.curate(&with_code, "out", Vec::new()).await.unwrap_err().to_string();
        assert!(refused.contains("no program is run"), "{refused}");
        return;
    }
    let curation = folder.curate(&with_code, "out", Vec::new()).await.unwrap();
    assert_eq!((curation.total, curation.selected), (4, 1));
    let verdicts: Vec<_> = folder.verdicts().into_iter().map(|v| v.code_verdict).collect();
    assert_eq!(
        verdicts,
        [None, Some(CodeVerdict::Accepted), Some(CodeVerdict::WrongAnswer), Some(CodeVerdict::CompileError)]
    );
    let rates: Vec<_> = folder.verdicts().into_iter().map(|v| v.pass_rate).collect();
    assert_eq!(rates, [Some(0.0), Some(1.0 / 3.0), Some(1.0 / 3.0), Some(1.0 / 3.0)], "tests say what is right too");
    let no_tests = Folder::new(run().0, &run().1);
    let refused = no_tests.curate(&with_code, "out", Vec::new()).await.unwrap_err().to_string();
    assert!(refused.contains("no prompt has tests"), "{refused}");
    write_records(&no_tests.dir.path().join("tests.parquet"), &[of_none]).unwrap();
    let refused = no_tests.curate(&with_code, "out", Vec::new()).await.unwrap_err().to_string();
    assert!(refused.contains("no tests can be run; the first: odd"), "{refused}");
}

#[tokio::test]
async fn what_comes_before_a_question_is_judged_and_kept_with_it() {
    let system = |text: &str| vec![Message { role: "system".into(), content: text.into() }];
    let question =
        Prompt::new("math", "", "Tell me what becomes of the seven apples of Mia and why it is so.", None, "s");
    let asked = "How many apples does Mia have if she buys five more of them today?";
    let prompts = vec![
        question.clone(),
        question.clone().with_context(system("Be brief.")),
        question.clone().with_context(vec![Message::user(asked), Message::assistant("Twelve.")]),
        Prompt::new("math", "", "Why?", None, "s").with_context(vec![
            Message::user("Rain, wind and seventy sheep stay on the hill today."),
            Message::assistant("So."),
        ]),
        Prompt::new("math", "", "Why?", None, "s")
            .with_context(vec![Message::user(asked), Message::assistant("Twelve.")]),
    ];
    let traces: Vec<Trace> =
        prompts.iter().map(|prompt| trace(prompt, 0, Some("hm"), "\\boxed{4}", FinishReason::Stop)).collect();
    let folder = Folder::new(prompts.clone(), &traces);
    let item = Item { benchmark: "b".into(), id: "7".into(), question: asked.into(), solution: None };
    let contamination = Some(Contamination { preset: Preset::OpenR1, benchmarks: Vec::new() });
    folder.curate(&CurateConfig { contamination, ..config("finished") }, "out", vec![item]).await.unwrap();
    let verdicts = folder.verdicts();
    let cluster: Vec<&str> = verdicts.iter().map(|v| v.prompt_cluster.as_str()).collect();
    let expected = [0, 0, 2, 3, 4].map(|n: usize| prompts[n].id.as_str());
    assert_eq!(cluster, expected, "a system prompt makes no other question, an earlier turn does");
    let contaminated: Vec<bool> = verdicts.iter().map(|v| v.contaminated.is_some()).collect();
    assert_eq!(contaminated, [false, false, true, false, true]);
    let curated = folder.curated();
    assert_eq!(curated[1].messages[0], system("Be brief.")[0]);
    let roles: Vec<&str> = curated[2].messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert_eq!(curated[2].messages[3].content, traces[2].text());
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

    let curation = curation.unwrap();
    assert_eq!((curation.total, curation.selected), (8, 3));
    let steps: Vec<_> = curation.funnel.iter().map(|s| (s.rule.as_str(), s.dropped, s.remaining)).collect();
    assert_eq!(
        steps,
        [("well_formed", 2, 6), ("finished", 2, 5), ("correct IS NOT FALSE", 1, 4), ("NOT duplicate", 1, 3)]
    );
    let other = |rule: &str| curation.others.iter().find(|s| s.rule == rule).map(|s| s.dropped);
    assert_eq!(other("correct"), Some(4), "what the policy says in other words is listed as a rule of its own");
    assert_eq!((other("well_formed"), other("ending = 'complete'")), (None, Some(0)));
    let ids: Vec<&TraceId> = curated.iter().map(|c| &c.trace_id).collect();
    assert_eq!(ids, [&traces[0].id, &traces[5].id, &traces[7].id]);
    assert_eq!(
        curated[0],
        CuratedTrace {
            trace_id: traces[0].id.clone(),
            prompt_id: prompts[0].id.clone(),
            domain: "math".into(),
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
        // Not too easy and not too hard for the teacher, and neither short nor long.
        ("pass_rate BETWEEN 0.5 AND 0.8", (0..5).collect()),
        ("tokens > 40 AND tokens <= 42", vec![1, 2, 6, 7]),
        ("thinking_chars > 2 AND correct", vec![0, 1, 4]),
    ] {
        let (curation, _, curated) = curate_run(policy).await;
        let (_, traces) = run();
        let ids: Vec<&TraceId> = curated.iter().map(|c| &c.trace_id).collect();
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
async fn a_policy_may_have_lines_and_comments() {
    let policy = "-- what R1 kept\nwell_formed\n  AND finished -- came to its own end; not cut off\n/* and */ AND correct -- end";
    let (curation, _, curated) = curate_run(policy).await;
    let (plain, _, same) = curate_run("well_formed AND finished AND correct").await;
    assert_eq!(curation.unwrap(), plain.unwrap());
    assert_eq!(curated, same);
    // The funnel has the terms as they are written.
    let policy = "(well_formed AND ending = 'complete') AND samples > 1 AND (correct OR kind = 'essay')";
    let funnel = curate_run(policy).await.0.unwrap().funnel;
    let rules: Vec<&str> = funnel.iter().map(|step| step.rule.as_str()).collect();
    assert_eq!(rules, ["well_formed", "ending = 'complete'", "samples > 1", "correct OR kind = 'essay'"]);
}

#[tokio::test]
async fn a_policy_without_an_and_is_refused() {
    for policy in
        ["well_formed finished", "well_formed AND finished correct", "well_formed; finished", "well_formed AS x"]
    {
        let message = curate_run(policy).await.0.unwrap_err().to_string();
        assert!(message.starts_with("curate.policy"), "{policy}: {message}");
    }
}

#[tokio::test]
async fn selecting_nothing_says_which_rule_drops_how_many() {
    let policy = "correct AND domain = 'writing'";
    let (curation, verdicts, curated) = curate_run(policy).await;
    let curation = curation.unwrap();
    assert_eq!((curation.total, curation.selected), (8, 0));
    let message = curation.nothing_selected(&config(policy)).unwrap().to_string();
    for part in ["none of 8", "correct drops 4", "domain = 'writing' drops 5"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!((verdicts.len(), curated.len()), (8, 0));
}

#[tokio::test]
async fn a_trace_without_its_prompt_is_refused() {
    let (prompts, traces) = run();
    let missing = prompts[0].id.clone();
    let folder = Folder::new(prompts[1..].to_vec(), &traces);
    let message = folder.curate(&config("true"), "out", Vec::new()).await.unwrap_err().to_string();
    assert!(message.contains(missing.as_str()) && message.contains("not among the prompts"), "{message}");
}

#[tokio::test]
async fn samples_of_a_prompt_are_seen_together() {
    let (_, verdicts, _) = curate_run("true").await;
    let of = |i: usize| (verdicts[i].samples, verdicts[i].pass_rate, verdicts[i].consensus);
    // 4, 4, 5, 4, 4: four of five are right.
    assert_eq!(of(0), (5, Some(0.8), Some(true)));
    assert_eq!(of(2), (5, Some(0.8), Some(false)));
    assert_eq!(of(5), (3, None, None), "nothing to compare an essay with");
    assert_eq!(verdicts[1].cluster, verdicts[0].trace_id);
    assert_eq!(verdicts[7].cluster, verdicts[7].trace_id);
}

#[tokio::test]
async fn right_answers_agree_however_they_are_written() {
    let (prompts, _) = run();
    let answers = ["4", "\\frac{8}{2}", "4.0", "5", "5.0"];
    let traces: Vec<Trace> = answers
        .iter()
        .zip(0..)
        .map(|(answer, i)| trace(&prompts[0], i, Some("hm"), &format!("\\boxed{{{answer}}}"), FinishReason::Stop))
        .collect();
    let folder = Folder::new(prompts, &traces);
    folder.curate(&config("true"), "out", Vec::new()).await.unwrap();
    let consensus: Vec<_> = folder.verdicts().into_iter().map(|v| v.consensus).collect();
    assert_eq!(consensus, [true, true, true, false, false].map(Some));
}

#[tokio::test]
async fn the_first_traces_of_a_prompt_are_kept() {
    let (prompts, traces) = run();
    let folder = Folder::new(prompts, &traces);
    let limited = CurateConfig { traces_per_prompt: Some(2), ..config("correct IS NOT FALSE") };
    let curation = folder.curate(&limited, "out", Vec::new()).await.unwrap();
    let last = curation.funnel.last().unwrap();
    assert_eq!((last.rule.as_str(), last.dropped, last.remaining), ("at most 2 a prompt", 3, 4));
    let ids: Vec<TraceId> = folder.curated().into_iter().map(|c| c.trace_id).collect();
    assert_eq!(ids, [0, 1, 5, 6].map(|row: usize| traces[row].id.clone()));
}

#[tokio::test]
async fn near_duplicates_and_contamination_are_columns() {
    let long: String =
        (0..120).map(|i| format!("step {i} adds {} to the sum, ", i * 37 % 101)).collect::<Vec<_>>().concat();
    let sum = Prompt::new("math", "sum", "What is the sum of all the numbers that the clerk wrote down?", None, "s");
    let other = Prompt::new("math", "sum", "Name a prime.", None, "s");
    let one = |prompt: &Prompt, sample, text: &str| trace(prompt, sample, Some(text), "Done.", FinishReason::Stop);
    let traces = [
        one(&sum, 0, &long),
        one(&sum, 1, &long.replacen("adds", "gives", 1)),
        one(&sum, 2, &long.to_uppercase()),
        one(&other, 0, &long),
    ];
    let folder = Folder::new(vec![sum, other], &traces);
    let item = Item {
        benchmark: "clerks".into(),
        id: "7".into(),
        question: "Find the sum of all the numbers that the clerk wrote down?".into(),
        solution: None,
    };
    let contamination = Contamination { preset: Preset::OpenR1, benchmarks: Vec::new() };
    let config = CurateConfig { contamination: Some(contamination), ..config("true") };
    folder.curate(&config, "out", vec![item]).await.unwrap();
    let verdicts = folder.verdicts();
    let of = |i: usize| (verdicts[i].duplicate, verdicts[i].near_duplicate);
    assert_eq!([of(0), of(1), of(2), of(3)], [(false, false), (false, true), (true, false), (false, false)]);
    assert_eq!(verdicts[1].cluster, verdicts[0].trace_id);
    let found = &verdicts[1];
    assert_eq!(found.contaminated.as_deref(), Some("clerks"));
    assert_eq!((found.contamination_item.as_deref(), found.contamination_rule.as_deref()), (Some("7"), Some("8-gram")));
    assert_eq!(found.contamination_evidence.as_deref(), Some("the sum of all the numbers that the"));
    assert_eq!(verdicts[3].contaminated, None);
}

#[tokio::test]
async fn leftover_tags_and_blanks_are_not_well_formed() {
    let (prompts, _) = run();
    let cases = [
        (Some("x"), "y", true),
        (Some(" \n"), "y", false),
        (Some("x"), " ", false),
        (Some("x <think> y"), "z", false),
        (Some("x"), "y </think> z", false),
        (None, "<think> x", false),
    ];
    let traces: Vec<Trace> = cases
        .iter()
        .zip(0..)
        .map(|((thinking, answer, _), i)| trace(&prompts[0], i, *thinking, answer, FinishReason::Stop))
        .collect();
    let folder = Folder::new(prompts, &traces);
    folder.curate(&config("true"), "out", Vec::new()).await.unwrap();
    for (verdict, case) in folder.verdicts().iter().zip(&cases) {
        assert_eq!(verdict.well_formed, case.2, "{case:?}");
    }
}
