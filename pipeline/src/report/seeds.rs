//! What several seeds say beside this run: the median leads, and the run's own number stands beside it.

use super::blocks::{Block, Cell, Table, heads, row};
use super::number::{count, counted, interval, percent};
use super::{AccuracyRow, RunReport};
use crate::recipe::seed_table::{SeedRow, SeedTable, Spread};
use crate::run::seeds::OtherSeeds;

/// The recipe's table with the run's own result, where there are both.
fn table(report: &RunReport) -> Option<(&SeedTable, Spread, &AccuracyRow)> {
    let Some(OtherSeeds::Table(table)) = &report.seeds else { return None };
    Some((table, table.after()?, report.model("after")?))
}

/// The result in one sentence, where it is known over several seeds.
pub(super) fn headline(report: &RunReport) -> Option<String> {
    let (table, after, own) = table(report)?;
    let before = table.before().map_or_else(String::new, |before| {
        let verb = if after.median < before.median { "down" } else { "up" };
        format!(", {verb} from {}", percent(before.median))
    });
    let control = table.control().map_or_else(String::new, |control| {
        format!("; trained on bare answers instead, it reached {}", percent(control.median))
    });
    Some(format!(
        "The student reaches {} in the median of {} ({}) on {}{before}{control}. This run: {} on {}.",
        percent(after.median),
        counted(table.training.len(), "training seed"),
        range(after),
        counted(table.problems, "unseen problem"),
        own.measured(),
        count(own.problems as u64)
    ))
}

/// What has to be said of other seeds beside the headline: that there are none, or that this run is not like them.
pub(super) fn remark(report: &RunReport) -> Option<String> {
    if let Some(why) = report.seeds.as_ref().and_then(OtherSeeds::missing) {
        return Some(why);
    }
    let (_, after, own) = table(report)?;
    // A run's own number is one draw more, measured on fewer problems: it may lie outside by what those leave open.
    let apart = own.high < after.lowest || own.low > after.highest;
    apart.then(|| {
        format!(
            "This run’s {} is outside of what the table of seeds has ({}), further than its problems leave open: the table \
             was made by another version or on another kind of machine.",
            percent(own.accuracy),
            range(after)
        )
    })
}

/// The table itself.
pub(super) fn blocks(report: &RunReport) -> Vec<Block<'_>> {
    let Some((table, _, _)) = table(report) else { return Vec::new() };
    let controls = table.control().is_some();
    let mut columns = vec!["Before", "After", "95 % interval"];
    columns.extend(controls.then_some("Control"));
    let line = |kind: &str, of: &SeedRow| {
        let numbers = [percent(of.before), percent(of.after), interval(of.low, of.high)];
        let mut cells = row(Cell::Text(format!("{kind} seed {}", of.seed)), numbers);
        cells.extend(controls.then(|| Cell::Number(of.control.map_or_else(String::new, percent))));
        cells
    };
    let training = table.training.iter().map(|of| line("training", of));
    let rows = training.chain(table.data.iter().map(|of| line("data", of)));
    let data = table.after_by_data().map_or_else(String::new, |data| {
        format!(" A data seed is that of the problems and traces to learn from; after training: {}.", range(data))
    });
    vec![
        Block::Heading("By seed"),
        Block::Table(Table {
            caption: "Accuracy of the student by seed",
            heads: heads("Seed", &columns),
            rows: rows.collect(),
            note: format!(
                "On {}, {} each. A training seed is that of the initial weights, where they are random, and of the order of \
                 the data.{data} Made on {} ({}) by: {}",
                counted(table.problems, "problem"),
                counted(table.samples as usize, "sampled answer"),
                table.date,
                table.machine,
                table.command
            ),
        }),
    ]
}

/// `73.0–78.1 %`, the lowest and the highest.
fn range(spread: Spread) -> String {
    interval(spread.lowest, spread.highest)
}
