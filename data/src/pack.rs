//! Packing: tokenized conversations into rows of at most `sequence_length` tokens, best fit first.
//!
//! Every row carries segment ids (which conversation a token belongs to) and position ids (restarting at 0 in each),
//! so that no token sees another conversation. A conversation is never cut: one that is too long is dropped and counted.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::chat::ChatFormat;
use crate::record::{CuratedTrace, Message};
use crate::{Error, Result};

/// Several conversations in one row; plain integers, all lists of one length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedRow {
    /// Token ids.
    pub token_ids: Vec<u32>,
    /// Whether the loss counts the prediction OF this token.
    pub loss_mask: Vec<bool>,
    /// Which conversation of the row, from 0.
    pub segment_ids: Vec<u32>,
    /// Position within the conversation, from 0.
    pub position_ids: Vec<u32>,
    /// The trace each segment came from.
    pub trace_ids: Vec<String>,
}

/// What packing did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackReport {
    /// Conversations packed.
    pub examples: usize,
    /// Conversations longer than `sequence_length`, left out.
    pub too_long: usize,
    /// Rows.
    pub rows: usize,
    /// Tokens packed.
    pub tokens: u64,
    /// Of these, tokens the loss counts.
    pub supervised_tokens: u64,
    /// Tokens packed ÷ (rows × `sequence_length`).
    pub utilization: f64,
    /// Tokens of each packed conversation.
    pub lengths: Vec<u32>,
}

/// What the assistant's turn is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supervision {
    /// The thinking and the answer, as the teacher wrote them.
    Thinking,
    /// Only what follows `</think>`: the control that shows what the thinking is worth.
    AnswerOnly,
}

/// Tokenizes and packs. Rows come in an order drawn from `seed`.
pub fn pack(
    traces: &[CuratedTrace],
    format: &ChatFormat,
    supervision: Supervision,
    sequence_length: usize,
    seed: u64,
) -> Result<(Vec<PackedRow>, PackReport)> {
    let mut examples = Vec::with_capacity(traces.len());
    let mut too_long = 0;
    for trace in traces {
        let tokens = format.conversation(&supervised(&trace.messages, supervision))?;
        if tokens.ids.len() > sequence_length {
            too_long += 1;
        } else {
            examples.push((trace.trace_id.as_str(), tokens));
        }
    }
    if examples.is_empty() {
        return Err(Error::invalid(
            "pack.sequence_length",
            format!("none of {} traces fits into {sequence_length} tokens", traces.len()),
            "raise it, or select shorter traces in curate.policy",
        ));
    }
    let lengths: Vec<usize> = examples.iter().map(|(_, tokens)| tokens.ids.len()).collect();
    let mut rows: Vec<PackedRow> = best_fit(&lengths, sequence_length)
        .into_iter()
        .map(|bin| {
            let mut row = PackedRow::empty();
            for index in bin {
                let (trace_id, tokens) = &examples[index];
                row.push(trace_id, &tokens.ids, tokens.prompt_len);
            }
            row
        })
        .collect();
    rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let tokens: u64 = lengths.iter().map(|n| *n as u64).sum();
    let report = PackReport {
        examples: examples.len(),
        too_long,
        rows: rows.len(),
        tokens,
        supervised_tokens: rows.iter().map(PackedRow::supervised_tokens).sum(),
        utilization: tokens as f64 / (rows.len() * sequence_length) as f64,
        lengths: lengths.iter().map(|n| *n as u32).collect(),
    };
    Ok((rows, report))
}

/// The conversation with the part of the assistant's text that is trained on.
fn supervised(messages: &[Message], supervision: Supervision) -> Vec<Message> {
    let mut messages = messages.to_vec();
    if let (Supervision::AnswerOnly, Some(last)) = (supervision, messages.last_mut())
        && let Some((_, answer)) = last.content.rsplit_once("</think>")
    {
        last.content = answer.trim_start().to_owned();
    }
    messages
}

