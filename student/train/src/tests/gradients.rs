use super::*;

/// transformers and this crate differ by 2e-6 at most; float32 itself is 1e-6 away from float64.
#[test]
fn loss_and_every_gradient_equal_those_of_transformers() {
    for name in golden::NAMES {
        let golden = golden::conversations(name);
        let row = golden::row(&golden.conversations.iter().collect::<Vec<_>>());
        let (loss, gradients) = gradients(name, &[&row], 1, row.supervised_tokens());
        let expected = golden::tensors(&golden::folder(name).join("expected.safetensors"));
        let expected = expected
            .into_iter()
            .filter_map(|(name, values)| Some((name.strip_prefix("gradient.")?.to_owned(), values)))
            .collect();
        let (difference, at) = worst(&gradients, &expected);
        println!("{name}: loss differs by {:.1e}, gradients by {difference:.1e} ({at})", (loss - golden.loss).abs());
        assert!((loss - golden.loss).abs() < 2e-6, "{name}: {loss}, not {}", golden.loss);
        assert!(difference < 1e-5, "{name}: the gradient of {at} differs by {difference:.1e}");
    }
}

#[test]
fn packed_conversations_give_what_each_gives_alone() {
    for name in golden::NAMES {
        let golden = golden::conversations(name).conversations;
        let (first, second) = (golden::row(&[&golden[0]]), golden::row(&[&golden[1]]));
        let both = golden::row(&[&golden[0], &golden[1]]);
        let total = both.supervised_tokens();
        let (loss, packed) = gradients(name, &[&both], 1, total);
        let (first_loss, first) = gradients(name, &[&first], 1, total);
        let (second_loss, second) = gradients(name, &[&second], 1, total);
        assert!((loss - first_loss - second_loss).abs() < 1e-6, "{name}: {loss}, not {first_loss} + {second_loss}");
        let (difference, at) = worst(&packed, &sum(&first, &second));
        println!("{name}: packed and unpacked gradients differ by {difference:.1e} ({at})");
        assert!(difference < 1e-5, "{name}: the gradient of {at} differs by {difference:.1e}");

        // Each by itself: the other is in the row and not supervised.
        for (segment, alone) in [(0, &golden[0]), (1, &golden[1])] {
            let mut masked = both.clone();
            let segments = masked.segment_ids.clone();
            masked.loss_mask.iter_mut().zip(segments).for_each(|(mask, of)| *mask &= of == segment);
            let alone = golden::row(&[alone]);
            let total = alone.supervised_tokens();
            let (loss, packed) = gradients(name, &[&masked], 1, total);
            let (alone_loss, alone) = gradients(name, &[&alone], 1, total);
            let (difference, at) = worst(&packed, &alone);
            println!(
                "{name}, sample {segment}: loss differs by {:.1e}, gradients by {difference:.1e}",
                loss - alone_loss
            );
            assert!((loss - alone_loss).abs() < 1e-5, "{name}: sample {segment} has loss {loss}, alone {alone_loss}");
            assert!(difference < 1e-5, "{name}, sample {segment}: the gradient of {at} differs by {difference:.1e}");
        }

        // Would it show if the second conversation saw the first?
        let mut leaking = both.clone();
        leaking.segment_ids.fill(0);
        let (_, leaking) = gradients(name, &[&leaking], 1, total);
        assert!(worst(&packed, &leaking).0 > 0.1, "{name}: this test does not see a leak between conversations");
    }
}

/// Attention sees only how far tokens are apart, so that equal losses do not prove this.
#[test]
fn positions_begin_again_in_every_conversation() {
    let model = golden::model("llama");
    let rows = rows();
    let pass = batch::Pass::new(&[&rows[0], &rows[2]], &model, 1, Noise::default());
    let positions = [&rows[0], &rows[2]].into_iter().flat_map(|row| row.position_ids.iter().map(|p| *p as usize));
    let expected = model.rope().rotation(positions.clone());
    assert_eq!(pass.layout.rotation.rows(), expected.rows());
    let begins: Vec<usize> = positions.enumerate().filter(|(_, p)| *p == 0).map(|(row, _)| row).collect();
    assert_eq!(begins, [0, 40, 57, 66, 91], "five conversations in two rows");
}

#[test]
fn the_step_is_the_same_however_it_is_cut_into_passes() {
    let rows = rows();
    let rows: Vec<&PackedRow> = rows.iter().collect();
    let total = supervised(&rows);
    let (loss, whole) = gradients("qwen2", &rows, rows.len(), total);
    for rows_per_pass in [1, 2, 3] {
        let (cut_loss, cut) = gradients("qwen2", &rows, rows_per_pass, total);
        let (difference, at) = worst(&cut, &whole);
        println!("{rows_per_pass} rows a pass: gradients differ by {difference:.1e} ({at})");
        assert!((loss - cut_loss).abs() < 1e-6, "{rows_per_pass} rows a pass: loss {cut_loss}, not {loss}");
        assert!(difference < 1e-5, "{rows_per_pass} rows a pass: the gradient of {at} differs by {difference:.1e}");
    }
    // The mean of the rows' means, which trainers have shipped, weighs short rows more: another loss and gradient.
    let means: Vec<_> = rows.iter().map(|row| gradients("qwen2", &[row], 1, row.supervised_tokens())).collect();
    let mean_loss = means.iter().map(|(loss, _)| loss / means.len() as f64).sum::<f64>();
    assert!((mean_loss - loss).abs() > 1e-2, "these rows do not tell the two normalisations apart");
    let naive = means.iter().skip(1).fold(means[0].1.clone(), |all, (_, one)| sum(&all, one));
    let naive = naive.into_iter().map(|(k, v)| (k, v.iter().map(|x| x / means.len() as f32).collect())).collect();
    assert!(worst(&naive, &whole).0 > 1e-2, "these rows do not tell the two normalisations apart");
}

