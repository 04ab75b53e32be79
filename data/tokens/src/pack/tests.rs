use super::*;
use crate::tokenizer::Tokenizer;
use proptest::prelude::*;
use rand::RngExt;
use records::record::PromptId;

fn trace(n: usize, thinking: usize) -> CuratedTrace {
    let text = format!("<think>\n{}\n</think>\n\n\\boxed{{{n}}}", "so it goes. ".repeat(thinking));
    CuratedTrace {
        trace_id: TraceId::from_stored(format!("t{n}")),
        prompt_id: PromptId::from_stored("p"),
        domain: "d".into(),
        kind: "k".into(),
        source: "s".into(),
        gold: None,
        messages: vec![Message::user(format!("What is {n}?")), Message::assistant(text)],
        num_tokens: None,
    }
}

fn format() -> ChatFormat {
    let corpus: Vec<String> = (0..50).map(|n| format!("What is {n}? so it goes.")).collect();
    ChatFormat::r1(Tokenizer::train(&corpus, 300).unwrap()).unwrap()
}

fn settings(sequence_length: usize, too_long: TooLong) -> PackSettings {
    PackSettings { sequence_length, too_long, seed: 7 }
}

const SHORT: PackSettings = PackSettings { sequence_length: 128, too_long: TooLong::Drop, seed: 7 };

#[test]
fn every_conversation_is_packed_once_and_whole() {
    let format = format();
    let traces: Vec<_> = (0..40).map(|n| trace(n, 1 + n % 9)).collect();
    let (rows, report) = pack(&traces, &format, Supervision::Thinking, SHORT).unwrap();
    let mut seen: Vec<TraceId> = rows.iter().flat_map(|r| r.trace_ids.clone()).collect();
    seen.sort();
    let mut expected: Vec<TraceId> = traces.iter().map(|t| t.trace_id.clone()).collect();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(report.too_long, 0);
    for row in &rows {
        assert!(row.token_ids.len() <= 128);
        for segment in row.segments() {
            let original = traces.iter().find(|t| t.trace_id == *segment.trace_id).unwrap();
            let tokens = format.conversation(&original.messages).unwrap();
            assert_eq!(segment.ids, tokens.ids);
            assert_eq!(segment.positions, (0..segment.ids.len() as u32).collect::<Vec<_>>());
            let mask: Vec<bool> = (0..tokens.ids.len()).map(|i| i >= tokens.prompt_len).collect();
            assert_eq!(segment.mask, mask);
        }
    }
}

#[test]
fn the_rows_are_the_same_for_any_number_of_threads() {
    let format = format();
    let traces: Vec<_> = (0..60).map(|n| trace(n, 1 + n % 40)).collect();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| pack(&traces, &format, Supervision::Thinking, settings(128, TooLong::Split)).unwrap())
    };
    assert_eq!(with(1), with(4));
}

#[test]
fn the_control_sees_the_answer_without_the_thinking() {
    let format = format();
    let (rows, _) = pack(&[trace(5, 3)], &format, Supervision::AnswerOnly, SHORT).unwrap();
    let text = format.tokenizer.decode(&rows[0].token_ids, true).unwrap();
    assert!(!text.contains("think") && text.ends_with("\\boxed{5}"), "{text}");
}

#[test]
fn what_does_not_fit_is_counted_or_refused() {
    let format = format();
    let (_, report) = pack(&[trace(1, 1), trace(2, 400)], &format, Supervision::Thinking, SHORT).unwrap();
    assert_eq!((report.examples, report.too_long, report.dropped, report.split_pieces), (1, 1, 1, 0));
    assert!(report.too_long_in_words().contains("1 too long and left out"));
    let message = pack(&[trace(2, 400)], &format, Supervision::Thinking, SHORT).unwrap_err().to_string();
    assert!(message.contains("sequence_length") && message.contains("split"), "{message}");
}

