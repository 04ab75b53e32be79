//! Published answers with published labels, read from `R1D_SHARED`. Where a verdict and a label disagree, the pair is
//! listed and judged in `tests/parity/math_verdicts.md`; the lists must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::*;

const SETS: [&str; 13] = [
    "aime24",
    "amc23",
    "aqua",
    "asdiv",
    "carp_en",
    "gaokao2023en",
    "gsm8k",
    "mawps",
    "minerva_math",
    "olympiadbench",
    "sat_math",
    "svamp",
    "tabmwp",
];

fn folder() -> Option<PathBuf> {
    fixtures::shared("data/equivalence")
}

/// The judged disagreements: set and row, to who is right.
fn judged() -> BTreeMap<(String, usize), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/math_verdicts.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, set, row, right, ..] = cells.as_slice() else { return None };
        let is_judgement = matches!(*right, "ours" | "label");
        is_judgement.then(|| Some((((*set).to_owned(), row.parse().ok()?), (*right).to_owned())))?
    });
    rows.collect()
}

#[test]
fn verdicts_agree_with_labels_apart_from_the_judged_ones() {
    let Some(folder) = folder() else { return };
    let judged = judged();
    let mut found = BTreeSet::new();
    let (mut rows_in_all, mut agreed_in_all) = (0, 0);
    for set in SETS {
        let lines =
            std::fs::read_to_string(folder.join(format!("qwen2.5_3b_instruct_math_evals/{set}.jsonl"))).unwrap();
        let mut disagreements = 0;
        let mut ours_is_wrong = 0;
        let rows = lines.lines().count();
        for (number, line) in lines.lines().enumerate() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let gold = row["gt"].as_str().map_or_else(|| row["gt"].to_string(), str::to_owned);
            let ours = verify(&gold, row["code"][0].as_str().unwrap());
            if ours.correct() != row["score"][0].as_bool().unwrap() {
                disagreements += 1;
                let key = (set.to_owned(), number);
                let right = judged.get(&key);
                assert!(right.is_some(), "{set} {number} is not judged: {gold:?}, {ours:?}");
                ours_is_wrong += usize::from(right.is_some_and(|right| right != "ours"));
                found.insert(key);
            }
        }
        let share = |wrong: usize| 1.0 - wrong as f64 / rows as f64;
        eprintln!("{set}: {rows} rows, {:.4} agree, {:.4} right", share(disagreements), share(ours_is_wrong));
        assert!(share(ours_is_wrong) >= 0.99, "{set}: {ours_is_wrong} of {rows} verdicts are wrong");
        (rows_in_all, agreed_in_all) = (rows_in_all + rows, agreed_in_all + rows - disagreements);
    }
    assert!(agreed_in_all as f64 >= 0.99 * rows_in_all as f64, "{agreed_in_all} of {rows_in_all} agree");
    let listed: BTreeSet<_> = judged.into_keys().filter(|(set, _)| SETS.contains(&set.as_str())).collect();
    assert_eq!(listed, found, "listed but not found, or the other way round");
}

/// MATH problems with answers of R1 distillates, sorted into right and wrong ones by their authors.
#[test]
fn sorted_answers_are_sorted_the_same_way() {
    let Some(folder) = folder() else { return };
    let text = std::fs::read_to_string(folder.join("thought_anchors_selected_problems.json")).unwrap();
    let problems: serde_json::Value = serde_json::from_str(&text).unwrap();
    let judged = judged();
    let (mut found, mut answers) = (BTreeSet::new(), 0);
    for (number, problem) in problems.as_array().unwrap().iter().enumerate() {
        let gold = problem["gt_answer"].as_str().unwrap();
        for (field, label) in [("correct_answers", true), ("incorrect_answers", false)] {
            for answer in problem[field].as_array().unwrap() {
                answers += 1;
                let ours = verify(gold, &format!("\\boxed{{{}}}", answer.as_str().unwrap()));
                if ours.correct() != label {
                    eprintln!("{number}: {gold} and {answer}: {ours:?}");
                    found.insert(("thought_anchors".to_owned(), number));
                }
            }
        }
    }
    assert!(answers > 300, "{answers}");
    let listed: BTreeSet<_> = judged.into_keys().filter(|(set, _)| set == "thought_anchors").collect();
    assert_eq!(listed, found);
}

/// MATH-500 answers of which nobody says whether they are right: all are read, apart from a few that are broken.
#[test]
fn answers_of_math_500_are_read() {
    let Some(folder) = folder() else { return };
    for (file, most_unread) in [("rasbt_math500_gpt_answers.json", 16), ("rasbt_math500_qwen3_answers.json", 8)] {
        let mut answers = 0;
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        let unread: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|row| {
                let (gold, answer) = (row["answer"].as_str()?, row["prediction"].as_str()?);
                answers += 1;
                let ours = verify(gold, answer);
                let unread = matches!(ours.verdict, Verdict::Undecided | Verdict::GoldUnparsed);
                unread.then(|| format!("{gold}: {} ({})", ours.extracted.unwrap_or_default(), ours.rule))
            })
            .collect();
        assert!(answers >= 490, "{file}: {answers} rows have an answer");
        assert!(unread.len() <= most_unread, "{file}: {unread:#?}");
    }
}
