//! What is judged again after a change, and what is not.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::rules::cache::Case;

/// Which groups judged how many traces; those that judged none are left out.
fn judged(curated: &(Curation, Vec<Reuse>)) -> BTreeMap<&'static str, usize> {
    curated.1.iter().filter(|group| group.judged > 0).map(|group| (group.group, group.judged)).collect()
}

/// Every file that is kept, with what tells whether it was written again.
fn files(folder: &Folder) -> BTreeMap<PathBuf, (u64, i64)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.dir.path().join("out/rules")];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            } else {
                let metadata = entry.metadata().unwrap();
                found.insert(entry.path(), (metadata.ino(), metadata.mtime_nsec()));
            }
        }
    }
    found
}

fn item(question: &str) -> Item {
    Item { benchmark: "b".into(), id: "1".into(), question: question.into(), solution: None }
}

fn contaminated(preset: Preset) -> CurateConfig {
    CurateConfig { contamination: Some(Contamination { preset, benchmarks: Vec::new() }), ..config("true") }
}

fn small_run() -> Folder {
    let (prompts, traces) = run();
    Folder::new(prompts, &traces)
}

/// Judging anew what is there would only cost time, but nobody would know why.
#[tokio::test]
async fn what_is_kept_and_cannot_be_read_is_named() {
    let folder = small_run();
    folder.curate_as("k", &config("true"), "out", Vec::new()).await.unwrap();
    let (path, _) = files(&folder).pop_first().unwrap();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(path.file_name().unwrap(), &path).unwrap();
    let message = folder.curate_as("k", &config("true"), "out", Vec::new()).await.unwrap_err().to_string();
    assert!(message.contains(&path.display().to_string()), "{message}");
    // A file where the folder of another run should be.
    let place = path.parent().unwrap();
    std::fs::remove_dir_all(place).unwrap();
    std::fs::write(place, "").unwrap();
    let message = folder.curate_as("other", &config("true"), "again", Vec::new()).await.unwrap_err().to_string();
    assert!(message.contains(&place.display().to_string()), "{message}");
}

