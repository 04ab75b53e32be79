//! Replies that other collections bought: found through the index, copied into one's own ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use records::record::{Prompt, TraceId};

use crate::ask::{Job, LEDGER_FILE, Request, jobs};
use crate::index::{Index, Unreadable, with_index};
use crate::ledger::Ledger;
use crate::{Error, Result};

/// All collections of a folder of runs: whoever made the folder knows where in it ledgers are.
#[derive(Debug, Clone)]
pub struct Runs {
    /// The folder, in which the index is.
    pub root: PathBuf,
    /// The ledgers.
    pub ledgers: Vec<PathBuf>,
}

/// What asking would come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Replies that are in the collection's own ledger.
    pub held: usize,
    /// Those that would be taken over, by the folder they are in.
    pub adopted: BTreeMap<String, usize>,
    /// Those that would be asked for.
    pub missing: usize,
    /// What else there is to say, a line each.
    pub notes: Vec<String>,
}

impl Runs {
    /// The name of a ledger in the index.
    fn place(&self, ledger: &Path) -> String {
        ledger.strip_prefix(&self.root).unwrap_or(ledger).to_string_lossy().into_owned()
    }

    fn places(&self, own: &Path) -> Vec<String> {
        self.ledgers.iter().map(PathBuf::as_path).chain([own]).map(|ledger| self.place(ledger)).collect()
    }

