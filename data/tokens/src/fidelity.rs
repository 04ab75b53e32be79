//! Proof that token rows are what training is meant to see, before any training is paid for.
//!
//! Each check stands for a failure that others have trained through without a word: a mask that counts nothing or
//! everything (Megatron-Bridge #3359, marin #7237), an end of turn that is masked because it is also the padding token, so
//! that the model never stops (open-r1 PR 604, TRL #1623), two BOS tokens (open-r1 PR 462), ids beyond the embedding table.
//! That a trace's text, thinking included, is in its tokens is checked where they are made (`ChatFormat::conversation`).

use std::collections::BTreeMap;

use crate::chat::ChatFormat;
use crate::pack::{PackedRow, Segment};
use crate::tokenizer::Misplaced;
use records::record::TraceId;
use records::{Error, Result};

/// One check and what came of it.
#[derive(Debug)]
pub struct Finding {
    /// What is checked, in words that are true if it holds.
    pub claim: &'static str,
    /// What was looked at, or why this must not be trained on and what to do.
    pub outcome: Result<String>,
}

/// What a base can take in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Rows of its embedding table.
    pub vocab_size: usize,
    /// Tokens of its longest sequence.
    pub context: usize,
}

impl Capacity {
    /// Of a model with so many rows in its embedding table and so many positions.
    pub fn new(vocab_size: usize, context: usize) -> Self {
        Self { vocab_size, context }
    }
}

/// Every check on these rows.
pub fn findings(rows: &[PackedRow], format: &ChatFormat, base: Capacity) -> Vec<Finding> {
    let mut seen = Turns::default();
    for segment in rows.iter().flat_map(PackedRow::segments) {
        seen.look_at(segment, format);
    }
    let mut found = vec![added_tokens(format)];
    found.extend(numbers(rows, base));
    let bos = format.bos.as_deref().unwrap_or_default();
    let turn = format.tokenizer.token(format.end_of_turn_id).unwrap_or_default();
    let mut add = |claim, outcome| found.push(Finding { claim, outcome });
    let endless = seen.ends.iter().find(|(_, ended)| **ended != End::Supervised);
    add(
        "every trace's last supervised token ends the turn",
        match endless {
            None => Ok(format!("{turn:?} ({}), {} traces", format.end_of_turn_id, seen.ends.len())),
            Some((trace, End::Masked)) if format.pad_id() == Some(format.end_of_turn_id) => refuse(
                "pack",
                format!("{turn:?} ends the turn of trace {trace} and is masked: it is also the padding token"),
                "name another pad_token in the base's tokenizer_config.json, or the model never learns to stop",
            ),
            Some((trace, _)) => refuse(
                "pack",
                format!(
                    "{turn:?} does not end the supervised part of trace {trace}: the model would not learn to stop"
                ),
                "use rows that r1-distill packed from this base's tokenizer and template",
            ),
        },
    );
    add(
        "no conversation begins with two BOS tokens",
        match (&seen.double_bos, format.bos_id()) {
            (Some(trace), _) => refuse(
                "the base's tokenizer and chat template",
                format!("trace {trace} begins with {bos:?} twice"),
                "the template writes BOS, so the text must not bring its own: remove one of the two",
            ),
            (None, Some(id)) => Ok(format!(
                "{bos:?} ({id}) begins {} of {} conversations and pieces",
                seen.begin_with_bos, seen.segments
            )),
            (None, None) => Ok("the tokenizer has no BOS".into()),
        },
    );
    found
}

/// The checks that need no tokenizer: what the loss counts, and whether the base can take the rows in.
pub fn numbers<'a>(rows: impl IntoIterator<Item = &'a PackedRow>, base: Capacity) -> [Finding; 3] {
    let mut seen = Numbers::default();
    for segment in rows.into_iter().flat_map(PackedRow::segments) {
        seen.look_at(segment);
    }
    let mask = match seen.one_sided {
        // Without a supervised token there is nothing to divide a loss by.
        None if seen.supervised == 0 => {
            refuse("pack", "there is no conversation".to_owned(), "select some traces in curate.policy")
        }
        None => Ok(format!("{} of {} tokens counted", seen.supervised, seen.tokens)),
        Some((trace, counted, all)) => refuse(
            "pack",
            format!("the loss mask counts {counted} of {all} tokens of trace {trace}"),
            "its conversation needs a user turn and an assistant turn; leave it out in curate.policy",
        ),
    };
    let Capacity { vocab_size, context } = base;
    let vocabulary = if (seen.largest as usize) < vocab_size {
        Ok(format!("the largest is {} of {vocab_size}", seen.largest))
    } else {
        let problem = format!("token id {} does not exist in a vocabulary of {vocab_size}", seen.largest);
        refuse("student.base", problem, "use the tokenizer that belongs to this base")
    };
    let reach = if seen.longest <= context {
        Ok(format!("the longest has {} tokens of {context}", seen.longest))
    } else {
        let problem = format!("a trace has {} tokens, the base holds {context}", seen.longest);
        refuse("pack.sequence_length", problem, "lower it, or raise the base's context")
    };
    [
        Finding {
            claim: "the loss mask counts the assistant's part of each conversation, and only that",
            outcome: mask,
        },
        Finding { claim: "every token id has a row in the base's embedding table", outcome: vocabulary },
        Finding { claim: "no conversation is longer than the base's context", outcome: reach },
    ]
}