/// Best-fit decreasing: each item goes into the fullest bin that still holds it. Returns item indexes by bin.
fn best_fit(lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(lengths[*i]));
    let mut bins: Vec<Vec<usize>> = Vec::new();
    let mut by_space: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for item in order {
        let length = lengths[item];
        let fit = by_space.range(length..).next().map(|(space, _)| *space);
        let (bin, space) = if let Some(space) = fit {
            let open = by_space.entry(space).or_default();
            let bin = open.pop().unwrap_or_default();
            if open.is_empty() {
                by_space.remove(&space);
            }
            (bin, space)
        } else {
            bins.push(Vec::new());
            (bins.len() - 1, capacity)
        };
        bins[bin].push(item);
        by_space.entry(space - length).or_default().push(bin);
    }
    bins
}

impl PackedRow {
    fn empty() -> Self {
        Self {
            token_ids: Vec::new(),
            loss_mask: Vec::new(),
            segment_ids: Vec::new(),
            position_ids: Vec::new(),
            trace_ids: Vec::new(),
        }
    }

    fn push(&mut self, trace_id: &str, ids: &[u32], prompt_len: usize) {
        let segment = self.trace_ids.len() as u32;
        self.token_ids.extend_from_slice(ids);
        self.loss_mask.extend((0..ids.len()).map(|i| i >= prompt_len));
        self.segment_ids.extend(std::iter::repeat_n(segment, ids.len()));
        self.position_ids.extend(0..ids.len() as u32);
        self.trace_ids.push(trace_id.to_owned());
    }

    /// Tokens whose prediction the loss counts.
    pub fn supervised_tokens(&self) -> u64 {
        self.loss_mask.iter().filter(|counted| **counted).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;
    use proptest::prelude::*;

    fn trace(n: usize, thinking: usize) -> CuratedTrace {
        let text = format!("<think>\n{}\n</think>\n\n\\boxed{{{n}}}", "so it goes. ".repeat(thinking));
        CuratedTrace {
            trace_id: format!("t{n}"),
            prompt_id: "p".into(),
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

    #[test]
    fn every_conversation_is_packed_once_and_whole() {
        let format = format();
        let traces: Vec<_> = (0..40).map(|n| trace(n, 1 + n % 9)).collect();
        let (rows, report) = pack(&traces, &format, Supervision::Thinking, 128, 7).unwrap();
        let mut seen: Vec<String> = rows.iter().flat_map(|r| r.trace_ids.clone()).collect();
        seen.sort();
        let mut expected: Vec<String> = traces.iter().map(|t| t.trace_id.clone()).collect();
        expected.sort();
        assert_eq!(seen, expected);
        assert_eq!(report.too_long, 0);
        for row in &rows {
            assert!(row.token_ids.len() <= 128);
            for (segment, trace_id) in row.trace_ids.iter().enumerate() {
                let at: Vec<usize> =
                    (0..row.token_ids.len()).filter(|i| row.segment_ids[*i] == segment as u32).collect();
                let original = traces.iter().find(|t| t.trace_id == *trace_id).unwrap();
                let tokens = format.conversation(&original.messages).unwrap();
                assert_eq!(at.iter().map(|i| row.token_ids[*i]).collect::<Vec<_>>(), tokens.ids);
                assert_eq!(
                    at.iter().map(|i| row.position_ids[*i]).collect::<Vec<_>>(),
                    (0..at.len() as u32).collect::<Vec<_>>()
                );
                let counted = at.iter().filter(|i| row.loss_mask[**i]).count();
                assert_eq!(counted, tokens.ids.len() - tokens.prompt_len);
            }
        }
        let (again, _) = pack(&traces, &format, Supervision::Thinking, 128, 7).unwrap();
        assert_eq!(rows, again, "the order is the seed's");
    }

    #[test]
    fn the_control_sees_the_answer_without_the_thinking() {
        let format = format();
        let (rows, _) = pack(&[trace(5, 3)], &format, Supervision::AnswerOnly, 128, 1).unwrap();
        let text = format.tokenizer.decode(&rows[0].token_ids, true).unwrap();
        assert!(!text.contains("think") && text.ends_with("\\boxed{5}"), "{text}");
    }

    #[test]
    fn what_does_not_fit_is_counted_or_refused() {
        let format = format();
        let (_, report) = pack(&[trace(1, 1), trace(2, 400)], &format, Supervision::Thinking, 128, 1).unwrap();
        assert_eq!((report.examples, report.too_long), (1, 1));
        let message = pack(&[trace(2, 400)], &format, Supervision::Thinking, 128, 1).unwrap_err().to_string();
        assert!(message.contains("sequence_length"), "{message}");
    }

    proptest! {
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
}
