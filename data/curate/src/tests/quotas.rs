//! Quotas, from a recipe's section to the traces that are kept.

use super::*;

/// Three prompts of math with four samples each, two of code with two, one of neither with one.
fn mixture() -> (Vec<Prompt>, Vec<Trace>) {
    let prompt = |domain: &str, i: u32, source: &str| {
        Prompt::new(domain, "", &format!("{domain} {i} of {source}"), Some("4".into()), source)
    };
    let prompts = vec![
        prompt("math", 0, "x"),
        prompt("math", 1, "x"),
        prompt("math", 2, "y"),
        prompt("code", 0, "x"),
        prompt("code", 1, "y"),
        prompt("law", 0, "y"),
    ];
    let mut traces = Vec::new();
    for (prompt, samples) in prompts.iter().zip([4, 4, 4, 2, 2, 1]) {
        for sample in 0..samples {
            // Longer ones come later; of the second prompt of math the first two are wrong.
            let answer = if prompt.question.starts_with("math 1") && sample < 2 { "5" } else { "4" };
            let thinking = format!("thought {sample} on {}", prompt.question);
            traces.push(trace(prompt, sample, Some(&thinking), &format!("\\boxed{{{answer}}}"), FinishReason::Stop));
        }
    }
    (prompts, traces)
}

fn quotas(named: &[(&str, u64)], others: Others) -> Balance {
    let quotas = named.iter().map(|(value, quota)| ((*value).to_owned(), *quota)).collect();
    let (shares, total, prefer) = (None, None, None);
    Balance { by: "domain".into(), quotas: Some(quotas), shares, total, others, prefer, seed: 1 }
}

fn balanced(policy: &str, balance: Balance) -> CurateConfig {
    CurateConfig { balance: Some(balance), ..config(policy) }
}

/// The selected traces as question and sample, and what is said of them.
async fn select(config: &CurateConfig) -> (Vec<(String, u32)>, Curation) {
    let (prompts, traces) = mixture();
    selected(&Folder::new(prompts, &traces), config, &traces).await
}

async fn selected(folder: &Folder, config: &CurateConfig, traces: &[Trace]) -> (Vec<(String, u32)>, Curation) {
    let curation = folder.curate(config, "out", Vec::new()).await.unwrap();
    let of = |c: &CuratedTrace| {
        let trace = traces.iter().find(|trace| trace.id == c.trace_id).unwrap();
        (c.messages[0].content.split(" of ").next().unwrap().to_owned(), trace.sample)
    };
    let mut kept: Vec<_> = folder.curated().iter().map(of).collect();
    kept.sort();
    (kept, curation)
}

/// Of each line what it names, had, may have and keeps, and of how many prompts.
type Line<'a> = (Option<&'a str>, u64, Option<u64>, u64, u64);

fn lines(curation: &Curation) -> Vec<Line<'_>> {
    let lines = curation.balanced.as_ref().unwrap().lines.iter();
    lines.map(|line| (line.value.as_deref(), line.had, line.quota, line.kept, line.prompts)).collect()
}

#[tokio::test]
async fn a_quota_is_spread_over_prompts_and_a_short_one_is_reported() {
    let (kept, curation) = select(&balanced("correct", quotas(&[("math", 5), ("code", 9)], Others::None))).await;
    let of = |question: &str| kept.iter().filter(|(q, _)| q == question).count();
    let mut math = [of("math 0"), of("math 1"), of("math 2")];
    math.sort_unstable();
    assert_eq!((math, of("code 0"), of("code 1"), of("law 0")), ([1, 2, 2], 2, 2, 0));
    let expected = [(Some("code"), 4, Some(9), 4, 2), (Some("math"), 10, Some(5), 5, 3), (None, 1, Some(0), 0, 0)];
    assert_eq!(lines(&curation), expected);
    assert_eq!(curation.balanced.as_ref().unwrap().lines[0].short(), 5);
    let steps: Vec<_> = curation.funnel.iter().map(|s| (s.rule.as_str(), s.dropped, s.remaining)).collect();
    assert_eq!(steps, [("correct", 2, 15), ("quotas by domain", 6, 9)]);
    assert_eq!((curation.total, curation.selected), (17, 9));
}

#[tokio::test]
async fn what_is_not_named_is_kept_if_the_recipe_says_so() {
    let (kept, curation) = select(&balanced("correct", quotas(&[("math", 3)], Others::All))).await;
    assert_eq!(kept.len(), 8);
    assert_eq!(lines(&curation), [(Some("math"), 10, Some(3), 3, 3), (None, 5, None, 5, 3)]);
    let by_source = Balance { by: "source".into(), ..quotas(&[("x", 2)], Others::None) };
    let (_, curation) = select(&balanced("true", by_source)).await;
    assert_eq!(lines(&curation), [(Some("x"), 10, Some(2), 2, 2), (None, 7, Some(0), 0, 0)]);
    // Numbers and truth values are named as SQL writes them; NULL cannot be named.
    let by_right = Balance { by: "correct".into(), ..quotas(&[("false", 1)], Others::All) };
    assert_eq!(lines(&select(&balanced("true", by_right)).await.1)[0], (Some("false"), 2, Some(1), 1, 1));
}

#[tokio::test]
async fn shares_keep_proportions() {
    let shares = |total| Balance {
        quotas: None,
        shares: Some([("math".to_owned(), 2.0), ("code".to_owned(), 1.0)].into()),
        total,
        ..quotas(&[], Others::None)
    };
    let (_, curation) = select(&balanced("correct", shares(Some(3)))).await;
    assert_eq!(lines(&curation)[..2], [(Some("math"), 10, Some(2), 2, 2), (Some("code"), 4, Some(1), 1, 1)]);
    let (_, curation) = select(&balanced("correct", shares(None))).await;
    assert_eq!(lines(&curation)[..2], [(Some("math"), 10, Some(8), 8, 3), (Some("code"), 4, Some(4), 4, 2)]);
}

