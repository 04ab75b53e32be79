//! From band hashes to clusters: candidates by sorting, then verification, then union-find.

use std::collections::HashMap;

use rayon::prelude::*;

use super::{Near, jaccard};
use records::Result;

/// Texts that a text is compared with in one band, at most. With more different ones under one hash, later ones join
/// whom they match among these: work stays linear in the texts, however large a band's group is.
const MOST_LEADERS: usize = 16;

/// The sketches of many texts; what is kept of a text is narrow.
#[derive(Debug)]
pub struct Sketches {
    settings: Near,
    /// Band hashes, text after text.
    bands: Vec<u64>,
    digests: Vec<u128>,
    shingles: Vec<u32>,
    /// Only texts of one group are compared.
    groups: Vec<u32>,
}

/// Which texts are duplicates of one another.
#[derive(Debug, PartialEq, Eq)]
pub struct Clusters {
    /// For each text, the first text of its cluster: itself, if it is no duplicate.
    pub first: Vec<u32>,
    /// For each text, whether an earlier one is equal to it.
    pub exact: Vec<bool>,
}

impl Sketches {
    /// None yet.
    pub fn new(settings: Near) -> Self {
        Self { settings, bands: Vec::new(), digests: Vec::new(), shingles: Vec::new(), groups: Vec::new() }
    }

    /// Adds the next text as [`super::Sketcher::sketch`] gives it: its bands are appended to the slice's.
    pub fn push(&mut self, digest: u128, bands: &[u64], shingles: usize, group: u32) {
        debug_assert_eq!(bands.len(), self.settings.bands);
        self.bands.extend_from_slice(bands);
        self.digests.push(digest);
        self.shingles.push(shingles as u32);
        self.groups.push(group);
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The number of sequences of words of a text, equal ones counted each time.
    pub fn shingles(&self, row: u32) -> usize {
        self.shingles[row as usize] as usize
    }

    /// For each text the first equal one of its group.
    fn equal(&self) -> Vec<u32> {
        let mut seen = HashMap::with_capacity(self.len());
        (0..).zip(self.digests.iter().zip(&self.groups)).map(|(row, key)| *seen.entry(key).or_insert(row)).collect()
    }

    /// Rows of equal hash in one band, in order, two or more; equal texts are represented by the first.
    fn runs(&self, band: usize, equal: &[u32]) -> Vec<Vec<u32>> {
        let mut keys: Vec<(u32, u64, u32)> = (0..self.len() as u32)
            .filter(|row| equal[*row as usize] == *row && self.shingles[*row as usize] > 0)
            .map(|row| (self.groups[row as usize], self.bands[row as usize * self.settings.bands + band], row))
            .collect();
        keys.par_sort_unstable();
        let same = |a: &(u32, u64, u32), b: &(u32, u64, u32)| (a.0, a.1) == (b.0, b.1);
        keys.chunk_by(same).filter(|run| run.len() > 1).map(|run| run.iter().map(|key| key.2).collect()).collect()
    }
}

/// Disjoint sets of texts, each under its first one (Tarjan 1975, with path halving).
struct Sets(Vec<u32>);

impl Sets {
    fn find(&mut self, mut row: u32) -> u32 {
        while self.0[row as usize] != row {
            let parent = self.0[self.0[row as usize] as usize];
            self.0[row as usize] = parent;
            row = parent;
        }
        row
    }

    fn unite(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}

/// Finds the clusters. `load` gives the sets of shingles of some texts, whose rows ascend; it is called as often as they
/// fit into `memory` bytes, and each time reads only texts that have a candidate.
pub fn clusters(
    sketches: &Sketches,
    memory: usize,
    mut load: impl FnMut(&[u32]) -> Result<Vec<Vec<u32>>>,
) -> Result<Clusters> {
    let equal = sketches.equal();
    let runs: Vec<Vec<u32>> = (0..sketches.settings.bands).flat_map(|band| sketches.runs(band, &equal)).collect();
    let mut candidates = Sets((0..sketches.len() as u32).collect());
    for run in &runs {
        run.windows(2).for_each(|pair| candidates.unite(pair[0], pair[1]));
    }
    let mut sets = if sketches.settings.threshold > 0.0 {
        verified(sketches, memory, &runs, candidates, &mut load)?
    } else {
        candidates
    };
    let exact: Vec<bool> = (0..).zip(&equal).map(|(row, first)| row != *first).collect();
    let first = equal.iter().map(|row| sets.find(*row)).collect();
    Ok(Clusters { first, exact })
}

/// One component of the graph of candidates: its rows and its runs.
#[derive(Default)]
struct Component<'a> {
    rows: Vec<u32>,
    runs: Vec<&'a [u32]>,
}

fn verified(
    sketches: &Sketches,
    memory: usize,
    runs: &[Vec<u32>],
    mut candidates: Sets,
    load: &mut impl FnMut(&[u32]) -> Result<Vec<Vec<u32>>>,
) -> Result<Sets> {
    let mut components: HashMap<u32, Component> = HashMap::new();
    for run in runs {
        let component = components.entry(candidates.find(run[0])).or_default();
        component.rows.extend(run);
        component.runs.push(run);
    }
    let mut components: Vec<Component> = components.into_values().collect();
    for component in &mut components {
        component.rows.sort_unstable();
        component.rows.dedup();
    }
    components.sort_unstable_by_key(|component| component.rows[0]);

    let bytes = |c: &Component| c.rows.iter().map(|row| 4 * sketches.shingles[*row as usize] as usize).sum::<usize>();
    let mut sets = Sets((0..sketches.len() as u32).collect());
    let mut rest = components.as_slice();
    while !rest.is_empty() {
        let mut total = 0;
        let fit = rest.iter().take_while(|component| {
            total += bytes(component);
            total <= memory
        });
        // A component larger than the memory is taken alone.
        let (batch, after) = rest.split_at(fit.count().max(1));
        rest = after;
        let mut rows: Vec<u32> = batch.iter().flat_map(|component| &component.rows).copied().collect();
        rows.sort_unstable();
        let shingles: HashMap<u32, Vec<u32>> = rows.iter().copied().zip(load(&rows)?).collect();
        let threshold = sketches.settings.threshold;
        let pairs: Vec<Vec<(u32, u32)>> =
            batch.par_iter().map(|component| duplicates(component, &shingles, threshold)).collect();
        for (a, b) in pairs.into_iter().flatten() {
            sets.unite(a, b);
        }
    }
    Ok(sets)
}

/// The pairs of a component that are duplicates, as many as hold its clusters together.
fn duplicates(component: &Component, shingles: &HashMap<u32, Vec<u32>>, threshold: f64) -> Vec<(u32, u32)> {
    let place = |row: u32| component.rows.binary_search(&row).map_or(0, |at| at as u32);
    let mut sets = Sets((0..component.rows.len() as u32).collect());
    let mut apart = std::collections::HashSet::new();
    let mut pairs = Vec::new();
    for run in &component.runs {
        let mut leaders: Vec<u32> = Vec::new();
        for row in *run {
            let mut joined = false;
            for leader in &leaders {
                if sets.find(place(*leader)) == sets.find(place(*row)) {
                    joined = true;
                } else if !apart.contains(&(*leader, *row)) {
                    if jaccard(&shingles[leader], &shingles[row]) >= threshold {
                        sets.unite(place(*leader), place(*row));
                        pairs.push((*leader, *row));
                        joined = true;
                    } else {
                        apart.insert((*leader, *row));
                    }
                }
            }
            if !joined && leaders.len() < MOST_LEADERS {
                leaders.push(*row);
            }
        }
    }
    pairs
}