    /// Takes over what `ledger` lacks of the jobs and another holds, and claims the rest for it, if there is any: until
    /// [`settle`](Self::settle), other runs ask for none of it. Returns what there is to say.
    pub(crate) fn adopt(
        &self,
        jobs: &[Job<'_>],
        limit: u32,
        held: &mut [bool],
        ledger: &mut Ledger,
    ) -> Result<Vec<String>> {
        let (own, places) = (self.place(ledger.path()), self.places(ledger.path()));
        let (mut notes, mut is_first) = (Vec::new(), true);
        loop {
            let missing: Vec<u32> = (0..held.len()).filter(|&n| !held[n]).map(|n| n as u32).collect();
            if missing.is_empty() {
                return Ok(notes);
            }
            let (found, unreadable) = with_index(&self.root, &mut notes, |index| {
                let unreadable = index.refresh(&places)?;
                let wanted = missing.iter().map(|&n| (n, &jobs[n as usize].id));
                let found = index.find(&own, wanted, limit, &unreadable)?;
                self.refuse(&found.unreadable, &unreadable, missing.len())?;
                if found.readable.is_empty() {
                    let ids: Vec<&TraceId> = missing.iter().map(|&n| &jobs[n as usize].id).collect();
                    self.claim(index, &own, &ids)?;
                }
                Ok((found, unreadable))
            })?;
            if is_first {
                notes.extend(self.in_words(&unreadable));
                is_first = false;
            }
            if found.readable.is_empty() {
                return Ok(notes);
            }
            for (place, replies) in found.readable {
                notes.extend(self.copy(&place, &replies, jobs, held, ledger)?);
            }
        }
    }

    /// Copies replies from one ledger.
    fn copy(
        &self,
        place: &str,
        replies: &[(u32, u32)],
        jobs: &[Job<'_>],
        held: &mut [bool],
        ledger: &mut Ledger,
    ) -> Result<Option<String>> {
        let path = self.root.join(place);
        let wanted: Vec<(&TraceId, u32)> = replies.iter().map(|&(n, limit)| (&jobs[n as usize].id, limit)).collect();
        let there = match Ledger::read(&path)? {
            Some(other) => ledger.adopt(&other, folder(place), &wanted)?,
            None => vec![false; wanted.len()],
        };
        for (&(n, _), &is_there) in replies.iter().zip(&there) {
            held[n as usize] |= is_there;
        }
        let gone = there.iter().filter(|&&is_there| !is_there).count();
        if gone == 0 {
            return Ok(None);
        }
        // Rows that somebody deleted, or another copy of the file. It is read anew before anything is asked for.
        with_index(&self.root, &mut Vec::new(), |index| index.forget(place))?;
        Ok(Some(format!("ledger {}: {gone} replies that it held are gone from it", path.display())))
    }

    fn claim(&self, index: &Index, own: &str, ids: &[&TraceId]) -> Result<()> {
        match index.claim(own, ids)? {
            None => Ok(()),
            Some((place, count)) => Err(Error::Ledger {
                path: self.root.join(place),
                problem: format!(
                    "{count} of the {} replies wanted are being asked for by the run that uses it",
                    ids.len()
                ),
                remedy: "nothing was asked for: wait until that run has ended, and its replies are taken over",
            }),
        }
    }

    /// Whatever is known to be there must not be bought again.
    fn refuse(&self, there: &BTreeMap<String, usize>, unreadable: &[Unreadable], missing: usize) -> Result<()> {
        let Some((place, _)) = there.first_key_value() else { return Ok(()) };
        let count: usize = there.values().sum();
        let why = unreadable.iter().find(|ledger| ledger.place == *place).map_or("", |ledger| ledger.why.as_str());
        let others = match there.len() - 1 {
            0 => String::new(),
            others => format!(", and so are {others} other ledgers"),
        };
        Err(Error::Ledger {
            path: self.root.join(place),
            problem: format!(
                "{count} of the {missing} replies wanted are there, but it cannot be read ({why}){others}"
            ),
            remedy: "nothing was asked for: make it readable, or wait until whoever locks it has ended, and run again; or \
                     move it away to buy those replies again",
        })
    }

    fn in_words(&self, unreadable: &[Unreadable]) -> Vec<String> {
        let note = |ledger: &Unreadable| {
            let Unreadable { place, why, known } = ledger;
            let path = self.root.join(place);
            format!(
                "ledger {} cannot be read ({why}); of the {known} replies known to be in it, none is wanted that is nowhere else",
                path.display()
            )
        };
        unreadable.iter().map(note).collect()
    }

    /// Gives up what a ledger claims, and enters what it holds.
    pub(crate) fn settle(&self, ledger: &Path) -> Result<()> {
        let own = self.place(ledger);
        with_index(&self.root, &mut Vec::new(), |index| index.settle(&own))
    }
}

/// What [`Collection::open`](crate::Collection::open) would find, without taking over or claiming anything.
pub fn estimate(prompts: &[Prompt], request: &Request, dir: &Path, runs: &Runs) -> Result<Estimate> {
    let jobs = jobs(prompts, request)?;
    let limit = request.sampling.max_tokens;
    let path = dir.join(LEDGER_FILE);
    let ids = || jobs.iter().map(|job| &job.id);
    let ledger = if path.exists() { Ledger::read(&path)? } else { None };
    let held = ledger.map_or_else(|| Ok(vec![false; jobs.len()]), |ledger| ledger.has(ids(), limit))?;
    let mut notes = Vec::new();
    let missing = || (0..).zip(ids()).zip(&held).filter(|(_, held)| !**held).map(|(job, _)| job);
    let (own, places) = (runs.place(&path), runs.places(&path));
    let (found, unreadable) = with_index(&runs.root, &mut notes, |index| {
        let unreadable = index.refresh(&places)?;
        Ok((index.find(&own, missing(), limit, &unreadable)?, unreadable))
    })?;
    let stuck: usize = found.unreadable.values().sum();
    match runs.refuse(&found.unreadable, &unreadable, missing().count()) {
        Ok(()) => notes.extend(runs.in_words(&unreadable)),
        Err(error) => notes.push(error.to_string()),
    }
    let mut adopted = BTreeMap::new();
    for (place, replies) in found.readable {
        *adopted.entry(folder(&place).to_owned()).or_default() += replies.len();
    }
    let count = missing().count() - adopted.values().sum::<usize>() - stuck;
    Ok(Estimate { held: jobs.len() - missing().count(), adopted, missing: count, notes })
}

/// The folder of a ledger.
fn folder(place: &str) -> &str {
    place.strip_suffix(LEDGER_FILE).map_or(place, |folder| folder.trim_end_matches('/'))
}
