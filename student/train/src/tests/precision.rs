use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const STEPS: u32 = 200;

/// Conversations that can be learnt in part: seven of ten tokens follow from the one before, the others from nothing.
fn noisy(seed: u64) -> PackedRow {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut ids = vec![rng.random_range(0..101)];
    for i in 0..63 {
        let next = if rng.random_bool(0.7) { (3 * ids[i] + 7) % 101 } else { rng.random_range(0..101) };
        ids.push(next);
    }
    golden::row(&[&Conversation { ids, prompt_len: 1 }])
}

/// The losses of 200 steps, each on rows that were not seen before.
fn curve(name: &str, precision: Precision) -> Vec<f64> {
    let mut model = golden::model(name).tracked(true);
    model.precision = precision;
    let config =
        TrainConfig { precision, optimizer: OptimizerConfig { warmup_ratio: 0.05, ..optimizer() }, ..config(4, 4) };
    let mut optimizer = AdamW::new(config.optimizer.clone());
    let losses = (1..=STEPS).map(|step| {
        let rows: Vec<PackedRow> = (0..4).map(|i| noisy(u64::from(4 * step + i))).collect();
        let batch: Vec<&PackedRow> = rows.iter().collect();
        one_step(from_mut(&mut model), &mut optimizer, &batch, &config, step, STEPS).unwrap().0
    });
    losses.collect()
}

#[test]
fn the_loss_curve_in_bf16_stays_within_a_hundredth_of_that_in_f32() {
    for name in ["qwen2", "llama"] {
        let (exact, rounded) = (curve(name, Precision::F32), curve(name, Precision::Bf16));
        let differences = exact.iter().zip(&rounded).map(|(exact, rounded)| (rounded / exact - 1.0).abs());
        let worst = differences.fold(0.0, |most: f64, d| if d > most || d.is_nan() { d } else { most });
        let (first, last) = (exact[0], exact[180..].iter().sum::<f64>() / 20.0);
        println!("{name}: loss {first:.3} → {last:.3}; bf16 differs by {worst:.1e} at most");
        assert!(worst < 0.01, "{name}: bf16's loss differs by {worst:.1e}");
        assert!(worst > 1e-6, "{name}: nothing was computed in bf16");
        assert!(last < 0.7 * first, "{name}: the curve goes somewhere");
    }
}

/// An update of 6e-6 is far below what a bf16 weight can show, and the f32 weights take every one of them.
#[test]
fn a_tiny_learning_rate_moves_every_weight_that_has_a_gradient() {
    for name in golden::NAMES {
        let mut model = golden::model(name).rounded_to_bf16().tracked(true);
        model.precision = Precision::Bf16;
        // Epsilon below any gradient: Adam then moves every weight by about the learning rate.
        let optimizer = OptimizerConfig {
            learning_rate: 6e-6,
            warmup_ratio: 0.0,
            final_ratio: 1.0,
            weight_decay: 0.0,
            epsilon: 1e-15,
            ..optimizer()
        };
        let config = TrainConfig { precision: Precision::Bf16, optimizer: optimizer.clone(), ..config(4, 4) };
        let mut optimizer = AdamW::new(optimizer);
        let before = snapshot(&model);
        let rows: Vec<PackedRow> = (0..4).map(noisy).collect();
        let batch: Vec<&PackedRow> = rows.iter().collect();
        let mut after = Vec::new();
        for step in 1..=3 {
            one_step(from_mut(&mut model), &mut optimizer, &batch, &config, step, 3).unwrap();
            after.push(snapshot(&model));
        }
        let (mut moved, mut seen, mut all) = (0, 0, 0);
        for (parameter, before) in &before {
            // A second moment of 0: no step had a gradient.
            let second = numbers(optimizer.moments[parameter].1.clone());
            for (i, (before, second)) in before.iter().zip(second).enumerate() {
                // After any of the steps: the next gradient may point back.
                let changed =
                    |by: &dyn Fn(f32) -> u32| after.iter().any(|after| by(after[parameter][i]) != by(*before));
                let exact = changed(&f32::to_bits);
                assert_eq!(exact, second != 0.0, "{name}: {parameter}[{i}], {before} at first, {second:e}");
                moved += usize::from(exact);
                seen += usize::from(changed(&|x| half::bf16::from_f32(x).to_bits().into()));
                all += 1;
            }
        }
        println!("{name}: {moved} of {all} weights moved; in bf16 weights it would be {seen}");
        assert!(10 * moved > 9 * all && 10 * seen < moved, "{name}: {moved} and {seen} of {all} moved");
    }
}
