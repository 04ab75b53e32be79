use super::*;

#[test]
fn a_loss_that_is_not_finite_updates_nothing() {
    let rows = rows();
    for (poison, parameter) in [(f32::NAN, "model.layers.1.mlp.up_proj.weight"), (f32::INFINITY, "model.norm.weight")] {
        let mut model = golden::model("qwen2");
        for (name, tensor) in model.parameters_mut() {
            if name == parameter {
                let mut values = numbers(tensor.clone());
                values[3] = poison;
                *tensor = burn::tensor::Tensor::from_data(
                    burn::tensor::TensorData::new(values, tensor.dims()),
                    &tensor.device(),
                );
            }
        }
        let mut model = model.tracked(true);
        let mut optimizer = AdamW::new(optimizer());
        let before = bits(&model);
        let batch = [&rows[2], &rows[3]];
        let error = one_step(from_mut(&mut model), &mut optimizer, &batch, &config(2, 1), 7, 9).unwrap_err();
        let Error::NotFinite { step: 7, value, weights, .. } = &error else { panic!("{error}") };
        assert!(!value.is_finite());
        // The weights were broken before, and the message says so instead of naming traces.
        let expected = format!("{parameter} is not finite in 1 of its ");
        assert!(weights.as_ref().is_some_and(|problem| problem.starts_with(&expected)), "{error}");
        let message = error.to_string();
        assert!(message.contains("no trace is to blame") && message.contains(parameter), "{message}");
        assert!(!message.contains("row-2") && !message.contains("look at these traces"), "{message}");
        assert_eq!(bits(&model), before, "{parameter}: the weights were touched");
        assert!(optimizer.moments.is_empty(), "{parameter}: the moments were touched");
    }
}

/// One token's embedding is broken, and only the second pass holds that token.
#[test]
fn the_pass_whose_loss_is_not_finite_is_named_with_its_traces_and_no_others() {
    let rows = rows();
    let token = 100;
    let mut model = golden::model("llama");
    let (_, embedding) = model.parameters_mut().into_iter().find(|(name, _)| name.contains("embed_tokens")).unwrap();
    let mut values = numbers(embedding.clone());
    let width = embedding.dims()[1];
    values[token * width..(token + 1) * width].fill(f32::NAN);
    *embedding =
        burn::tensor::Tensor::from_data(burn::tensor::TensorData::new(values, embedding.dims()), &embedding.device());
    let mut batch = [rows[0].clone(), rows[1].clone(), rows[2].clone(), rows[3].clone()];
    for row in &mut batch {
        row.token_ids.iter_mut().filter(|id| **id == token as u32).for_each(|id| *id = 0);
    }
    batch[2].token_ids[0] = token as u32;
    let batch: Vec<&PackedRow> = batch.iter().collect();
    let mut model = model.tracked(true);
    let before = bits(&model);
    let mut failing = |rows_per_pass| {
        let mut optimizer = AdamW::new(optimizer());
        one_step(from_mut(&mut model), &mut optimizer, &batch, &config(4, rows_per_pass), 7, 9).unwrap_err()
    };
    for (rows_per_pass, pass, traces) in [
        (1, "the loss of pass 3 of 4", "row-2-trace-0 row-2-trace-1 row-2-trace-2"),
        (2, "the loss of pass 2 of 2", "row-2-trace-0 row-2-trace-1 row-2-trace-2 row-3-trace-0"),
    ] {
        let error = failing(rows_per_pass);
        let Error::NotFinite { step: 7, what, value, traces: found, .. } = &error else { panic!("{error}") };
        assert!(value.is_nan());
        assert_eq!((what.as_str(), found.as_str()), (pass, traces));
    }
    assert_eq!(bits(&model), before);
}

/// A finite loss whose gradients overflow must not pass either.
#[test]
fn a_gradient_norm_that_is_not_finite_updates_nothing() {
    let rows = rows();
    let mut model = golden::model("llama");
    for (name, tensor) in model.parameters_mut() {
        // The norm undoes the first factor going forward; going backward the gradient of the second is the large one.
        let factor = match name.as_str() {
            "model.norm.weight" => 1e-30,
            "lm_head.weight" => 1e30,
            _ => continue,
        };
        *tensor = tensor.clone() * factor;
    }
    let mut model = model.tracked(true);
    let before = bits(&model);
    let error =
        one_step(from_mut(&mut model), &mut AdamW::new(optimizer()), &[&rows[0]], &config(1, 1), 1, 9).unwrap_err();
    let Error::NotFinite { what, traces, weights: None, .. } = &error else { panic!("{error}") };
    assert_eq!((what.as_str(), traces.as_str()), ("the gradient norm", "row-0-trace-0 row-0-trace-1"));
    assert!(error.to_string().contains("row-0-trace-0 row-0-trace-1; look at these traces"), "{error}");
    assert_eq!(bits(&model), before);
}

/// The loss on held-out rows is an error where it is no number, and no evaluation that was merely not the lowest.
#[test]
fn a_held_out_loss_that_is_not_finite_ends_the_training() {
    let mut model = golden::model("llama");
    for (_, tensor) in model.parameters_mut().into_iter().filter(|(name, _)| name == "model.norm.weight") {
        *tensor = tensor.clone() * f32::NAN;
    }
    let error = mean_loss(&model, &rows(), 1, &|_| true).unwrap_err();
    let Error::HeldOutNotFinite { value, traces, weights } = &error else { panic!("{error}") };
    assert!(value.is_nan() && traces == "row-0-trace-0 row-0-trace-1", "{error}");
    assert!(weights.as_ref().is_some_and(|problem| problem.contains("model.norm.weight")), "{error}");
}

/// A rate beyond all measure takes the weights to infinity in one step: no checkpoint holds them.
#[test]
fn broken_weights_are_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(2, 1);
    config.optimizer.learning_rate = 1e39;
    let error = run_with(dir.path(), 1, &config, &[]).unwrap_err();
    let Error::BrokenWeights { step: 1, problem } = &error else { panic!("{error}") };
    assert!(problem.contains("is not finite in") && error.to_string().contains("learning_rate"), "{error}");
    assert!(checkpoint::latest(dir.path()).unwrap().is_none());
}
