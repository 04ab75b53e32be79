//! What holds for all answers.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(gold in "\\PC{0,20}", text in "\\PC{0,200}") {
        verify(&gold, &text);
    }

    #[test]
    fn no_mix_of_markup_panics(parts in prop::collection::vec(prop::sample::select(vec![
        "\\boxed{", "\\frac", "{", "}", "1", "-", "/", ",", ".", "%", "$", "answer", ":", " is ", "A", "(", ")", "**",
        "\\text{", "\\", "\n", " ", "é", "−", "####", "option",
    ]), 0..60)) {
        let text = parts.concat();
        for gold in ["7", "C", "x", text.as_str()] {
            verify(gold, &text);
        }
    }

    #[test]
    fn a_fraction_equals_its_multiples_and_nothing_else(n in -10_000i64..10_000, d in 1i64..500, k in 1i64..50) {
        let gold = format!("{n}/{d}");
        let equal = format!("\\boxed{{\\frac{{{}}}{{{}}}}}", n * k, d * k);
        let different = format!("\\boxed{{{}/{}}}", n * k + 1, d * k);
        let sentence = format!("It comes to {n}.");
        prop_assert!(correct(&gold, &equal), "{} and {}", gold, equal);
        prop_assert!(!correct(&gold, &different), "{} and {}", gold, different);
        prop_assert!(correct(&n.to_string(), &sentence), "{}", sentence);
    }

    #[test]
    fn the_last_box_wins(a in 0u32..1000, b in 0u32..1000) {
        let text = format!("\\boxed{{{a}}} no, \\boxed{{{b}}} and {a} was wrong \\boxed{{");
        prop_assert_eq!(verify(&b.to_string(), &text).extracted, Some(b.to_string()));
    }

    #[test]
    fn no_mix_of_mathematics_panics(parts in prop::collection::vec(prop::sample::select(vec![
        "\\boxed{", "\\frac", "\\sqrt", "[", "]", "{", "}", "(", ")", "1", "23", "0.5", "x", "y_1", "-", "+", "/", "^", "!", ",",
        "=", "<", "\\le", "\\in", "\\cup", "\\infty", "\\pm", "\\sin", "\\ln", "\\pi", "e", "i", "|", "%", "^\\circ", ":",
        "\\{", "\\}", "\\begin{pmatrix}", "\\end{pmatrix}", "&", "\\\\", "\\text{ cm}", " or ", " ", "\\log_2", "\\binom",
        "\\lfloor", "\\rfloor", "0", "10^{400}",
    ]), 0..24), split in 0usize..24) {
        let (gold, answer) = parts.split_at(split.min(parts.len()));
        let (gold, answer) = (gold.concat(), answer.concat());
        let first = verify(&gold, &answer);
        prop_assert_eq!(&first, &verify(&gold, &answer), "not the same twice");
        let whole = parts.concat();
        let itself = verify(&whole, &format!("\\boxed{{{whole}}}"));
        if !whole.contains("boxed") && itself.extracted.as_deref() == Some(whole.trim()) {
            let known = matches!(itself.verdict, Verdict::Equal | Verdict::GoldUnparsed);
            prop_assert!(known, "{} is not itself: {:?}", whole, itself);
        }
    }

    #[test]
    fn exact_numbers_are_equal_both_ways_and_nothing_near_them_is(
        n in -1_000_000i64..1_000_000, d in 1i64..10_000, k in 1i64..1000, places in 1u32..60
    ) {
        let written = [
            format!("\\frac{{{}}}{{{}}}", n * k, d * k),
            format!("{n}/{d}"),
            format!("{n} \\cdot \\frac{{1}}{{{d}}}"),
            format!("\\frac{{{n} \\cdot 2^{{70}}}}{{{d} \\cdot 2^{{70}}}}"),
        ];
        let near = format!("{n}/{d} + 10^{{-{places}}}");
        for a in &written {
            for b in &written {
                prop_assert!(correct(a, &format!("\\boxed{{{b}}}")), "{} and {}", a, b);
            }
            let found = verify(a, &format!("\\boxed{{{near}}}"));
            prop_assert_eq!(found.verdict, Verdict::Different, "{} and {}", a, near);
        }
    }

    #[test]
    fn a_power_of_a_sum_equals_its_expansion_and_no_other(a in -9i64..10, n in 1u32..7, at in 0u32..7) {
        let coefficient = |k: u32| (0..k).fold(1i64, |c, i| c * i64::from(n - i) / i64::from(i + 1)) * a.pow(n - k);
        let expanded = |change: i64| (0..=n)
            .map(|k| format!("{:+}x^{{{k}}}", coefficient(k) + if k == at.min(n) { change } else { 0 }))
            .collect::<Vec<_>>()
            .concat();
        let power = format!("(x{a:+})^{n}");
        prop_assert!(correct(&power, &format!("\\boxed{{{}}}", expanded(0))), "{} and {}", power, expanded(0));
        let changed = verify(&power, &format!("\\boxed{{{}}}", expanded(1)));
        prop_assert_eq!(changed.verdict, Verdict::Different, "{} and {}", power, expanded(1));
    }

    #[test]
    fn roots_are_taken_out_exactly(a in 1i64..1000, b in 2i64..1000) {
        let (whole, out) = (format!("\\sqrt{{{}}}", a * a * b), format!("{a}\\sqrt{{{b}}}"));
        prop_assert!(correct(&whole, &format!("\\boxed{{{out}}}")), "{} and {}", whole, out);
        let near = verify(&whole, &format!("\\boxed{{{a}\\sqrt{{{b}}} + 10^{{-90}}}}"));
        prop_assert_eq!(near.verdict, Verdict::Different, "{} and {}", whole, out);
    }

    #[test]
    fn an_interval_is_its_inequality(a in -100i64..100, width in 1i64..100, open in any::<bool>(), close in any::<bool>()) {
        let b = a + width;
        let interval = format!("{}{a}, {b}{}", if open { '(' } else { '[' }, if close { ')' } else { ']' });
        let chain = |open: bool| format!("{a} {} x {} {b}", if open { "<" } else { "\\le" }, if close { "<" } else { "\\le" });
        prop_assert!(correct(&interval, &format!("\\boxed{{{}}}", chain(open))), "{} and {}", interval, chain(open));
        let other = verify(&interval, &format!("\\boxed{{{}}}", chain(!open)));
        prop_assert_eq!(other.verdict, Verdict::Different, "{} and {}", interval, chain(!open));
    }
}