#[tokio::test]
async fn a_change_judges_again_what_depends_on_it_and_nothing_else() {
    let folder = small_run();
    let config = contaminated(Preset::OpenR1);
    let items = || vec![item("one two three four five six seven eight nine")];
    let first = folder.curate_as("k", &config, "out", items()).await.unwrap();
    let all = |groups: &[&'static str]| groups.iter().map(|group| (*group, 8)).collect::<BTreeMap<_, _>>();
    assert_eq!(judged(&first), all(&["answers", "contamination", "signals", "sketches"]));
    let near = |change: fn(&mut Near)| {
        let mut near_traces = config.near_traces;
        change(&mut near_traces);
        CurateConfig { near_traces, ..config.clone() }
    };
    let mut near_prompts = config.clone();
    near_prompts.near_prompts.threshold = 0.5;
    let other_items = vec![item("one two three four five six seven eight ten")];
    let cases = [
        ("nothing", config.clone(), items(), vec![]),
        ("the policy", CurateConfig { policy: "correct".into(), ..config.clone() }, items(), vec![]),
        ("traces a prompt", CurateConfig { traces_per_prompt: Some(1), ..config.clone() }, items(), vec![]),
        ("similar prompts", near_prompts, items(), vec![]),
        ("how similar", near(|near| near.threshold = 0.5), items(), vec![]),
        ("sketches", near(|near| near.bands = 10), items(), vec!["sketches"]),
        ("the preset", contaminated(Preset::S1), items(), vec!["contamination"]),
        ("the benchmark", config.clone(), other_items, vec!["contamination"]),
        ("no benchmark", CurateConfig { contamination: None, ..config.clone() }, Vec::new(), vec![]),
    ];
    for (what, changed, items, groups) in cases {
        let before = files(&folder);
        // In the same folder, and in another one that finds what the first has.
        let there = folder.curate_as("k", &changed, "there", items.clone()).await.unwrap();
        assert_eq!(judged(&there), all(&groups), "{what}");
        let here = folder.curate_as("k", &changed, "out", items).await.unwrap();
        assert_eq!(judged(&here), all(&groups), "{what}");
        assert_eq!(here.0, there.0);
        let after = files(&folder);
        assert!(before.iter().all(|(path, file)| after.get(path) == Some(file)), "{what}: a file was written again");
    }
}

#[tokio::test]
async fn another_tokenizer_counts_again_and_does_nothing_else() {
    let train = |size| {
        let corpus = vec!["two and two plan on and on Once.".to_owned(); 20];
        Tokenizer::train(&corpus, size).unwrap()
    };
    let mut folder = small_run();
    let count =
        |folder: &Folder| -> Vec<_> { folder.verdicts().iter().map(|verdict| verdict.student_tokens).collect() };
    folder.curate_as("k", &config("true"), "out", Vec::new()).await.unwrap();
    assert_eq!(count(&folder), [None; 8], "without a tokenizer there is nothing to count");
    let mut counts = Vec::new();
    for (size, judges) in [(280, 8), (266, 8), (280, 0)] {
        let tokenizer = train(size);
        folder.tokenizer = Some(tokenizer.clone());
        let curated = folder.curate_as("k", &config("student_tokens <= 30"), "out", Vec::new()).await.unwrap();
        let groups = judged(&curated);
        assert_eq!(groups, [("student_tokens", judges)].into_iter().filter(|(_, judged)| *judged > 0).collect());
        let expected: Vec<usize> =
            run().1.iter().map(|trace| tokenizer.encode_by_library(&trace.text()).unwrap().len()).collect();
        let found = count(&folder);
        assert_eq!(found, expected.iter().map(|count| Some(*count as u32)).collect::<Vec<_>>());
        assert_eq!(curated.0.selected, expected.iter().filter(|count| **count <= 30).count());
        counts.push(found);
    }
    assert_ne!(counts[0], counts[1]);
    assert_eq!(counts[0], counts[2]);
}

/// Its post-processor asks for a second text, where there is one.
#[tokio::test]
async fn what_the_tokenizer_cannot_encode_has_no_count_and_ends_nothing() {
    let mut folder = small_run();
    let path = folder.dir.path().join("tokenizer.json");
    Tokenizer::train(&["one and two".to_owned()], 280).unwrap().save(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let text = |id: &str| serde_json::json!({"Sequence": {"id": id, "type_id": 0}});
    json["post_processor"] = serde_json::json!({"type": "TemplateProcessing", "single": [text("B")],
        "pair": [text("A"), text("B")], "special_tokens": {}});
    std::fs::write(&path, json.to_string()).unwrap();
    folder.tokenizer = Some(Tokenizer::from_file(&path).unwrap());
    let curated = folder.curate_as("k", &config("student_tokens IS NULL"), "out", Vec::new()).await.unwrap();
    assert_eq!(folder.verdicts().iter().map(|verdict| verdict.student_tokens).collect::<Vec<_>>(), [None; 8]);
    assert_eq!(curated.0.selected, 8);
}

#[tokio::test]
async fn other_limits_run_the_programs_again_and_do_nothing_else() {
    if !can_run() {
        return;
    }
    let folder = small_run();
    let path = folder.dir.path().join("tests.parquet");
    write_records(&path, &[tests_of(&folder.prompts[1], "2 2")]).unwrap();
    let limited =
        |memory_mb| CurateConfig { code: Some(Limits { time_limit_seconds: 5.0, memory_mb }), ..config("true") };
    folder.curate(&config("true"), "out", Vec::new()).await.unwrap();
    for (memory_mb, groups) in [(256, vec![("code", 8)]), (256, vec![]), (300, vec![("code", 8)]), (256, vec![])] {
        let curated = folder.curate_as("k", &limited(memory_mb), "out", Vec::new()).await.unwrap();
        assert_eq!(judged(&curated), BTreeMap::from_iter(groups), "{memory_mb}");
    }
    // Another test is another question.
    write_records(&path, &[tests_of(&folder.prompts[1], "2 3")]).unwrap();
    let curated = folder.curate_as("other tests", &limited(256), "out", Vec::new()).await.unwrap();
    assert_eq!(judged(&curated), BTreeMap::from([("code", 3)]));
}

#[tokio::test]
async fn verdicts_do_not_depend_on_what_was_known() {
    let folder = small_run();
    folder.curate(&contaminated(Preset::OpenR1), "out", vec![item("Write.")]).await.unwrap();
    let changed = contaminated(Preset::Strict);
    folder.curate(&changed, "out", vec![item("Write.")]).await.unwrap();
    let fresh = small_run();
    fresh.curate(&changed, "out", vec![item("Write.")]).await.unwrap();
    assert_eq!(folder.verdicts(), fresh.verdicts());
    assert!(fresh.verdicts()[5].contaminated.is_some(), "the strict preset finds an equal prompt");
}

#[tokio::test]
async fn parts_that_were_judged_before_a_kill_are_not_judged_again() {
    let folder = small_run();
    folder.curate(&config("correct"), "out", Vec::new()).await.unwrap();
    let before = files(&folder);
    // Two files of traces are two parts: as if the kill had come when the second was done for some rules only.
    let gone: Vec<&PathBuf> = before
        .keys()
        .filter(|path| {
            let path = path.to_string_lossy();
            path.contains("/traces-") || path.ends_with("00001.parquet") && !path.contains("signals")
        })
        .collect();
    assert_eq!((before.len(), gone.len()), (8, 3));
    for path in &gone {
        std::fs::remove_file(path).unwrap();
    }
    let again = folder.curate_as("k", &config("correct"), "out", Vec::new()).await.unwrap();
    assert_eq!(judged(&again), BTreeMap::from([("answers", 6), ("sketches", 6)]));
    let after = files(&folder);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (path, file) in &before {
        assert_eq!(after[path] == *file, !gone.contains(&path), "{}", path.display());
    }
}

#[tokio::test]
async fn of_more_traces_only_the_new_ones_are_judged() {
    let (prompts, traces) = run();
    let folder = Folder::new(prompts.clone(), &traces);
    folder.curate(&config("true"), "out", Vec::new()).await.unwrap();
    // One more sample of each prompt, in between; the first file is gone, and there is another prompt.
    let more = Prompt::new("math", "sum", "3+4?", Some("7".into()), "s");
    let mut grown = traces.clone();
    grown.insert(5, trace(&prompts[0], 5, Some("hm"), "\\boxed{4}", FinishReason::Stop));
    grown.push(trace(&more, 0, Some("hm"), "\\boxed{7}", FinishReason::Stop));
    let prompts = vec![more, prompts[0].clone(), prompts[1].clone()];
    std::fs::remove_file(folder.dir.path().join("traces/a.parquet")).unwrap();
    write_records(&folder.dir.path().join("traces/b.parquet"), &grown).unwrap();
    let folder = Folder { prompts, ..folder };
    let curated = folder.curate_as("more", &config("true"), "out", Vec::new()).await.unwrap();
    assert_eq!(judged(&curated), BTreeMap::from([("answers", 2), ("signals", 2), ("sketches", 2)]));
    let ids: Vec<TraceId> = folder.verdicts().into_iter().map(|verdict| verdict.trace_id).collect();
    assert_eq!(ids, grown.iter().map(|trace| trace.id.clone()).collect::<Vec<_>>());
    let fresh = Folder::new(folder.prompts.clone(), &grown);
    fresh.curate(&config("true"), "out", Vec::new()).await.unwrap();
    assert_eq!(folder.verdicts(), fresh.verdicts());
}

#[tokio::test]
async fn what_a_prompt_says_is_part_of_what_was_judged() {
    let folder = small_run();
    folder.curate(&config("true"), "out", Vec::new()).await.unwrap();
    let mut prompts = folder.prompts.clone();
    prompts[0].answer = Some("5".into());
    prompts[0].domain = "other".into();
    let folder = Folder { prompts, ..folder };
    let curated = folder.curate_as("corrected", &config("true"), "out", Vec::new()).await.unwrap();
    assert_eq!(judged(&curated), BTreeMap::from([("answers", 5)]), "only where the gold answer is another");
    let verdicts = folder.verdicts();
    assert_eq!((verdicts[0].correct, verdicts[2].correct), (Some(false), Some(true)));
    assert_eq!(verdicts[0].domain, "other");
}

#[tokio::test]
async fn a_question_that_changed_under_its_id_is_judged_again() {
    let config = contaminated(Preset::Strict);
    let changes: [fn(&mut Prompt); 2] = [
        |prompt| prompt.question = "3+3?".into(),
        |prompt| prompt.context = vec![Message::user("Hm?"), Message::assistant("Yes.")],
    ];
    let judges: [&[&str]; 2] = [&["contamination", "signals"], &["contamination"]];
    for (change, groups) in changes.into_iter().zip(judges) {
        let folder = small_run();
        folder.curate(&config, "out", vec![item("Write.")]).await.unwrap();
        let mut prompts = folder.prompts.clone();
        change(&mut prompts[0]);
        let folder = Folder { prompts, ..folder };
        let curated = folder.curate_as("changed", &config, "out", vec![item("Write.")]).await.unwrap();
        assert_eq!(judged(&curated), groups.iter().map(|group| (*group, 5)).collect());
    }
}

#[tokio::test]
async fn a_trace_that_changed_under_its_id_is_judged_again() {
    let (prompts, traces) = run();
    let changes: [fn(&mut Trace); 5] = [
        |trace| trace.answer = "\\boxed{6}".into(),
        |trace| trace.thinking = None,
        |trace| trace.finish_reason = FinishReason::Length,
        |trace| trace.completion_tokens = Some(3),
        // The same letters, cut elsewhere.
        |trace| (trace.thinking, trace.answer) = (Some("two and tw".into()), "o\\boxed{4}".into()),
    ];
    for change in changes {
        let folder = Folder::new(prompts.clone(), &traces);
        folder.curate(&config("true"), "out", Vec::new()).await.unwrap();
        let mut changed = traces.clone();
        change(&mut changed[0]);
        write_records(&folder.dir.path().join("traces/a.parquet"), &changed[..2]).unwrap();
        let curated = folder.curate_as("changed", &config("true"), "out", Vec::new()).await.unwrap();
        assert_eq!(judged(&curated), BTreeMap::from([("answers", 1), ("signals", 1), ("sketches", 1)]));
    }
}

#[tokio::test]
async fn a_kept_file_of_another_length_is_refused() {
    let folder = small_run();
    folder.curate(&config("true"), "out", Vec::new()).await.unwrap();
    let path = files(&folder).into_keys().find(|path| path.to_string_lossy().contains("answers")).unwrap();
    write_records::<Named>(&path, &[]).unwrap();
    let message = folder.curate(&config("true"), "out", Vec::new()).await.unwrap_err().to_string();
    assert!(message.contains("answers-") && message.contains("remove it"), "{message}");
}

#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
}

/// Judges two traces at a time, as often as it is let.
struct Slow<'a>(&'a std::cell::Cell<usize>);

