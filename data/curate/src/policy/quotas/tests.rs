use proptest::prelude::*;

use super::*;

fn shares(named: &[(&str, f64)], total: Option<u64>) -> Balance {
    Balance {
        by: "domain".into(),
        quotas: None,
        shares: Some(named.iter().map(|(value, share)| ((*value).to_owned(), *share)).collect()),
        total,
        others: Others::None,
        prefer: None,
        seed: 1,
    }
}

fn quotas(named: &[(&str, u64)]) -> Balance {
    let named = named.iter().map(|(value, quota)| ((*value).to_owned(), *quota));
    Balance { quotas: Some(named.collect()), shares: None, ..shares(&[], None) }
}

#[test]
fn shares_of_a_total_add_up_to_it() {
    // The proportions of DeepSeek-R1's set; a total as large as it gives its numbers.
    let r1 =
        [("math", 395_285.0), ("code", 211_129.0), ("stem", 10_124.0), ("logic", 10_395.0), ("general", 177_812.0)];
    let all = shares(&r1, Some(804_745)).sizes(|_| 0).into_values().map(|size| size as f64).collect::<Vec<_>>();
    assert_eq!(all, [211_129.0, 177_812.0, 10_395.0, 395_285.0, 10_124.0], "in the order of their names");
    let sizes = |total| {
        shares(&[("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 0.0)], Some(total))
            .sizes(|_| 0)
            .into_values()
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(3), [1, 1, 1, 0]);
    assert_eq!(sizes(5), [2, 2, 1, 0]);
}

#[test]
fn shares_without_a_total_are_as_many_as_there_are() {
    let had = |value: &str| if value == "a" { 90 } else { 7 };
    let sizes = |a, b| shares(&[("a", a), ("b", b)], None).sizes(had).into_values().collect::<Vec<_>>();
    assert_eq!(sizes(3.0, 1.0), [21, 7]);
    assert_eq!(sizes(0.1, 0.7), [1, 7]);
    assert_eq!(sizes(0.3, 0.0), [90, 0]);
    assert_eq!(sizes(30.0, 1.0), [90, 3]);
}

#[test]
fn what_cannot_be_carried_out_is_refused() {
    let fine = quotas(&[("math", 3)]);
    assert_eq!(fine.check(), Ok(()));
    assert_eq!(shares(&[("math", 0.5)], Some(3)).check(), Ok(()));
    let prefer = |sql: &str| Balance { prefer: Some(sql.into()), ..fine.clone() };
    assert_eq!(prefer("pass_rate, tokens DESC NULLS FIRST, length(domain) * 2 ASC").check(), Ok(()));
    for (wrong, words) in [
        (Balance { by: "topic".into(), ..fine.clone() }, ["curate.balance.by", "\"topic\"", "domain, kind"]),
        (Balance { quotas: None, ..fine.clone() }, ["curate.balance", "neither quotas nor shares", "one of the two"]),
        (
            Balance { shares: shares(&[("a", 1.0)], None).shares, ..fine.clone() },
            ["curate.balance", "both quotas and shares", "leave one"],
        ),
        (quotas(&[]), ["curate.balance.quotas", "none is above 0", ""]),
        (quotas(&[("math", 0)]), ["curate.balance.quotas", "none is above 0", ""]),
        (shares(&[("a", 1.0), ("b", -1.0)], None), ["curate.balance.shares.b: it is -1", "0 or more", ""]),
        (shares(&[("a", f64::NAN)], None), ["curate.balance.shares.a", "NaN", ""]),
        (shares(&[("a", 0.0)], None), ["curate.balance.shares", "none is above 0", ""]),
        (shares(&[("a", 1.0)], Some(0)), ["curate.balance.total: it is 0", "leave it out", ""]),
        (Balance { total: Some(9), ..fine.clone() }, ["curate.balance.total", "goes with shares", ""]),
        (prefer("pass_rat"), ["curate.balance.prefer", "pass_rat", "domain, kind"]),
        (prefer("pass_rate DESC tokens"), ["curate.balance.prefer", "before tokens a comma is missing", "ORDER BY"]),
        (prefer("pass_rate; DROP TABLE x"), ["curate.balance.prefer", "before ; a comma", ""]),
        (prefer("SELECT 1"), ["curate.balance.prefer", "before 1 a comma is missing", ""]),
        (prefer(""), ["curate.balance.prefer", "cannot be used", ""]),
        (prefer("1"), ["curate.balance.prefer", "the same for every trace", ""]),
        (prefer("tokens, random()"), ["curate.balance.prefer", "random() is another each time", ""]),
        (prefer("count(*)"), ["curate.balance.prefer", "cannot be used", ""]),
        (prefer("domain + 1"), ["curate.balance.prefer", "cannot be used", ""]),
    ] {
        let message = wrong.check().unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
    }
}

#[test]
fn a_recipe_says_what_becomes_of_the_rest() {
    let read = |text: &str| serde_json::from_str::<Balance>(text).map_err(|e| e.to_string());
    let whole = r#"{"by": "domain", "quotas": {"math": 3}, "others": "none", "seed": 1}"#;
    assert_eq!(read(whole), Ok(quotas(&[("math", 3)])));
    for (from, to, says) in [
        ("\"others\": \"none\", ", "", "missing field `others`"),
        ("\"none\"", "\"some\"", "unknown variant `some`"),
        ("3", "-3", "-3"),
        ("seed", "sede", "unknown field `sede`"),
    ] {
        let message = read(&whole.replace(from, to)).unwrap_err();
        assert!(message.contains(says), "{message}");
    }
}

proptest! {
    /// No quota is exceeded, none is missed without need, and no prompt has one sample more than another before that one
    /// has all that it has.
    #[test]
    fn prompts_come_before_samples(
        drawn in prop::collection::vec((0u32..12, 0u32..3, 0u8..3, 0u64..4), 1..200),
        sizes in (0u64..60, 0u64..60),
        keep_others in any::<bool>(),
    ) {
        let mut candidates = Candidates { of_value: vec![1; 3], ..Candidates::default() };
        for (value, number) in [("a", 0), ("b", 1), ("c", 2)] {
            candidates.values.insert(Some(value.into()), number);
        }
        for ((prompt, value, order, hash), row) in drawn.into_iter().zip(0..) {
            candidates.all.push(Candidate { row, prompt, value, order: [order].into(), hash });
        }
        candidates.sort();
        let all: Vec<(u32, u32, u32)> = candidates.all.iter().map(|one| (one.value, one.prompt, one.row)).collect();
        let others = if keep_others { Others::All } else { Others::None };
        let kept = candidates.take(&Balance { others, ..quotas(&[("a", sizes.0), ("b", sizes.1)]) });
        for (value, quota) in [(0, sizes.0), (1, sizes.1), (2, if keep_others { u64::MAX } else { 0 })] {
            let of = |prompt: Option<u32>, rows: Option<&[u32]>| all.iter().filter(|(v, p, row)| {
                *v == value && prompt.is_none_or(|prompt| prompt == *p) && rows.is_none_or(|rows| rows.contains(row))
            }).count() as u64;
            prop_assert_eq!(of(None, Some(&kept.rows)), of(None, None).min(quota));
            for (one, other) in (0..12).flat_map(|one| (0..12).map(move |other| (one, other))) {
                let (ours, theirs) = (of(Some(one), Some(&kept.rows)), of(Some(other), Some(&kept.rows)));
                prop_assert!(ours <= theirs + 1 || theirs == of(Some(other), None), "{ours} of {one}, {theirs} of {other}");
            }
        }
        prop_assert!(kept.rows.is_sorted());
        let counted: u64 = kept.balanced.lines.iter().map(|line| line.kept).sum();
        prop_assert_eq!(counted, kept.rows.len() as u64);
        prop_assert_eq!(kept.within_limit, all.len());
    }
}
