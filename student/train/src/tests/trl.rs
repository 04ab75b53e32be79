use super::*;

/// What `tests/parity/make_trl_golden.py` writes.
#[derive(Deserialize)]
struct Golden {
    optimizer: OptimizerConfig,
    /// Conversations in a step, each a pass of its own.
    accumulation: usize,
    /// Taken in turn, from the first again after the last.
    conversations: Vec<Conversation>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    loss: f64,
    grad_norm: f64,
    learning_rate: f64,
}

/// Where the live comparison puts a new one; else the one in the tree.
fn golden() -> Golden {
    let path = std::env::var_os("R1D_TRL_GOLDEN").map_or_else(|| golden::folder("trl.json"), Into::into);
    read_json(&path).unwrap()
}

/// 50 steps of TRL's SFTTrainer from the same weights on the same conversations in the same order: loss on the assistant's
/// tokens, accumulation over four passes, AdamW, cosine schedule, clipping.
#[test]
fn the_loss_curve_is_that_of_trl() {
    let golden = golden();
    let rows: Vec<PackedRow> = golden.conversations.iter().map(|conversation| golden::row(&[conversation])).collect();
    let config = TrainConfig { optimizer: golden.optimizer.clone(), ..config(golden.accumulation, 1) };
    let mut model = golden::model("qwen2").tracked(true);
    let mut optimizer = AdamW::new(golden.optimizer);
    let mut endless = rows.iter().cycle();
    let steps = golden.steps.len() as u32;
    assert_eq!((steps, golden.accumulation), (50, 4));
    // Would a loss that is the mean of the passes' means pass for TRL's? Not in this data.
    let of = |rows: &[&PackedRow], tokens| gradients("qwen2", rows, 1, tokens).0;
    let apart = rows.chunks(golden.accumulation).map(|batch| {
        let batch: Vec<&PackedRow> = batch.iter().collect();
        let tokens: Vec<u64> = batch.iter().map(|row| row.supervised_tokens()).collect();
        let naive =
            batch.iter().zip(&tokens).map(|(row, tokens)| of(&[row], *tokens)).sum::<f64>() / batch.len() as f64;
        (naive / of(&batch, tokens.iter().sum()) - 1.0).abs()
    });
    let apart = apart.fold(0.0, f64::max);
    assert!(apart > 5e-3, "the conversations do not tell the normalisations apart: {apart:.1e}");
    let mut worst = [0.0f64; 3];
    for (step, expected) in (1..).zip(&golden.steps) {
        let batch: Vec<&PackedRow> = endless.by_ref().take(golden.accumulation).collect();
        let (loss, norm) = one_step(from_mut(&mut model), &mut optimizer, &batch, &config, step, steps).unwrap();
        let rate = config.optimizer.rate(step, steps);
        let pairs = [(loss, expected.loss), (norm, expected.grad_norm), (rate, expected.learning_rate)];
        for (worst, (ours, theirs)) in worst.iter_mut().zip(pairs) {
            // The last rate is 0 on both sides.
            let difference = if theirs == 0.0 { ours.abs() } else { (ours / theirs - 1.0).abs() };
            assert!(difference.is_finite(), "step {step}: {ours}, not {theirs}");
            *worst = worst.max(difference);
        }
        assert!(worst[0] < 5e-5, "step {step}: loss {loss}, not {}", expected.loss);
        assert!(worst[1] < 5e-5, "step {step}: gradient norm {norm}, not {}", expected.grad_norm);
        assert!(worst[2] < 1e-12, "step {step}: learning rate {rate}, not {}", expected.learning_rate);
    }
    println!(
        "{steps} steps: loss differs by {:.1e} at most, gradient norm {:.1e}, rate {:.1e}",
        worst[0], worst[1], worst[2]
    );
    let clipped = golden.steps.iter().filter(|step| step.grad_norm > config.optimizer.max_grad_norm).count();
    assert!(clipped > 0 && clipped < 50, "{clipped} of 50 steps are clipped: both kinds should be there");
    let mean = |steps: &[Step]| steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64;
    assert!(mean(&golden.steps[40..]) < 0.6 * mean(&golden.steps[..10]), "the curve goes somewhere");
}
