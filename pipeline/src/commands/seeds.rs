//! `r1-distill seeds`: one recipe with several seeds, through the ordinary stages.

use std::path::{Path, PathBuf};

use clap::Args;
use records::artifact::write_json;

use crate::args::RunArgs;
use crate::commands::run::prepare;
use crate::console::{say, today};
use crate::error::{Failure, Result};
use crate::recipe::seed_table::{SeedRow, SeedTable, Spread, beside};
use crate::recipe::{Accuracy, ProblemSource, Recipe};
use crate::run::Run;
use crate::run::plan::Plan;
use crate::run::seeds::{identity, with_data_seed, with_training_seed};
use crate::stages::evaluate::{Evaluation, Measured};

#[derive(Debug, Args)]
pub(crate) struct SeedsArgs {
    #[command(flatten)]
    options: RunArgs,
    /// Training seeds, on the recipe's own data: of the order of the data (train.seed), and of the initial weights where
    /// they are random (student.base.seed)
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', default_value = "1,2,3,4,5")]
    train_seeds: Vec<u64>,
    /// Data seeds, with the recipe's own training seed: of made-up problems (prompts.seed), of the teacher's draws
    /// (collect.seed; a teacher that is paid for is paid for each), and of held-out traces and packing (pack.seed)
    #[arg(long, value_name = "SEEDS", value_delimiter = ',')]
    data_seeds: Vec<u64>,
    /// Measure on this many made-up problems instead of the recipe's number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    problems: Option<u32>,
    /// Train and measure no control
    #[arg(long)]
    no_control: bool,
    /// File for the table; default: the one that the recipe names (seeds = { file = "..." })
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs every variant to its evaluation and writes the table. All are results in `RUNS/<name>-seeds`: what two have in
/// common is made once, and a run that was stopped goes on.
pub(crate) fn seeds(args: &SeedsArgs) -> Result<()> {
    let (recipe, _) = args.options.recipe()?;
    let variant = args.variant(&recipe)?;
    let mut run = prepare(variant.clone(), String::new(), args.options.options()?, "evaluate".to_owned())?;
    let plan = Plan::new(&recipe, &run.options, &[])?;
    let made_with = identity(&recipe, &[&plan.prompts, &plan.collect, &plan.curate, &plan.pack])?;
    let mut several = |kind: &str, seeds: &[u64], with: fn(Recipe, u64) -> Recipe| -> Result<Vec<SeedRow>> {
        let one = |(i, seed): (usize, &u64)| {
            say(&format!("{}: {kind} seed {seed}, {} of {}", run.recipe.name, i + 1, seeds.len()));
            measure(&mut run, with(variant.clone(), *seed), *seed)
        };
        seeds.iter().enumerate().map(one).collect()
    };
    let training = several("training", &args.train_seeds, with_training_seed)?;
    let data = several("data", &args.data_seeds, with_data_seed)?;
    let accuracy = measured(&run)?.accuracy;
    let table = SeedTable {
        command: args.command(),
        date: today(),
        machine: machine(&args.options.device_names()),
        recipe: made_with,
        problems: accuracy.iter().map(|of| of.problems).max().unwrap_or(0),
        samples: accuracy.iter().map(|of| of.samples).max().unwrap_or(0),
        training,
        data,
    };
    show(&table);
    args.write(&recipe, &table)
}

/// Trains and measures one variant.
fn measure(run: &mut Run, recipe: Recipe, seed: u64) -> Result<SeedRow> {
    run.plan = Plan::new(&recipe, &run.options, &[])?;
    run.recipe = recipe;
    crate::pipeline::run(run)?;
    let measured = measured(run)?;
    let of = |model: &str| measured.accuracy.iter().find(|of| of.model == model);
    match (of("before"), of("after")) {
        (Some(before), Some(after)) => Ok(SeedRow {
            seed,
            before: before.accuracy,
            after: after.accuracy,
            low: after.low,
            high: after.high,
            control: of("control").map(|control| control.accuracy),
        }),
        _ => Err(Failure::failed("the evaluation has no student before and after; remove its folder to make it again")),
    }
}

/// What the run that was just made measured.
fn measured(run: &Run) -> Result<Measured> {
    let evaluation = run.store.find::<Evaluation>(&run.plan.evaluate)?;
    Ok(evaluation.ok_or_else(|| Failure::failed("the evaluation is gone; was its folder removed?"))?.summary.measured)
}

impl SeedsArgs {
    /// The recipe as it is trained and measured here, but for the seed.
    fn variant(&self, recipe: &Recipe) -> Result<Recipe> {
        if self.train_seeds.is_empty() {
            return Err(Failure::usage("--train-seeds names no seed"));
        }
        let mut variant = recipe.clone();
        variant.name = format!("{}-seeds", recipe.name);
        variant.seeds = None;
        let Some(Accuracy { problems, teacher, control, .. }) = &mut variant.evaluate.accuracy else {
            return Err(Failure::usage(
                "seeds are compared by pass@1, and the recipe measures none: give it a section [evaluate.accuracy]",
            ));
        };
        // It is the same teacher whatever the student's seed.
        *teacher = false;
        *control &= !self.no_control;
        match (self.problems, problems) {
            (None, _) => {}
            (Some(count), ProblemSource::Procedural(problems)) => problems.count = count as usize,
            (Some(_), ProblemSource::File(file)) => {
                return Err(Failure::usage(format!(
                    "--problems: they come from the input {:?} and are all taken; leave the option out",
                    file.input
                )));
            }
        }
        Ok(variant)
    }

