//! The judge of stage 3: a model is asked about the traces that rules cannot tell.
//!
//! Its replies are in `judge/ledger.sqlite` in the stage's folder. A request is known by its text and by how it is asked,
//! so that replies of other runs are adopted: with another policy nothing is asked again, with another model all is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use curate::{JudgeConfig, JudgeVerdict, Judging, Opinion, REMINDER};
use records::record::{Prompt, PromptId, Trace};
use serde::{Deserialize, Serialize};

use super::replies::{add, runs, say_notes};
use crate::console::{Progress, say};
use crate::error::{Failure, Result};
use crate::layout;
use crate::run::Run;
use crate::run::endpoints::reach_judge;

/// The summary of what the judge was asked and said.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct JudgeSummary {
    /// The judge.
    model: String,
    /// Traces that the condition selects; those without a final answer, or without a gold answer that the prompt names,
    /// are not judged.
    selected: usize,
    /// Traces that were judged.
    judged: usize,
    /// Those that are right, wrong, and undecided for either reason.
    correct: usize,
    incorrect: usize,
    unreadable: usize,
    refused: usize,
    /// Replies, those of earlier and of other runs included.
    replies: usize,
    /// Those that other collections bought, in this run or an earlier one.
    adopted: usize,
    /// The folders of those collections, relative to the folder of runs, with the number from each.
    pub adopted_from: BTreeMap<String, usize>,
    /// Those that this run asked for.
    new: usize,
    /// Tokens of all replies that say.
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// Judges what the recipe's condition selects, and completes the verdicts in `dir`.
pub(super) fn judge(
    run: &Run,
    config: &JudgeConfig,
    prompts: &[Prompt],
    traces: &Path,
    dir: &Path,
) -> Result<JudgeSummary> {
    let judging = run.runtime.block_on(Judging::new(config, prompts, traces, dir))?;
    let mut summary =
        JudgeSummary { model: config.model.clone(), selected: judging.selected(), ..JudgeSummary::default() };
    let bar = Progress::new(layout::JUDGE, judging.selected() as u64);
    let runs = runs(&run.options.runs)?;
    let folder = dir.join(layout::JUDGE);
    let mut asker = Asker { run, config, folder, runs: &runs, said: BTreeSet::new(), endpoint: None, bar };
    for batch in judging.batches() {
        let batch = batch?;
        let mut opinions = asker.ask(&batch.requests, "", &mut summary)?;
        if let Some(refused) = opinions.first()
            && summary.replies == 0
        {
            // Not those answers: the endpoint takes no such requests.
            let problem = format!("it refuses all {} requests, as in: {}", opinions.len(), refused.analysis);
            return Err(Failure::endpoint(problem).about(&asker.who()));
        }
        let unclear: Vec<usize> =
            (0..opinions.len()).filter(|&n| opinions[n].verdict == JudgeVerdict::Unreadable).collect();
        let again: Vec<Prompt> = unclear.iter().map(|&n| batch.requests[n].clone()).collect();
        for (n, second) in unclear.into_iter().zip(asker.ask(&again, REMINDER, &mut summary)?) {
            // Refused this time, it was read as little.
            if second.verdict != JudgeVerdict::Refused {
                opinions[n] = second;
            }
        }
        summary.count(&judging.record(&batch, &opinions)?);
    }
    say(&summary.in_words());
    Ok(summary)
}

/// Asks the judge, unless its replies are there.
struct Asker<'a> {
    run: &'a Run,
    config: &'a JudgeConfig,
    folder: PathBuf,
    /// Where other replies may be.
    runs: &'a teacher::Runs,
    /// What was said of them.
    said: BTreeSet<String>,
    /// Reached for the first request that needs it.
    endpoint: Option<teacher::Endpoint>,
    bar: Progress,
}