impl Group for Slow<'_> {
    const NAME: &'static str = "slow";
    const VERSION: u32 = 1;
    const CHUNK: usize = 2;
    type Row = TraceId;

    fn settings(&self) -> serde_json::Value {
        json!("x")
    }

    fn of_prompt(&self, _: &Prompt) -> u64 {
        0
    }

    fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<TraceId>> {
        let Some(left) = self.0.get().checked_sub(1) else {
            return Err(Error::invalid("slow", "stopped", "go on"));
        };
        self.0.set(left);
        Ok(cases.iter().map(|case| case.trace.id.clone()).collect())
    }
}

#[test]
fn rules_that_take_long_lose_no_more_than_a_chunk() {
    let folder = small_run();
    let parts = parts(&folder.dir.path().join("traces")).unwrap();
    let folders = Folders::new(&folder.dir.path().join("out/rules"), &[]);
    let prompts = Prompts::new(&folder.prompts);
    let run = |most: usize| {
        let left = std::cell::Cell::new(most);
        let mut kept = RuleCache::new(Slow(&left), &folders, "k");
        kept.complete(1, &mut Reader::new(&parts[1], &prompts))?;
        kept.finish()?;
        Ok::<_, Error>((kept.reuse(), kept.rows(1, &parts[1])?))
    };
    assert!(run(2).is_err());
    assert_eq!(files(&folder).len(), 2, "two chunks of the part's three");
    let (reuse, rows) = run(9).unwrap();
    assert_eq!(reuse, Reuse { group: "slow", judged: 2, known: 4 });
    assert_eq!(rows, super::run().1[2..].iter().map(|trace| trace.id.clone()).collect::<Vec<_>>());
    assert_eq!(files(&folder).len(), 1, "what the part's file holds is nowhere else");
    assert_eq!(run(0).unwrap().0, Reuse { group: "slow", judged: 0, known: 6 });
}
