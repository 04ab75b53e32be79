//! The table of seeds that a recipe may name, as `r1-distill seeds` writes it.

use std::path::{Path, PathBuf};

use records::artifact::read_json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Failure, Result};

/// The recipe's section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seeds {
    /// The table, beside the recipe; `r1-distill seeds` writes it there.
    pub file: PathBuf,
    /// What it holds, once it is there.
    #[serde(skip)]
    pub table: Option<SeedTable>,
}

/// The table as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeedTable {
    /// How it was made.
    pub command: String,
    /// When, as YYYY-MM-DD (UTC).
    pub date: String,
    /// On what: another processor rounds differently and gives other numbers.
    pub machine: String,
    /// [`identity`](crate::run::seeds::identity) of the recipe it was made with.
    pub recipe: String,
    /// Problems that each student was measured on.
    pub problems: usize,
    /// Samples a problem.
    pub samples: u32,
    /// The recipe's own data with several training seeds.
    pub training: Vec<SeedRow>,
    /// The recipe's own training seed on several data seeds.
    pub data: Vec<SeedRow>,
}

/// One student of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeedRow {
    /// Its seed.
    pub seed: u64,
    /// pass@1 before training, 0 to 1.
    pub before: f64,
    /// pass@1 after training.
    pub after: f64,
    /// Lower end of the 95 % interval of `after`, which covers the sampling of problems and answers.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// pass@1 of the control, where it was trained.
    pub control: Option<f64>,
}

/// Median and range of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The middle one; of an even number of them, the mean of the middle two.
    pub median: f64,
    /// The least.
    pub lowest: f64,
    /// The greatest.
    pub highest: f64,
}

impl Seeds {
    /// Reads the table, if it is there. `recipe` is the recipe's own path.
    pub(crate) fn read(&mut self, recipe: &Path) -> Result<()> {
        let path = beside(recipe, &self.file);
        let there = path.try_exists().map_err(|e| records::Error::io("read", &path, e))?;
        self.table = if there { Some(table(&path)?) } else { None };
        Ok(())
    }
}

/// A file that a recipe names.
pub(crate) fn beside(recipe: &Path, file: &Path) -> PathBuf {
    recipe.parent().unwrap_or(Path::new("")).join(file)
}

fn table(path: &Path) -> Result<SeedTable> {
    let refused = |problem: &str| {
        Failure::usage(format!(
            "seeds.file: {}: {problem}; `r1-distill seeds` makes it anew once it is removed",
            path.display()
        ))
    };
    let table: SeedTable = read_json(path).map_err(|e| refused(&e.to_string()))?;
    if table.training.is_empty() {
        return Err(refused("it has no training seed"));
    }
    let shares = table.training.iter().chain(&table.data).flat_map(|row| [row.before, row.after, row.low, row.high]);
    if shares.chain(table.training.iter().filter_map(|row| row.control)).any(|share| !(0.0..=1.0).contains(&share)) {
        return Err(refused("a pass@1 is not between 0 and 1"));
    }
    Ok(table)
}

impl SeedTable {
    /// pass@1 after training, over training seeds.
    pub(crate) fn after(&self) -> Option<Spread> {
        Spread::of(self.training.iter().map(|row| row.after))
    }

    /// pass@1 before training, over training seeds.
    pub(crate) fn before(&self) -> Option<Spread> {
        Spread::of(self.training.iter().map(|row| row.before))
    }

    /// pass@1 of the control, over the training seeds that have one.
    pub(crate) fn control(&self) -> Option<Spread> {
        Spread::of(self.training.iter().filter_map(|row| row.control))
    }

    /// pass@1 after training, over data seeds.
    pub(crate) fn after_by_data(&self) -> Option<Spread> {
        Spread::of(self.data.iter().map(|row| row.after))
    }
}

impl Spread {
    /// Of some numbers; `None` of none.
    pub(crate) fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, lowest, highest })
    }
}