#[tokio::test]
async fn those_that_are_preferred_are_kept() {
    let prefer = |sql: &str, policy: &str, quota| {
        balanced(policy, Balance { prefer: Some(sql.into()), ..quotas(&[("math", quota)], Others::None) })
    };
    // The hard prompt first, then long ones of every prompt.
    let (kept, _) = select(&prefer("pass_rate, tokens DESC", "correct", 1)).await;
    assert_eq!(kept, [("math 1".into(), 3)]);
    let (kept, _) = select(&prefer("pass_rate ASC, tokens DESC", "correct", 3)).await;
    assert_eq!(kept, [("math 0".into(), 3), ("math 1".into(), 3), ("math 2".into(), 3)]);
    let (kept, _) = select(&prefer("sample", "true", 6)).await;
    assert_eq!(kept.iter().map(|(_, sample)| *sample).collect::<Vec<_>>(), [0, 1, 0, 1, 0, 1]);
    // What is not known comes last, whichever way it is sorted.
    for order in ["DESC", "ASC"] {
        let sql = format!("CASE WHEN sample = 2 THEN tokens END {order}");
        let (kept, _) = select(&prefer(&sql, "true", 3)).await;
        assert!(kept.iter().all(|(_, sample)| *sample == 2), "{kept:?}");
    }
    let (kept, _) = select(&prefer("CASE WHEN sample = 2 THEN tokens END NULLS FIRST", "true", 3)).await;
    assert!(kept.iter().all(|(_, sample)| *sample != 2), "{kept:?}");
}

#[tokio::test]
async fn the_order_of_files_decides_nothing_and_the_seed_does() {
    let (mut prompts, mut traces) = mixture();
    let seeded = |seed| balanced("true", Balance { seed, ..quotas(&[("math", 4), ("code", 1)], Others::None) });
    let first = selected(&Folder::new(prompts.clone(), &traces), &seeded(1), &traces).await.0;
    let others: Vec<_> = futures::future::join_all((2..6).map(async |seed| {
        let folder = Folder::new(prompts.clone(), &traces);
        selected(&folder, &seeded(seed), &traces).await.0
    }))
    .await;
    assert!(others.iter().any(|other| *other != first), "{first:?}");
    prompts.reverse();
    traces.reverse();
    assert_eq!(selected(&Folder::new(prompts, &traces), &seeded(1), &traces).await.0, first);
}

#[tokio::test]
async fn the_limit_of_a_prompt_keeps_those_that_are_preferred() {
    let balance = Balance { prefer: Some("tokens DESC".into()), ..quotas(&[("math", 5)], Others::All) };
    let config = CurateConfig { traces_per_prompt: Some(2), ..balanced("correct", balance) };
    let (kept, curation) = select(&config).await;
    assert!(kept.iter().filter(|(q, _)| q.starts_with("math")).all(|(_, sample)| *sample >= 2), "{kept:?}");
    let steps: Vec<_> = curation.funnel.iter().map(|s| (s.rule.as_str(), s.dropped, s.remaining)).collect();
    assert_eq!(steps, [("correct", 2, 15), ("at most 2 a prompt", 4, 11), ("quotas by domain", 1, 10)]);
    assert_eq!(lines(&curation)[0], (Some("math"), 6, Some(5), 5, 3));
}

#[tokio::test]
async fn quotas_for_what_is_not_there_are_refused() {
    let (prompts, traces) = mixture();
    let refused = async |config: CurateConfig| {
        let folder = Folder::new(prompts.clone(), &traces);
        match folder.curate(&config, "out", Vec::new()).await {
            Ok(curation) => curation.nothing_selected(&config).unwrap().to_string(),
            Err(e) => e.to_string(),
        }
    };
    let message = refused(balanced("true", quotas(&[("math", 1), ("maths", 1)], Others::All))).await;
    for part in ["curate.balance.quotas", "no trace has the domain \"maths\"", "math (12), code (4), law (1)"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let message = refused(balanced("domain <> 'law'", quotas(&[("law", 3)], Others::None))).await;
    assert!(message.contains("keep none") && message.contains("law 0"), "{message}");
    let message =
        refused(balanced("true", Balance { prefer: Some("nope".into()), ..quotas(&[("law", 3)], Others::All) })).await;
    assert!(message.contains("curate.balance.prefer") && message.contains("nope"), "{message}");
}

#[test]
fn a_recipe_is_refused_before_anything_is_judged() {
    let config = |policy: &str| config(policy).check().into_iter().map(|m| m.to_string()).collect::<Vec<_>>().concat();
    for (wrong, says) in [
        ("finnished", "finnished"),
        ("sample", "must be true or false; it is a UInt32"),
        ("correct AND random() < 0.5", "is another each time"),
        ("count(*) > 3", "cannot be used"),
        ("", "cannot be used"),
    ] {
        let message = config(wrong);
        assert!(message.starts_with("curate.policy") && message.contains(says), "{wrong}: {message}");
        assert!(message.contains("well_formed, finished"), "{message}");
    }
    let wrong = balanced("true", Balance { by: "topic".into(), ..quotas(&[("x", 1)], Others::All) });
    assert_eq!(wrong.check()[0].field, "curate.balance.by");
}