#[test]
fn a_split_conversation_is_all_there_behind_its_prompt() {
    let format = format();
    let long = trace(2, 60);
    let (rows, report) =
        pack(&[trace(1, 1), long.clone()], &format, Supervision::Thinking, settings(128, TooLong::Split)).unwrap();
    let whole = format.conversation(&long.messages).unwrap();
    let mut pieces: Vec<Segment<'_>> = rows.iter().flat_map(PackedRow::segments).collect();
    pieces.retain(|piece| piece.trace_id.as_str() == "t2");
    assert_eq!((report.examples, report.too_long, report.dropped), (2, 1, 0));
    assert_eq!(report.split_pieces, pieces.len());
    assert!(report.too_long_in_words().contains(&format!("1 split into {} pieces", pieces.len())));
    let (prompt, completion) = whole.ids.split_at(whole.prompt_len);
    for piece in &pieces {
        assert!(piece.ids.len() <= 128 && piece.ids.starts_with(prompt));
        assert_eq!(piece.positions, (0..piece.ids.len() as u32).collect::<Vec<_>>());
        assert!(piece.mask.iter().enumerate().all(|(i, counted)| *counted == (i >= prompt.len())));
        assert!(piece.ids.len() - prompt.len() > (128 - prompt.len()) / 2, "no short piece");
    }
    // Rows are shuffled: the pieces in the order in which they follow each other in the text.
    let mut at = 0;
    while at < completion.len() {
        let next = pieces.iter().position(|p| completion[at..].starts_with(&p.ids[prompt.len()..])).unwrap();
        let piece = pieces.remove(next);
        at += piece.ids.len() - prompt.len();
        assert_eq!(piece.ids.last() == Some(&format.end_of_turn_id), at == completion.len(), "only the last ends");
    }
    assert!(pieces.is_empty());
}

#[test]
fn a_prompt_that_leaves_no_room_is_left_out_and_counted() {
    let format = format();
    let mut wordy = trace(3, 60);
    wordy.messages[0] = Message::user("What is it? ".repeat(20));
    let (_, report) =
        pack(&[trace(1, 1), wordy], &format, Supervision::Thinking, settings(128, TooLong::Split)).unwrap();
    assert_eq!((report.examples, report.too_long, report.dropped, report.split_pieces), (1, 1, 1, 0));
}

/// R1's published mix (arXiv 2501.12948, Table 5): traces and mean tokens of each domain. The spread within a domain is
/// not published: log-normal with σ 0.8, where the 95th percentile is 2.7 times the mean.
#[test]
fn rows_of_32768_are_nearly_full_on_the_lengths_of_r1() {
    const MIX: [(f64, f64); 5] =
        [(395_285.0, 6094.2), (211_129.0, 7435.7), (10_124.0, 4928.8), (10_395.0, 2739.0), (177_812.0, 1419.8)];
    const SIGMA: f64 = 0.8;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut uniform = || rng.random_range(1e-12..1.0f64);
    let mut lengths = Vec::new();
    for (traces, mean) in MIX {
        for _ in 0..(traces / 100.0) as usize {
            let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
            let length = (mean.ln() - SIGMA * SIGMA / 2.0 + SIGMA * normal).exp().round() as usize;
            lengths.push(length.max(1));
        }
    }
    let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
    assert!((mean / 5355.3 - 1.0).abs() < 0.03, "the mix has the published mean: {mean}");
    lengths.retain(|length| *length <= 32_768);
    let rows = best_fit(&lengths, 32_768).len();
    let utilization = lengths.iter().sum::<usize>() as f64 / (rows * 32_768) as f64;
    assert!(utilization >= 0.97, "{utilization}");
}

proptest! {
    #[test]
    fn pieces_are_the_conversation(prompt in 1usize..60, completion in 1usize..2000, limit in 120usize..300) {
        let ids: Vec<u32> = (0..(prompt + completion) as u32).collect();
        let pieces: Vec<Tokens> = split(&Tokens { ids: ids.clone(), prompt_len: prompt }, limit).collect();
        let joined: Vec<u32> = pieces.iter().flat_map(|p| p.ids[prompt..].to_vec()).collect();
        prop_assert_eq!(&joined, &ids[prompt..]);
        prop_assert!(pieces.iter().all(|p| p.ids.len() <= limit && p.ids[..prompt] == ids[..prompt]));
    }

    #[test]
    fn best_fit_loses_nothing_and_overfills_nothing(lengths in prop::collection::vec(1usize..=100, 1..300)) {
        let bins = best_fit(&lengths, 100);
        let mut items: Vec<usize> = bins.iter().flatten().copied().collect();
        items.sort_unstable();
        prop_assert_eq!(items, (0..lengths.len()).collect::<Vec<_>>());
        for bin in &bins {
            prop_assert!(bin.iter().map(|i| lengths[*i]).sum::<usize>() <= 100);
        }
        // No two bins could have been one: best fit leaves at most one bin half empty.
        let half_empty = bins.iter().filter(|b| b.iter().map(|i| lengths[*i]).sum::<usize>() <= 50).count();
        prop_assert!(half_empty <= 1);
    }
}
