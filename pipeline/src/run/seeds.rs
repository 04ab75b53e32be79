//! A recipe's table of seeds: how much of its result is chance.
//!
//! One training is one draw: other initial weights, another order of the data or other traces give another student, and
//! an interval that covers the sampling of answers says nothing about that (Bouthillier et al. 2021, arXiv 2103.03098).
//! `r1-distill seeds` trains a recipe with several seeds and writes the table; the recipe names it, and report and model
//! card then lead with the median and the range. The table decides no student, so it enters the fingerprints of export
//! (for the card) and report only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use folder::base::Base;
use records::artifact::fingerprint;
use serde::Serialize;

use crate::error::{Failure, Result};
use crate::recipe::seed_table::{SeedTable, Seeds};
use crate::recipe::{ProblemSource, Recipe, TraceSource};
use crate::run::store::Stage;

/// What a run knows of other seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OtherSeeds {
    /// The recipe's table.
    Table(SeedTable),
    /// A table is there, and was made with another recipe.
    OfAnotherRecipe(PathBuf),
    /// Nothing; the recipe may name a table that is not there.
    Nothing(Option<PathBuf>),
}

impl OtherSeeds {
    /// Of a recipe, whose stages up to packing name the content of all its inputs.
    pub(crate) fn of(recipe: &Recipe, stages: &[&Stage]) -> Result<Self> {
        let Some(Seeds { file, table }) = &recipe.seeds else { return Ok(Self::Nothing(None)) };
        let Some(table) = table else { return Ok(Self::Nothing(Some(file.clone()))) };
        let same = table.recipe == identity(recipe, stages)?;
        Ok(if same { Self::Table(table.clone()) } else { Self::OfAnotherRecipe(file.clone()) })
    }

    /// Why there is no table to show, in a sentence; `None` where there is one.
    pub(crate) fn missing(&self) -> Option<String> {
        let why = match self {
            Self::Table(_) => return None,
            Self::OfAnotherRecipe(file) => format!(
                "The table of seeds that the recipe names ({}) was made with another recipe and is not shown.",
                file.display()
            ),
            Self::Nothing(Some(file)) => {
                format!("The table of seeds that the recipe names ({}) is not there.", file.display())
            }
            Self::Nothing(None) => return Some(ONE_SEED.to_owned()),
        };
        Some(format!("{why} {ONE_SEED}"))
    }
}

const ONE_SEED: &str = "These are the numbers of one training seed, and another may give others: \
                        r1-distill seeds RECIPE measures several.";

/// What makes a recipe the one that a table was made with: all that decides the student and how it is measured, with the
/// recipe's own seeds. Names, export and whether teacher and control are measured decide neither.
pub(crate) fn identity(recipe: &Recipe, stages: &[&Stage]) -> Result<String> {
    let accuracy = recipe.evaluate.accuracy.as_ref();
    let (problems, protocol) = (accuracy.map(|a| &a.problems), accuracy.map(|a| &a.protocol));
    let Recipe { prompts, collect, curate, student, pack, train, .. } = recipe;
    let spec = serde_json::to_value((prompts, collect, curate, student, pack, train, problems, protocol))
        .map_err(|e| Failure::failed(format!("encoding the recipe: {e}")))?;
    // Those that are no result of another stage.
    let given = stages.iter().flat_map(|stage| &stage.inputs).filter(|(name, _)| name.contains(' '));
    let given: BTreeMap<String, String> = given.map(|(name, content)| (name.clone(), content.clone())).collect();
    Ok(fingerprint("seeds", 1, &spec, &given))
}

/// The recipe with another training seed: of the order of the data, and of the initial weights where they are random.
pub(crate) fn with_training_seed(mut recipe: Recipe, seed: u64) -> Recipe {
    recipe.train.seed = seed;
    if let Base::Random { seed: weights, .. } = &mut recipe.student.base {
        *weights = seed;
    }
    recipe
}

