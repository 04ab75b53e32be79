use super::*;

#[test]
fn recomputed_blocks_give_the_same_bits() {
    let rows = rows();
    let rows: Vec<&PackedRow> = rows.iter().collect();
    let total = supervised(&rows);
    for name in golden::NAMES {
        for precision in [Precision::F32, Precision::Bf16] {
            let measure = |recompute| {
                let mut model = golden::model(name).tracked(true);
                (model.precision, model.recompute) = (precision, recompute);
                let (loss, gradients) =
                    gradients_of(from_mut(&mut model), &rows, 3, total, Noise::default(), &mut None).unwrap();
                let bits = model.parameters().into_iter().map(|(name, _)| {
                    let gradient = gradients.get(&name).unwrap_or_else(|| panic!("{name} has no gradient"));
                    (name, numbers(gradient.clone()).into_iter().map(f32::to_bits).collect::<Vec<_>>())
                });
                (loss.to_bits(), bits.collect::<Vec<_>>())
            };
            let (kept, recomputed) = (measure(false), measure(true));
            assert_eq!(kept.0, recomputed.0, "{name}, {precision:?}: another loss");
            for ((parameter, kept), (_, recomputed)) in kept.1.iter().zip(&recomputed.1) {
                assert!(kept.iter().any(|bits| *bits != 0), "{name}: the gradient of {parameter} is 0");
                assert!(kept == recomputed, "{name}, {precision:?}: another gradient of {parameter}");
            }
        }
    }
}
