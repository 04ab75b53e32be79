//! Pairs with what is true of them, beside Math-Verify's verdicts: `tests/parity/golden/math_pairs.json`, made by
//! `tests/parity/make_math_golden.py`.

use std::collections::BTreeMap;

use super::*;

fn pairs() -> Vec<serde_json::Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/golden/math_pairs.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    golden["pairs"].as_array().unwrap().clone()
}

#[test]
fn every_pair_is_judged_as_is_true() {
    let mut undecided = 0;
    let wrong: Vec<_> = pairs()
        .iter()
        .filter_map(|pair| {
            let (gold, answer) = (pair["gold"].as_str().unwrap(), pair["answer"].as_str().unwrap());
            let ours = verify(gold, &format!("\\boxed{{{answer}}}"));
            undecided += usize::from(ours.verdict == Verdict::Undecided);
            (ours.correct() != pair["equal"].as_bool().unwrap()).then(|| format!("{gold} and {answer}: {ours:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(undecided <= 1, "{undecided} pairs are not decided");
}

/// The table in `tests/parity/README.md`.
#[test]
fn math_verify_is_wrong_where_the_table_says() {
    let mut wrong: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    for pair in pairs() {
        let (of, accepts, rejects) = wrong.entry(pair["kind"].as_str().unwrap().to_owned()).or_default();
        *of += 1;
        match (pair["math_verify"].as_bool().unwrap(), pair["equal"].as_bool().unwrap()) {
            (true, false) => *accepts += 1,
            (false, true) => *rejects += 1,
            _ => {}
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    for (kind, (of, accepts, rejects)) in wrong {
        let row = format!("| {kind} | {of} | {accepts} | {rejects} | 0 |");
        assert!(readme.contains(&row), "no such row: {row}");
    }
}