fn refuse<T>(what: &str, problem: String, remedy: &str) -> Result<T> {
    Err(Error::invalid(what, problem, remedy))
}

/// The check that needs no rows; without it, rows of such a tokenizer fail in odder ways.
pub fn added_tokens(format: &ChatFormat) -> Finding {
    let outcome = match format.tokenizer.misplaced() {
        None => Ok("tokenizer.json says so of each".into()),
        Some(Misplaced { token, declared, actual }) => {
            let actual = actual.map_or_else(|| "no token".to_owned(), |id| format!("id {id}"));
            Err(Error::invalid(
                "the base's tokenizer.json",
                format!("it gives {token:?} the id {declared}, but the text {token:?} becomes {actual}"),
                "put its added tokens into model.vocab under their ids, or take the tokenizer.json of the model's authors",
            ))
        }
    };
    Finding { claim: "added tokens have the ids that the model was trained with", outcome }
}

/// Refuses rows that do not pass every check.
pub fn check(rows: &[PackedRow], format: &ChatFormat, base: Capacity) -> Result<()> {
    findings(rows, format, base).into_iter().try_for_each(|finding| finding.outcome.map(|_| ()))
}

/// How the pieces of a trace end, the best of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Without the end of the turn.
    Missing,
    /// With it, and the loss does not count it.
    Masked,
    /// With it, and the loss counts it.
    Supervised,
}

/// What the numbers of all rows show.
#[derive(Default)]
struct Numbers<'a> {
    tokens: usize,
    supervised: usize,
    largest: u32,
    longest: usize,
    /// A trace whose mask counts none of its tokens, or all.
    one_sided: Option<(&'a TraceId, usize, usize)>,
}

impl<'a> Numbers<'a> {
    fn look_at(&mut self, segment: Segment<'a>) {
        let counted = segment.mask.iter().filter(|counted| **counted).count();
        self.tokens += segment.ids.len();
        self.supervised += counted;
        self.largest = self.largest.max(segment.ids.iter().copied().max().unwrap_or_default());
        // By position, which is what the base reaches; it is the number of tokens where rows are as they should be.
        let reached = segment.positions.iter().max().map_or(0, |position| *position as usize + 1);
        self.longest = self.longest.max(reached).max(segment.ids.len());
        if counted == 0 || counted == segment.ids.len() {
            self.one_sided.get_or_insert((segment.trace_id, counted, segment.ids.len()));
        }
    }
}

/// What the turns of all rows show.
#[derive(Default)]
struct Turns<'a> {
    segments: usize,
    begin_with_bos: usize,
    double_bos: Option<&'a TraceId>,
    /// Only the last piece of a split trace has the end of its turn.
    ends: BTreeMap<&'a TraceId, End>,
}