impl Asker<'_> {
    fn who(&self) -> String {
        format!("judge {}", self.config.model)
    }

    /// What the judge says to each of the prompts, with `instruction` at their ends.
    fn ask(&mut self, prompts: &[Prompt], instruction: &str, summary: &mut JudgeSummary) -> Result<Vec<Opinion>> {
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let request = teacher::Request {
            teacher: self.config.model.clone(),
            instruction: instruction.to_owned(),
            samples: 1,
            sampling: self.config.sampling,
            seed: 0,
        };
        let mut collection = teacher::Collection::open(prompts, &request, &self.folder, Some(self.runs))?;
        say_notes(collection.notes(), &mut self.said);
        let missing = collection.missing();
        let refused = if missing == 0 {
            HashMap::new()
        } else {
            let who = self.who();
            self.ask_missing(&mut collection, summary).map_err(|failure| failure.about(&who))?
        };
        summary.new += missing - refused.len();
        let from = collection.adopted_from()?;
        summary.adopted += from.values().sum::<usize>();
        add(&mut summary.adopted_from, from);
        let replies = collection.replies()?;
        for reply in replies.iter().flatten() {
            summary.replies += 1;
            summary.prompt_tokens += u64::from(reply.prompt_tokens.unwrap_or(0));
            summary.completion_tokens += u64::from(reply.completion_tokens.unwrap_or(0));
        }
        opinions(prompts, &replies, &refused).map_err(|failure| failure.about(&self.who()))
    }

    /// Returns what the endpoint refused.
    fn ask_missing(
        &mut self,
        collection: &mut teacher::Collection<'_>,
        so_far: &JudgeSummary,
    ) -> Result<HashMap<PromptId, String>> {
        let endpoint = match self.endpoint.take() {
            Some(endpoint) => endpoint,
            None => reach_judge(self.run, self.config)?,
        };
        let endpoint = self.endpoint.insert(endpoint);
        let progress = |p: teacher::Progress| {
            let message = format!("{} tokens, {} failed", p.completion_tokens, p.failed);
            self.bar.set((so_far.judged + p.done) as u64, so_far.selected as u64, &message);
        };
        let stop = self.run.stop.watch();
        let asking = collection.ask(endpoint, &stop, &progress);
        Ok(self.run.runtime.block_on(asking)?)
    }
}

/// The opinion on each prompt. `refused` has the endpoint's words by the prompt's id.
fn opinions(
    prompts: &[Prompt],
    replies: &[Option<Trace>],
    refused: &HashMap<PromptId, String>,
) -> Result<Vec<Opinion>> {
    let opinion = |(prompt, reply): (&Prompt, &Option<Trace>)| match (reply, refused.get(&prompt.id)) {
        (Some(reply), _) => Ok(Opinion::of_reply(reply)),
        (None, Some(refusal)) => Ok(Opinion::of_refusal(refusal)),
        (None, None) => Err(Failure::failed(format!(
            "request {} has neither a reply nor a refusal; run again to ask it",
            prompt.id
        ))),
    };
    prompts.iter().zip(replies).map(opinion).collect()
}

impl JudgeSummary {
    fn count(&mut self, verdicts: &[JudgeVerdict]) {
        self.judged += verdicts.len();
        for verdict in verdicts {
            *match verdict {
                JudgeVerdict::Correct => &mut self.correct,
                JudgeVerdict::Incorrect => &mut self.incorrect,
                JudgeVerdict::Unreadable => &mut self.unreadable,
                JudgeVerdict::Refused => &mut self.refused,
            } += 1;
        }
    }

    fn in_words(&self) -> String {
        let Self { model, judged, selected, correct, incorrect, unreadable, refused, replies, new, adopted, .. } = self;
        let tokens = self.completion_tokens;
        format!(
            "    judge {model}: {judged} of {selected} traces judged: {correct} correct, {incorrect} incorrect, {unreadable} \
             unreadable, {refused} refused; {replies} replies of {tokens} tokens, {new} of them new, {adopted} adopted"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::record::TraceId;

    #[test]
    fn a_request_without_a_reply_is_named() {
        let prompts = ["one", "two"].map(|question| Prompt::new("d", "k", question, None, "s"));
        let reply = Trace::new(TraceId::from_stored("t"), prompts[0].id.clone(), "judge", 0);
        let refused = HashMap::from([(prompts[1].id.clone(), "too long".to_owned())]);
        assert_eq!(opinions(&prompts, &[Some(reply.clone()), None], &refused).unwrap().len(), 2);
        let message = opinions(&prompts, &[Some(reply), None], &HashMap::new()).unwrap_err().to_string();
        assert!(message.contains(prompts[1].id.as_str()), "{message}");
    }
}
