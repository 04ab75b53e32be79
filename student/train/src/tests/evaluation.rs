use super::*;

/// Token ids that training does not make more likely: the loss on them falls a little at first and then rises.
fn held_out() -> Vec<PackedRow> {
    let ids = |salt: u32| (0..30).map(|i: u32| (i * 37 + salt * 11) % 101).collect();
    let conversations = [Conversation { ids: ids(1), prompt_len: 4 }, Conversation { ids: ids(2), prompt_len: 9 }];
    conversations.iter().map(|conversation| golden::row(&[conversation])).collect()
}

fn evaluating(patience: Option<u32>, keep_best: bool) -> TrainConfig {
    TrainConfig { epochs: 10, eval_every: Some(2), keep_best, early_stopping_patience: patience, ..config(2, 1) }
}

/// Step and evaluation loss of the steps that have one.
fn evaluations(dir: &Path) -> Vec<(u32, f64)> {
    metrics(dir).into_iter().filter_map(|m| Some((m.step, m.eval_loss?))).collect()
}

fn checkpoints(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let mut steps: Vec<String> = names.filter(|name| name.starts_with("step-")).collect();
    steps.sort();
    steps
}

#[test]
fn the_held_out_loss_is_measured_every_so_many_steps_and_after_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig { max_steps: Some(5), ..evaluating(None, false) };
    let (model, summary) = run_with(dir.path(), 0, &config, &held_out()).unwrap();
    let measured = evaluations(dir.path());
    assert_eq!(measured.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [2, 4, 5]);
    // The last one is that of the weights that came out, to the bit.
    assert_eq!(mean_loss(&model, &held_out(), 1, &|_| true).unwrap().to_bits(), measured[2].1.to_bits());
    let lowest = measured.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(summary.best.map(|best| (best.step, best.loss)), Some(lowest));
    // Measuring changes nothing: the same weights come out without it.
    let without = tempfile::tempdir().unwrap();
    let plain = TrainConfig { eval_every: None, ..config };
    let (unmeasured, summary) = run_with(without.path(), 0, &plain, &[]).unwrap();
    assert!(bits(&model) == bits(&unmeasured));
    assert_eq!((summary.best, evaluations(without.path())), (None, Vec::new()));
}

#[test]
fn training_stops_when_the_held_out_loss_no_longer_falls_and_the_best_weights_are_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let (model, summary) = run_with(dir.path(), 0, &evaluating(Some(3), true), &held_out()).unwrap();
    let measured = evaluations(dir.path());
    let best = summary.best.unwrap();
    println!("{measured:?}");
    assert!(summary.steps < summary.planned_steps, "it did not stop early");
    assert_eq!(summary.steps, best.step + 6, "three evaluations of two steps after the best");
    assert!(measured.iter().all(|(step, loss)| *loss > best.loss || *step == best.step));
    assert_eq!(mean_loss(&model, &held_out(), 1, &|_| true).unwrap().to_bits(), best.loss.to_bits());
    assert!(bits(&load_trained(golden::model("qwen2"), dir.path(), None).unwrap()) == bits(&model));
    let names = [best.step, summary.steps].map(|step| format!("step-{step:06}"));
    assert_eq!(checkpoints(dir.path()), names, "the best and the newest are kept");
    // Once more trains no further.
    let (again, resumed) = run_with(dir.path(), 0, &evaluating(Some(3), true), &held_out()).unwrap();
    assert!(bits(&again) == bits(&model));
    assert_eq!((resumed.steps, resumed.best), (summary.steps, summary.best));
    // Without `keep_best` the last weights are the result.
    let last = tempfile::tempdir().unwrap();
    let (model, summary) = run_with(last.path(), 0, &evaluating(Some(3), false), &held_out()).unwrap();
    let measured = evaluations(last.path());
    assert_eq!(
        mean_loss(&model, &held_out(), 1, &|_| true).unwrap().to_bits(),
        measured[measured.len() - 1].1.to_bits()
    );
    assert_eq!(checkpoints(last.path()), [format!("step-{:06}", summary.steps)]);
}

/// Stopped after every possible step: what was the best and how long ago is not forgotten.
#[test]
fn an_interrupted_training_stops_early_at_the_same_step_with_the_same_best() {
    let straight = tempfile::tempdir().unwrap();
    let config = evaluating(Some(2), true);
    let (expected, summary) = run_with(straight.path(), 0, &config, &held_out()).unwrap();
    let halted = tempfile::tempdir().unwrap();
    for step in 1..summary.steps {
        let error = run_with(halted.path(), step, &config, &held_out()).unwrap_err();
        assert!(matches!(error, Error::Stopped { .. }), "{error}");
    }
    let (model, resumed) = run_with(halted.path(), 0, &config, &held_out()).unwrap();
    assert!(bits(&model) == bits(&expected));
    assert_eq!((resumed.steps, resumed.best), (summary.steps, summary.best));
    assert_eq!(evaluations(halted.path()), evaluations(straight.path()));
    assert_eq!(checkpoints(halted.path()), checkpoints(straight.path()));
}
