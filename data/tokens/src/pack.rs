//! Packing: tokenized conversations into rows of at most `sequence_length` tokens, best fit first.
//!
//! Every row carries segment ids (which conversation a token belongs to) and position ids (restarting at 0 in each),
//! so that no token sees another conversation. What to do with a conversation that is longer than a row is the recipe's
//! choice ([`TooLong`]); nothing is cut off silently, and all of it is counted in [`PackReport`].

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chat::{ChatFormat, Tokens};
use records::record::{CuratedTrace, Message, TraceId};
use records::{Error, Result};

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
    pub trace_ids: Vec<TraceId>,
}

/// What packing did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackReport {
    /// Conversations packed, whole or in pieces.
    pub examples: usize,
    /// Conversations longer than `sequence_length`.
    pub too_long: usize,
    /// Of these, those left out: all, or under [`TooLong::Split`] those whose prompt fills half a row or more.
    pub dropped: usize,
    /// Pieces that the others were split into.
    pub split_pieces: usize,
    /// Rows.
    pub rows: usize,
    /// Tokens packed.
    pub tokens: u64,
    /// Of these, tokens the loss counts.
    pub supervised_tokens: u64,
    /// Tokens packed ÷ (rows × `sequence_length`).
    pub utilization: f64,
}

/// What is done with a conversation that is longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// It is left out.
    Drop,
    /// It becomes several pieces of about equal length: in each the whole prompt, masked, then the next stretch of the
    /// assistant's text. Positions restart in each piece: a piece is a conversation like any other, and no position is
    /// beyond what the base holds, which is what makes a long trace a problem to begin with. Only the last piece
    /// has the end of the turn, and none is so short that it would teach to end right after the prompt.
    Split,
}

/// How conversations become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSettings {
    /// Tokens of a row.
    pub sequence_length: usize,
    /// What is done with longer conversations.
    pub too_long: TooLong,
    /// Seed of the order of rows.
    pub seed: u64,
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

/// Tokenizes and packs, on all threads of the current rayon pool; the result does not depend on how many those are. Rows
/// come in an order drawn from the seed.
pub fn pack(
    traces: &[CuratedTrace],
    format: &ChatFormat,
    supervision: Supervision,
    settings: PackSettings,
) -> Result<(Vec<PackedRow>, PackReport)> {
    let limit = settings.sequence_length;
    // Collected before the first error is looked for, so that it is the same one every time.
    let tokenized: Vec<Result<Tokens>> = traces
        .par_iter()
        .map(|trace| {
            format.conversation(&supervised(&trace.messages, supervision)).map_err(|e| of_trace(&trace.trace_id, e))
        })
        .collect();
    let mut pieces: Vec<(&TraceId, Tokens)> = Vec::with_capacity(traces.len());
    let (mut too_long, mut dropped, mut split_pieces) = (0, 0, 0);
    for (trace, tokens) in traces.iter().zip(tokenized) {
        let tokens = tokens?;
        if tokens.ids.len() <= limit {
            pieces.push((&trace.trace_id, tokens));
            continue;
        }
        too_long += 1;
        if settings.too_long == TooLong::Drop || tokens.prompt_len * 2 >= limit {
            dropped += 1;
            continue;
        }
        let before = pieces.len();
        pieces.extend(split(&tokens, limit).map(|piece| (&trace.trace_id, piece)));
        split_pieces += pieces.len() - before;
    }
    if pieces.is_empty() {
        return Err(Error::invalid(
            "pack.sequence_length",
            format!("none of {} traces fits into {limit} tokens", traces.len()),
            "raise it, set pack.too_long to \"split\", or select shorter traces in curate.policy",
        ));
    }
    let lengths: Vec<usize> = pieces.iter().map(|(_, tokens)| tokens.ids.len()).collect();
    let mut rows: Vec<PackedRow> = best_fit(&lengths, limit)
        .into_par_iter()
        .map(|bin| {
            let mut row = PackedRow::empty();
            for index in bin {
                let (trace_id, tokens) = &pieces[index];
                row.push(trace_id, &tokens.ids, tokens.prompt_len);
            }
            row
        })
        .collect();
    rows.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.seed));
    let tokens: u64 = lengths.iter().map(|n| *n as u64).sum();
    let report = PackReport {
        examples: traces.len() - dropped,
        too_long,
        dropped,
        split_pieces,
        rows: rows.len(),
        tokens,
        supervised_tokens: rows.iter().map(PackedRow::supervised_tokens).sum(),
        utilization: tokens as f64 / (rows.len() * limit) as f64,
    };
    Ok((rows, report))
}