/// Two and three replicas in threads of their own. A device apart could round differently; the order of the sum is what is
/// proven here.
#[test]
fn several_devices_give_the_bits_of_one() {
    let rows = rows();
    let batch: Vec<&PackedRow> = rows.iter().collect();
    let total = supervised(&batch);
    let named = |model: &Model, gradients: &optimizer::Accumulated| -> Vec<Vec<f32>> {
        let names = model.parameters().into_iter().map(|(name, _)| name);
        names.map(|name| numbers(gradients.get(&name).unwrap().clone())).collect()
    };
    let steps = |devices: usize| {
        let model = golden::model("qwen2").tracked(true);
        let mut models: Vec<Model> = (1..devices).map(|_| replica_on(&model, &Device::flex())).collect();
        models.insert(0, model);
        let (loss, gradients) = gradients_of(&mut models, &batch, 1, total, Noise::default(), &mut None).unwrap();
        let mut optimizer = AdamW::new(optimizer());
        let losses =
            [1, 2, 3].map(|step| one_step(&mut models, &mut optimizer, &batch, &config(4, 1), step, 3).unwrap());
        for replica in &models[1..] {
            assert!(bits(replica) == bits(&models[0]), "a replica has other weights");
        }
        (loss.to_bits(), named(&models[0], &gradients), losses, bits(&models[0]))
    };
    let one = steps(1);
    for devices in [2, 3] {
        assert!(steps(devices) == one, "{devices} devices give something else");
    }
    // The order matters to the bits, or this proves nothing.
    let turned: Vec<&PackedRow> = batch.iter().rev().copied().collect();
    let mut model = golden::model("qwen2").tracked(true);
    let (_, gradients) = gradients_of(from_mut(&mut model), &turned, 1, total, Noise::default(), &mut None).unwrap();
    assert!(named(&model, &gradients) != one.1, "the order of the passes does not show in these gradients");
}

#[test]
fn mean_loss_is_the_loss_of_training() {
    let rows = rows();
    let all: Vec<&PackedRow> = rows.iter().collect();
    let (loss, _) = gradients("llama", &all, 2, supervised(&all));
    for rows_per_pass in [1, 4] {
        let mean = mean_loss(&golden::model("llama"), &rows, rows_per_pass, &|done| done <= rows.len()).unwrap();
        assert!((mean - loss).abs() < 1e-6, "{rows_per_pass} rows a pass: {mean}, not {loss}");
    }
    let stopped = mean_loss(&golden::model("llama"), &rows, 1, &|done| done < 2);
    assert!(matches!(stopped, Err(Error::Stopped { .. })));
}

/// `adamw.json`.
#[derive(Deserialize)]
struct Adam {
    optimizer: OptimizerConfig,
    steps: Vec<AdamStep>,
}

/// Five steps with torch's AdamW and clipping and transformers' schedule end at weights that differ by 1e-6 at most.
#[test]
fn steps_equal_those_of_torch() {
    let folder = golden::folder("qwen2");
    let adam: Adam = read_json(&folder.join("adamw.json")).unwrap();
    let golden = golden::conversations("qwen2").conversations;
    let config = TrainConfig { optimizer: adam.optimizer.clone(), ..config(1, 1) };
    let mut optimizer = AdamW::new(adam.optimizer);
    let mut model = golden::model("qwen2").tracked(true);
    let before = snapshot(&model);
    let steps = adam.steps.len() as u32;
    for (step, expected) in (1..).zip(&adam.steps) {
        let row = golden::row(&expected.conversations.iter().map(|i| &golden[*i]).collect::<Vec<_>>());
        let (loss, norm) = one_step(from_mut(&mut model), &mut optimizer, &[&row], &config, step, steps).unwrap();
        assert!((loss - expected.loss).abs() < 2e-5, "step {step}: loss {loss}, not {}", expected.loss);
        assert!((norm / expected.grad_norm - 1.0).abs() < 1e-5, "step {step}: norm {norm}, not {}", expected.grad_norm);
        let rate = config.optimizer.rate(step, steps);
        assert!((rate / expected.learning_rate - 1.0).abs() < 1e-12, "step {step}: rate {rate}");
    }
    let after = snapshot(&model);
    let expected = golden::tensors(&folder.join("adamw.safetensors"));
    let (difference, at) = worst(&after, &expected);
    println!("weights after {steps} steps differ by {difference:.1e} ({at})");
    assert!(difference < 1e-5, "{at} differs by {difference:.1e}");
    assert!(worst(&before, &expected).0 > 1e-2, "training moved the weights");
}