/// The recipe with another data seed: of the problems where they are made up, of the teacher's draws where one is asked,
/// and of which traces are held out and how they are packed.
pub(crate) fn with_data_seed(mut recipe: Recipe, seed: u64) -> Recipe {
    if let ProblemSource::Procedural(problems) = &mut recipe.prompts {
        problems.seed = seed;
    }
    if let TraceSource::Teacher(teacher) = &mut recipe.collect {
        teacher.seed = seed;
    }
    recipe.pack.seed = seed;
    recipe
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::args::RunArgs;
    use crate::recipe::seed_table::Spread;
    use crate::run::plan::Plan;

    #[derive(Debug, Parser)]
    struct Options {
        #[command(flatten)]
        args: RunArgs,
    }

    fn quickstart() -> RunArgs {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/quickstart.toml");
        Options::parse_from(["r1-distill".into(), path.into_os_string()]).args
    }

    fn plan(recipe: &Recipe) -> Plan {
        Plan::new(recipe, &quickstart().options().unwrap(), &[]).unwrap()
    }

    fn identity_of(recipe: &Recipe) -> String {
        let plan = plan(recipe);
        identity(recipe, &[&plan.prompts, &plan.collect, &plan.curate, &plan.pack]).unwrap()
    }

    /// The table in the tree is that of the recipe beside it, and README says what it says.
    #[test]
    fn the_quickstart_has_its_table() {
        let recipe = quickstart().recipe().unwrap().0;
        let OtherSeeds::Table(table) = plan(&recipe).seeds else {
            let identity = identity_of(&recipe);
            panic!("the recipe changed ({identity}), or its table is gone: run `r1-distill seeds` again")
        };
        assert!(table.training.len() >= 5 && table.data.len() >= 3 && table.problems >= 600);
        let (training, data) = (table.after().unwrap(), table.after_by_data().unwrap());
        let (lowest, highest) = (training.lowest.min(data.lowest), training.highest.max(data.highest));
        assert!(highest - lowest <= 0.08, "{lowest} to {highest}");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let [readme, of_recipes] =
            ["README.md", "recipes/README.md"].map(|name| std::fs::read_to_string(root.join(name)).unwrap());
        for number in [training.median, training.lowest, training.highest, data.lowest, data.highest] {
            let said = format!("{:.1}", 100.0 * number);
            assert!(readme.contains(&said), "README.md does not say {said}");
        }
        assert!(of_recipes.contains(&table.command), "{}", table.command);
    }

    /// Names, export, and whether teacher and control are measured decide no student; everything else does.
    #[test]
    fn a_table_is_of_a_recipe() {
        let recipe = quickstart().recipe().unwrap().0;
        let own = identity_of(&recipe);
        let mut same = recipe.clone();
        same.name = "other".into();
        same.export.license = "apache-2.0".into();
        let accuracy = same.evaluate.accuracy.as_mut().unwrap();
        (accuracy.teacher, accuracy.control) = (false, false);
        assert_eq!(identity_of(&same), own);
        let changes: [fn(&mut Recipe); 6] = [
            |recipe| *recipe = with_training_seed(recipe.clone(), 99),
            |recipe| *recipe = with_data_seed(recipe.clone(), 99),
            |recipe| recipe.train.optimizer.learning_rate *= 2.0,
            |recipe| recipe.curate.policy = "finished".into(),
            |recipe| recipe.pack.sequence_length = 256,
            |recipe| recipe.evaluate.accuracy.as_mut().unwrap().protocol.samples = 2,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut other = recipe.clone();
            change(&mut other);
            assert_ne!(identity_of(&other), own, "change {i}");
        }
    }

    #[test]
    fn seeds_reach_all_that_they_should() {
        let recipe = quickstart().recipe().unwrap().0;
        let trained = with_training_seed(recipe.clone(), 77);
        let Base::Random { seed, .. } = trained.student.base else { panic!("the base is random") };
        assert_eq!((trained.train.seed, seed), (77, 77));
        assert_eq!(
            (&trained.prompts, &trained.collect, &trained.pack),
            (&recipe.prompts, &recipe.collect, &recipe.pack)
        );
        let learned = with_data_seed(recipe.clone(), 77);
        let (ProblemSource::Procedural(problems), TraceSource::Teacher(teacher)) = (&learned.prompts, &learned.collect)
        else {
            panic!("problems are made up and a teacher is asked")
        };
        assert_eq!((problems.seed, teacher.seed, learned.pack.seed), (77, 77, 77));
        assert_eq!((&learned.train, &learned.student), (&recipe.train, &recipe.student));
    }

    #[test]
    fn the_median_is_the_middle() {
        let of = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(of(&[0.3, 0.1, 0.2]), Some(Spread { median: 0.2, lowest: 0.1, highest: 0.3 }));
        assert_eq!(of(&[0.5, 0.25, 0.75, 0.0]), Some(Spread { median: 0.375, lowest: 0.0, highest: 0.75 }));
        assert_eq!(of(&[]), None);
    }
}