impl<'a> Turns<'a> {
    fn look_at(&mut self, segment: Segment<'a>, format: &ChatFormat) {
        self.segments += 1;
        if let Some(bos) = format.bos_id() {
            self.begin_with_bos += usize::from(segment.ids.starts_with(&[bos]));
            if segment.ids.starts_with(&[bos, bos]) {
                self.double_bos.get_or_insert(segment.trace_id);
            }
        }
        let end = match (segment.ids.last(), segment.mask.last()) {
            (Some(id), Some(true)) if *id == format.end_of_turn_id => End::Supervised,
            (Some(id), _) if *id == format.end_of_turn_id => End::Masked,
            _ => End::Missing,
        };
        let best = self.ends.entry(segment.trace_id).or_insert(end);
        *best = end.max(*best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{PackSettings, Supervision, TooLong, pack};
    use crate::template::Template;
    use crate::tokenizer::Tokenizer;
    use records::record::{CuratedTrace, Message, PromptId};

    const BASE: Capacity = Capacity { vocab_size: 300, context: 128 };

    fn format() -> ChatFormat {
        let corpus: Vec<String> = (0..50).map(|n| format!("What is {n}? so it goes.")).collect();
        ChatFormat::r1(Tokenizer::train(&corpus, 300).unwrap()).unwrap()
    }

    fn rows(format: &ChatFormat) -> Vec<PackedRow> {
        let text = format!("<think>\n{}\n</think>\n\n3", "so it goes. ".repeat(60));
        let trace = CuratedTrace {
            trace_id: TraceId::from_stored("t1"),
            prompt_id: PromptId::from_stored("p"),
            domain: "d".into(),
            kind: "k".into(),
            source: "s".into(),
            gold: None,
            messages: vec![Message::user("1 + 2?"), Message::assistant(text)],
            num_tokens: None,
        };
        let settings = PackSettings { sequence_length: 128, too_long: TooLong::Split, seed: 1 };
        pack(&[trace], format, Supervision::Thinking, settings).unwrap().0
    }

    /// The refusal that a change to good rows, or to the format they are checked against, brings.
    fn refusal(change: impl Fn(&mut Vec<PackedRow>, &mut ChatFormat)) -> String {
        let mut format = format();
        let mut rows = rows(&format);
        change(&mut rows, &mut format);
        check(&rows, &format, BASE).unwrap_err().to_string()
    }

    /// The row with the end of the turn.
    fn last(rows: &mut [PackedRow]) -> &mut PackedRow {
        rows.iter_mut().find(|row| row.token_ids.last() == Some(&1)).unwrap()
    }

    #[test]
    fn rows_of_split_conversations_pass_and_say_what_was_looked_at() {
        let format = format();
        let found = findings(&rows(&format), &format, BASE);
        assert_eq!(found.len(), 6);
        for finding in found {
            assert!(!finding.outcome.unwrap().is_empty());
        }
    }

    #[test]
    fn masks_of_all_zeros_and_all_ones_are_refused() {
        for value in [false, true] {
            let message = refusal(|rows, _| rows[0].loss_mask.fill(value));
            assert!(message.contains("loss mask counts") && message.contains("t1"), "{message}");
        }
    }

    #[test]
    fn a_missing_end_of_turn_is_refused() {
        let message = refusal(|rows, _| *last(rows).token_ids.last_mut().unwrap() = 40);
        assert!(message.contains("would not learn to stop"), "{message}");
    }

    #[test]
    fn an_end_of_turn_that_is_padding_and_masked_is_refused() {
        let mask = |rows: &mut Vec<PackedRow>| *last(rows).loss_mask.last_mut().unwrap() = false;
        let message = refusal(|rows, _| mask(rows));
        assert!(message.contains("masked") && message.contains("pad_token"), "{message}");
        let message = refusal(|rows, format| {
            mask(rows);
            format.pad = None;
        });
        assert!(message.contains("would not learn to stop") && !message.contains("pad_token"), "{message}");
    }

    #[test]
    fn added_tokens_that_moved_are_refused() {
        let good = format();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        good.tokenizer.save(&path).unwrap();
        assert!(Tokenizer::from_file(&path).unwrap().misplaced().is_none());
        let mut json: serde_json::Value = records::artifact::read_json(&path).unwrap();
        json["model"]["vocab"].as_object_mut().unwrap().remove("<｜User｜>").unwrap();
        std::fs::write(&path, json.to_string()).unwrap();
        let format = ChatFormat { tokenizer: Tokenizer::from_file(&path).unwrap(), ..good.clone() };
        let message = check(&rows(&good), &format, BASE).unwrap_err().to_string();
        assert!(message.contains("\"<｜User｜>\" the id 2, but") && message.contains("model.vocab"), "{message}");
    }

    #[test]
    fn two_bos_tokens_are_refused() {
        let mut twice = format();
        twice.template = Template::new(format!("{{{{ bos_token }}}}{}", twice.template.source())).unwrap();
        let message = check(&rows(&twice), &twice, BASE).unwrap_err().to_string();
        assert!(message.contains("twice") && message.contains("remove one"), "{message}");
    }

    #[test]
    fn ids_beyond_the_embedding_table_are_refused() {
        let message = refusal(|rows, _| rows[0].token_ids[9] = 300);
        assert!(message.contains("token id 300") && message.contains("vocabulary of 300"), "{message}");
    }

    #[test]
    fn conversations_beyond_the_context_are_refused() {
        let format = format();
        let found = |context| numbers(&rows(&format), Capacity { context, ..BASE });
        let [.., longest] = found(128);
        let longest: usize = longest.outcome.unwrap().split(' ').nth(3).unwrap().parse().unwrap();
        assert!((2..=128).contains(&longest), "{longest}");
        assert!(found(longest)[2].outcome.is_ok());
        let [mask, vocabulary, context] = found(longest - 1);
        assert!(mask.outcome.is_ok() && vocabulary.outcome.is_ok());
        let message = context.outcome.unwrap_err().to_string();
        assert!(message.starts_with("pack.sequence_length: a trace has"), "{message}");
        let message = refusal(|rows, _| rows[0].position_ids[9] = 128);
        assert!(message.contains("a trace has 129 tokens, the base holds 128"), "{message}");
    }

    #[test]
    fn no_conversation_at_all_is_refused() {
        let message = refusal(|rows, _| rows.clear());
        assert!(message.contains("there is no conversation"), "{message}");
    }
}
