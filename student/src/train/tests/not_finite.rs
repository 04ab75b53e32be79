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
        let Error::NotFinite { step: 7, value, .. } = &error else { panic!("{error}") };
        assert!(!value.is_finite());
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
        let Error::NotFinite { step: 7, what, value, traces: found } = &error else { panic!("{error}") };
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
    let Error::NotFinite { what, traces, .. } = &error else { panic!("{error}") };
    assert_eq!((what.as_str(), traces.as_str()), ("the gradient norm", "row-0-trace-0 row-0-trace-1"));
    assert_eq!(bits(&model), before);
}