    /// The command that makes this table; no path of this machine is in it.
    fn command(&self) -> String {
        let recipe = &self.options.recipe;
        let recipe =
            if recipe.is_relative() { recipe.as_path() } else { Path::new(recipe.file_name().unwrap_or_default()) };
        let list = |seeds: &[u64]| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let mut command = format!("r1-distill seeds {} --train-seeds {}", recipe.display(), list(&self.train_seeds));
        if !self.data_seeds.is_empty() {
            command.extend([" --data-seeds ", &list(&self.data_seeds)]);
        }
        if let Some(problems) = self.problems {
            command.extend([" --problems ", &problems.to_string()]);
        }
        if self.no_control {
            command += " --no-control";
        }
        command + &self.options.decisive()
    }

    /// Writes the table where it is asked for, or where the recipe will look for it.
    fn write(&self, recipe: &Recipe, table: &SeedTable) -> Result<()> {
        let named = recipe.seeds.as_ref().map(|seeds| beside(&self.options.recipe, &seeds.file));
        let Some(path) = self.output.clone().or(named) else {
            say("the table is not kept: give --output FILE, and name it in the recipe as seeds = { file = \"FILE\" }");
            return Ok(());
        };
        write_json(&path, table)?;
        say(&format!("wrote {}; reports and cards of this recipe lead with it from the next run on", path.display()));
        Ok(())
    }
}

/// The processor, its cores and the device.
fn machine(device: &str) -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = told.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let processor = model.unwrap_or(std::env::consts::ARCH);
    format!("{processor}, {cores} cores, device {device}")
}

fn show(table: &SeedTable) {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    say(&format!("    {:<14} {:>8} {:>8}   {:<17} {:>8}", "seed", "before", "after", "95 % interval", "control"));
    for (kind, rows) in [("training", &table.training), ("data", &table.data)] {
        for row in rows {
            say(&format!(
                "    {:<14} {:>8} {:>8}   {:<17} {:>8}",
                format!("{kind} {}", row.seed),
                percent(row.before),
                percent(row.after),
                format!("{:.1} – {:.1} %", 100.0 * row.low, 100.0 * row.high),
                row.control.map_or_else(String::new, percent)
            ));
        }
    }
    for (kind, spread) in [("training", table.after()), ("data", table.after_by_data())] {
        if let Some(Spread { median, lowest, highest }) = spread {
            let (median, lowest, highest) = (percent(median), percent(lowest), percent(highest));
            say(&format!("    over {kind} seeds: median {median}, lowest {lowest}, highest {highest}"));
        }
    }
}
