use std::fs;

use serde_json::Value;

use crate::support::{TestFolder, tiny_recipe};

/// The tiny recipe, which names a table.
fn recipe() -> String {
    tiny_recipe().replace("name = \"tiny\"\n", "name = \"tiny\"\nseeds = { file = \"tiny.seeds.json\" }\n")
}

const SEEDS: [&str; 9] =
    ["seeds", "recipe.toml", "--train-seeds", "5,6,7", "--data-seeds", "1,2", "--problems", "8", "--max-steps=4"];
const RUN: [&str; 3] = ["run", "recipe.toml", "--max-steps=4"];

fn page(folder: &TestFolder, name: &str) -> String {
    fs::read_to_string(folder.path("runs/tiny").join(name)).unwrap()
}

/// The table is made once, whatever interrupts it, and is what the commands of a user would have measured.
#[test]
fn seeds_run_through_the_ordinary_stages() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &recipe());
    let ran = folder.run(&SEEDS);
    ran.succeeds();
    assert!(ran.stderr.contains("over training seeds: median"), "{}", ran.stderr);
    let text = fs::read_to_string(folder.path("tiny.seeds.json")).unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    let seeds = |rows: &str| -> Vec<u64> {
        table[rows].as_array().unwrap().iter().map(|row| row["seed"].as_u64().unwrap()).collect()
    };
    assert_eq!((seeds("training"), seeds("data")), (vec![5, 6, 7], vec![1, 2]));
    assert_eq!((table["problems"].as_u64(), table["samples"].as_u64()), (Some(8), Some(4)));
    assert!(table["training"][0]["control"].is_number() && table["machine"].as_str().unwrap().contains("device cpu"));
    let command = table["command"].as_str().unwrap();
    assert_eq!(command, "r1-distill seeds recipe.toml --train-seeds 5,6,7 --data-seeds 1,2 --problems 8 --max-steps 4");
    // Every seed of training and weights is another training; the problems to learn from are another set by data seed.
    let stages = |name: &str| {
        let entries = fs::read_dir(folder.path("runs/tiny-seeds")).unwrap();
        let names = entries.map(|entry| entry.unwrap()).filter(|entry| !entry.file_type().unwrap().is_symlink());
        names.filter(|entry| entry.file_name().to_string_lossy().contains(name)).count()
    };
    assert_eq!((stages("1-prompts-"), stages("4-pack-"), stages("5-train-"), stages("8-report-")), (2, 5, 5, 0));
    let again = folder.run(&SEEDS);
    again.succeeds();
    assert_eq!(again.stderr.matches("(cached)").count(), 5 * 6, "{}", again.stderr);
    assert_eq!(fs::read_to_string(folder.path("tiny.seeds.json")).unwrap(), text);
}

/// Report and card lead with the table of this recipe, and with no other.
#[test]
fn the_median_leads_where_the_table_is_of_this_recipe() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &recipe());
    // Not there yet: said, with the command, and no reason to end a run.
    folder.run(&RUN).succeeds();
    for name in ["report/report.md", "report/report.html", "export/model/README.md"] {
        let text = page(&folder, name);
        assert!(text.contains("tiny.seeds.json") && text.contains("is not there"), "{name}: {text}");
        assert!(text.contains("one training seed") && text.contains("r1-distill seeds RECIPE"), "{name}: {text}");
    }
    folder.run(&["seeds", "recipe.toml", "--train-seeds", "5,6", "--max-steps=4", "--no-control"]).succeeds();
    // Numbers that no run gives, so that it is the table that is quoted.
    let path = folder.path("tiny.seeds.json");
    let mut table: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let row = |after: f64| {
        let mut row = table["training"][0].clone();
        (row["before"], row["after"], row["low"], row["high"]) = (0.01.into(), after.into(), 0.2.into(), 0.9.into());
        row
    };
    let rows = [row(0.731), row(0.688), row(0.712)];
    table["training"] = rows.to_vec().into();
    fs::write(&path, table.to_string()).unwrap();
    let ran = folder.run(&RUN);
    ran.succeeds();
    assert_eq!(ran.stderr.matches("(cached)").count(), 6, "the table decides no student: {}", ran.stderr);
    let report = page(&folder, "report/report.md");
    let headline = report.lines().find(|line| line.starts_with("**")).unwrap();
    for words in ["71.2 % in the median of 3 training seeds (68.8–73.1 %)", "up from 1.0 %", "This run: "] {
        assert!(headline.contains(words), "no {words:?} in {headline}");
    }
    assert!(report.contains("training seed 5 |") && report.contains("r1-distill seeds recipe.toml"), "{report}");
    assert!(report.contains("is outside of what the table of seeds has"), "{report}");
    let card = page(&folder, "export/model/README.md");
    assert!(card.contains("**71.2 % pass@1: the median of 3 training seeds (68.8 % to 73.1 %)"), "{card}");

    // Another recipe: what the table says is not true of it.
    folder.write("recipe.toml", &recipe().replace("learning_rate = 2e-3", "learning_rate = 1e-3"));
    folder.run(&RUN).succeeds();
    for name in ["report/report.md", "report/report.html", "export/model/README.md"] {
        let text = page(&folder, name);
        assert!(text.contains("was made with another recipe") && !text.contains("71.2"), "{name}: {text}");
    }
}

#[test]
fn what_cannot_be_a_table_is_refused() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &recipe());
    for text in ["{}", "no table", "{\"command\": 1}"] {
        folder.write("tiny.seeds.json", text);
        folder.run(&["plan", "recipe.toml"]).fails(2, &["recipe.toml", "seeds.file", "tiny.seeds.json"]);
    }
    fs::remove_file(folder.path("tiny.seeds.json")).unwrap();
    let (before, rest) =
        tiny_recipe().split_once("[evaluate.accuracy]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (_, export) = rest.split_once("[export]").unwrap();
    folder.write("recipe.toml", &format!("{before}[evaluate]\n\n[export]{export}"));
    folder.run(&["seeds", "recipe.toml"]).fails(2, &["[evaluate.accuracy]", "pass@1"]);
}