/// An error with the trace it is about.
fn of_trace(trace_id: &TraceId, error: Error) -> Error {
    match error {
        Error::Invalid { what, problem, remedy } => {
            Error::invalid(format!("trace {trace_id}: {what}"), problem, remedy)
        }
        other => other,
    }
}

/// Pieces of about equal length, each the prompt and a stretch of what follows it. The prompt must leave room.
fn split(tokens: &Tokens, limit: usize) -> impl Iterator<Item = Tokens> {
    let (prompt, completion) = tokens.ids.split_at(tokens.prompt_len);
    let (all, pieces) = (completion.len(), completion.len().div_ceil(limit - prompt.len()));
    (0..pieces).map(move |n| {
        let stretch = &completion[all * n / pieces..all * (n + 1) / pieces];
        Tokens { ids: [prompt, stretch].concat(), prompt_len: prompt.len() }
    })
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

impl PackReport {
    /// How many were too long and what became of them, in words.
    pub fn too_long_in_words(&self) -> String {
        match (self.too_long, self.split_pieces) {
            (0, _) => "none too long".into(),
            (n, 0) => format!("{n} too long and left out"),
            (n, pieces) => {
                format!("{n} too long ({} split into {pieces} pieces, {} left out)", n - self.dropped, self.dropped)
            }
        }
    }
}

/// Stands for the trace of a segment that a row names none for.
static UNNAMED: LazyLock<TraceId> = LazyLock::new(|| TraceId::from_stored(""));

/// One conversation of a row, or one piece of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The trace it came from.
    pub trace_id: &'a TraceId,
    /// Token ids.
    pub ids: &'a [u32],
    /// Whether the loss counts the prediction of each.
    pub mask: &'a [bool],
    /// Position of each.
    pub positions: &'a [u32],
}

impl PackedRow {
    /// The conversations of the row, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let mut start = 0;
        self.segment_ids.chunk_by(|a, b| a == b).map(move |same| {
            let range = start..start + same.len();
            start = range.end;
            Segment {
                trace_id: self.trace_ids.get(same[0] as usize).unwrap_or(&UNNAMED),
                ids: &self.token_ids[range.clone()],
                mask: &self.loss_mask[range.clone()],
                positions: &self.position_ids[range],
            }
        })
    }

    fn empty() -> Self {
        Self {
            token_ids: Vec::new(),
            loss_mask: Vec::new(),
            segment_ids: Vec::new(),
            position_ids: Vec::new(),
            trace_ids: Vec::new(),
        }
    }

    fn push(&mut self, trace_id: &TraceId, ids: &[u32], prompt_len: usize) {
        let segment = self.trace_ids.len() as u32;
        self.token_ids.extend_from_slice(ids);
        self.loss_mask.extend((0..ids.len()).map(|i| i >= prompt_len));
        self.segment_ids.extend(std::iter::repeat_n(segment, ids.len()));
        self.position_ids.extend(0..ids.len() as u32);
        self.trace_ids.push(trace_id.clone());
    }

    /// Tokens whose prediction the loss counts.
    pub fn supervised_tokens(&self) -> u64 {
        self.loss_mask.iter().filter(|counted| **counted).count() as u64
    }
}

#[cfg(test)]
mod tests;
