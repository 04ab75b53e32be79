use proptest::prelude::*;

use super::*;

fn sketches(settings: Near, texts: &[(&str, u32)]) -> (Sketches, Sketcher) {
    let mut sketcher = Sketcher::new(settings);
    let mut sketches = Sketches::new(settings);
    for (text, group) in texts {
        let mut bands = Vec::new();
        let (digest, shingles) = sketcher.sketch(text, &mut bands);
        sketches.push(digest, &bands, shingles, *group);
    }
    (sketches, sketcher)
}

fn found(settings: Near, memory: usize, texts: &[(&str, u32)]) -> Clusters {
    let (sketches, mut sketcher) = sketches(settings, texts);
    let load = |rows: &[u32]| Ok(rows.iter().map(|row| sketcher.shingle_set(texts[*row as usize].0)).collect());
    clusters(&sketches, memory, load).unwrap()
}

fn words(n: usize, salt: usize) -> String {
    (0..n).map(|i| format!("w{} ", (i * 7919 + salt * 104_729) % 100_003)).collect::<Vec<_>>().concat()
}

#[test]
fn equal_and_nearly_equal_texts_are_clusters_and_others_are_not() {
    let (a, b) = (words(200, 1), words(200, 2));
    // One word of 200 changed: 5 of 196 shingles, J = 191/201.
    let near = a.replacen('w', "v", 1);
    let upper = a.to_uppercase();
    let texts =
        [(a.as_str(), 0), (b.as_str(), 0), (near.as_str(), 0), (upper.as_str(), 0), (a.as_str(), 1), ("", 0), ("", 0)];
    for memory in [usize::MAX, 1] {
        let clusters = found(Near::OURS, memory, &texts);
        assert_eq!(clusters.first, [0, 1, 0, 0, 4, 5, 5]);
        assert_eq!(clusters.exact, [false, false, false, true, false, false, true]);
    }
}

#[test]
fn candidates_below_the_threshold_are_verified_away() {
    // Half the words are the same: J is about 1/3. With bands of one minimum nearly all such pairs are candidates.
    let (a, b) = (words(300, 1), words(300, 2));
    let half: String = a.split_inclusive(' ').take(150).chain(b.split_inclusive(' ').skip(150)).collect();
    let texts = [(a.as_str(), 0), (half.as_str(), 0)];
    let loose = Near { shingle: 5, bands: 60, rows: 1, threshold: 0.0 };
    assert_eq!(found(loose, usize::MAX, &texts).first, [0, 0], "a candidate");
    assert_eq!(found(Near { threshold: 0.8, ..loose }, usize::MAX, &texts).first, [0, 1], "not a duplicate");
    assert_eq!(found(Near { threshold: 0.3, ..loose }, usize::MAX, &texts).first, [0, 0]);
}

#[test]
fn a_large_cluster_takes_linear_work() {
    let base = words(100, 1);
    let texts: Vec<String> = (0..3000).map(|i| format!("{base} end{i}")).collect();
    let pairs: Vec<(&str, u32)> = texts.iter().map(|text| (text.as_str(), 0)).collect();
    let started = std::time::Instant::now();
    let clusters = found(Near::OURS, 1 << 20, &pairs);
    assert!(clusters.first.iter().all(|first| *first == 0));
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

/// The share of candidates is that of theory, 1 − (1 − Jʳ)ᵇ: the minima behave as independent ones.
#[test]
fn candidates_are_as_frequent_as_theory_says() {
    let settings = Near { threshold: 0.0, ..Near::OURS };
    for changed in [3usize, 8, 14] {
        let (mut hits, mut expected, n) = (0, 0.0, 300);
        for pair in 0..n {
            let a = words(200, pair + 1);
            let b: String = a
                .split_inclusive(' ')
                .enumerate()
                .map(|(i, word)| if i % (200 / changed) == 7 { format!("x{i}y{pair} ") } else { word.to_owned() })
                .collect();
            let mut sketcher = Sketcher::new(settings);
            let j = jaccard(&sketcher.shingle_set(&a), &sketcher.shingle_set(&b));
            expected += 1.0 - (1.0 - j.powi(settings.rows as i32)).powi(settings.bands as i32);
            hits += usize::from(found(settings, usize::MAX, &[(&a, 0), (&b, 0)]).first[1] == 0);
        }
        let (share, expected) = (hits as f64 / n as f64, expected / n as f64);
        // Three standard deviations of 300 draws.
        let tolerance = 3.0 * (expected * (1.0 - expected) / n as f64).sqrt() + 0.01;
        assert!((share - expected).abs() < tolerance, "{changed} words changed: {share}, not {expected}");
    }
}

#[test]
fn settings_of_other_sizes_work() {
    let a = words(50, 1);
    for settings in [Near::DATATROVE, Near::TEXT_DEDUP, Near { shingle: 1, bands: 1, rows: 1, threshold: 0.5 }] {
        let clusters = found(settings, usize::MAX, &[(&a, 0), (&a, 0), (&words(50, 2), 0)]);
        assert_eq!(clusters.first, [0, 0, 2], "{settings:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_clusters_begin_with_their_first(texts in prop::collection::vec("[ab+ é数]{0,12}", 0..20), memory in 0usize..100) {
        let pairs: Vec<(&str, u32)> = texts.iter().map(|text| (text.as_str(), 0)).collect();
        let clusters = found(Near::OURS, memory, &pairs);
        for (row, first) in clusters.first.iter().enumerate() {
            prop_assert!(*first as usize <= row);
            prop_assert_eq!(clusters.first[*first as usize], *first);
        }
        for (i, a) in texts.iter().enumerate() {
            for (j, b) in texts.iter().enumerate() {
                prop_assert!(a != b || clusters.first[i] == clusters.first[j]);
            }
        }
    }

    #[test]
    fn jaccard_is_shared_by_either(a in prop::collection::btree_set(0u32..50, 0..30), b in prop::collection::btree_set(0u32..50, 0..30)) {
        let (x, y): (Vec<u32>, Vec<u32>) = (a.iter().copied().collect(), b.iter().copied().collect());
        let either = a.union(&b).count();
        let expected = if either == 0 { 0.0 } else { a.intersection(&b).count() as f64 / either as f64 };
        prop_assert!((jaccard(&x, &y) - expected).abs() < 1e-12);
    }
}
