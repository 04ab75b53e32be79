use super::*;
use proptest::prelude::*;

fn correct(gold: &str, text: &str) -> bool {
    verify(gold, text).correct()
}

#[test]
fn equal_numbers_are_equal_however_they_are_written() {
    for (gold, answer) in [
        ("18", "\\boxed{18}"),
        ("18", "\\boxed{18.0}"),
        ("18", "\\boxed{18 \\text{ dollars}}"),
        ("18", "\\boxed{\\$18}"),
        ("18", "\\boxed{x = 18}"),
        ("18", "\\boxed{\\text{18 apples}}"),
        ("1234", "\\boxed{1,234}"),
        ("1,234", "\\boxed{1{,}234}"),
        ("1234567", "The total is 1,234,567."),
        ("-3.5", "So the answer is -3.5."),
        ("-7/2", "So we get $-3.50$"),
        ("\\frac{1}{2}", "\\boxed{0.5}"),
        ("\\frac12", "\\boxed{\\dfrac{1}{2}}"),
        ("0.5", "\\boxed{\\tfrac{2}{4}}"),
        ("-\\frac{1}{2}", "\\boxed{\\frac{-1}{2}}"),
        ("45%", "\\boxed{45\\%}"),
        ("45", "\\boxed{45\\%}"),
        ("0.45", "It is 45%."),
        ("90", "\\boxed{90^\\circ}"),
        ("-3", "\\boxed{−3}"),
        ("+3", "\\boxed{3}"),
        (".5", "\\boxed{0.5}"),
        ("007", "\\boxed{7}"),
        ("100000000000000000000000000000000000000000", "\\boxed{100000000000000000000000000000000000000000}"),
        ("The side is 3, so \\boxed{9}.", "\\boxed{9}"),
    ] {
        assert!(correct(gold, answer), "{gold} and {answer}: {:?}", verify(gold, answer));
    }
}

#[test]
fn different_answers_are_different() {
    for (gold, answer) in [
        ("18", "\\boxed{19}"),
        ("18", "\\boxed{-18}"),
        ("18", "\\boxed{18.0000000000000000000000001}"),
        ("1/3", "\\boxed{0.333333333}"),
        ("18", "\\boxed{1/18}"),
        ("5", "\\boxed{5 \\text{ million}}"),
        ("5 cm", "\\boxed{5 \\text{ m}}"),
        ("45%", "\\boxed{0.0045}"),
        ("18", "\\boxed{}"),
        ("18", "I do not know."),
        ("18", ""),
        ("12", "\\boxed{1,2}"),
        ("100000000000000000000000000000000000000000", "\\boxed{100000000000000000000000000000000000000001}"),
        ("(1,2)", "\\boxed{(2,1)}"),
        ("Paris", "\\boxed{London}"),
        ("0", "\\boxed{1/0}"),
    ] {
        assert!(!correct(gold, answer), "{gold} and {answer}");
    }
}

#[test]
fn text_answers_are_compared_without_markup() {
    for (gold, answer) in [
        ("Paris", "The answer is **Paris**."),
        ("Paris", "\\boxed{\\text{paris}}"),
        ("\\frac{\\sqrt{3}}{2}", "\\boxed{\\dfrac{\\sqrt{3}}{2}}"),
        ("(3, \\frac{\\pi}{2})", "\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}"),
        ("\\text{Evelyn}", "\\boxed{Evelyn}"),
        ("x^{2}-3x", "\\boxed{x^2 - 3x}"),
        ("4210_{5}", "\\boxed{4210_5}"),
        ("x \\le 0", "\\boxed{x \\leq 0}"),
        ("x \\in [-2,7]", "$\\boxed{x\\in[-2, 7]}$"),
    ] {
        assert!(correct(gold, answer), "{gold} and {answer}: {:?}", verify(gold, answer));
    }
    assert!(!correct("x^2", "\\boxed{x^{-2}}"));
    assert!(!correct("\\frac{\\sqrt{3}}{2}", "\\boxed{\\frac{\\sqrt{2}}{3}}"));
}

#[test]
fn a_gold_answer_has_a_kind() {
    for letter in ["A", "E", "(C)", "B.", "\\text{D}", " C "] {
        assert_eq!(AnswerKind::of(letter), AnswerKind::Choice, "{letter}");
    }
    for number in ["1", "-2.5", "3/4", "\\frac{3}{4}", "$12", "45%", "1,000", "12 apples"] {
        assert_eq!(AnswerKind::of(number), AnswerKind::Number, "{number}");
    }
    for text in ["F", "a", "AB", "x^2", "(1, 2)", "\\sqrt{2}", "3x", "", "x", "2\\pi"] {
        assert_eq!(AnswerKind::of(text), AnswerKind::Text, "{text}");
    }
}

/// Answers of Qwen2.5-3B-Instruct with the verdicts of Qwen's own grader, which rounds (1e-4) and uses SymPy.
#[test]
fn published_verdicts_are_met() {
    let Ok(shared) = std::env::var("R1D_SHARED") else {
        eprintln!("skipped: set R1D_SHARED to a folder with data/equivalence to compare with published verdicts");
        return;
    };
    let folder = std::path::Path::new(&shared).join("data/equivalence/qwen2.5_3b_instruct_math_evals");
    // How many right answers may be missed, for want of algebra or rounding; wrong ones must not be accepted.
    for (set, most_missed) in
        [("gsm8k", 0), ("amc23", 0), ("aime24", 0), ("sat_math", 0), ("svamp", 1), ("carp_en", 8), ("mawps", 67)]
    {
        let lines = std::fs::read_to_string(folder.join(format!("{set}.jsonl"))).unwrap();
        let (mut accepted, mut missed) = (Vec::new(), Vec::new());
        for line in lines.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let gold = row["gt"].as_str().map_or_else(|| row["gt"].to_string(), str::to_owned);
            let ours = verify(&gold, row["code"][0].as_str().unwrap());
            match (ours.correct(), row["score"][0].as_bool().unwrap()) {
                (true, false) => accepted.push((gold, ours.extracted)),
                (false, true) => missed.push((gold, ours.extracted)),
                _ => {}
            }
        }
        assert!(accepted.is_empty(), "{set}: {accepted:?}");
        assert!(missed.len() <= most_missed, "{set}: {missed:?}");
    }
}

#[test]
fn hostile_text_takes_linear_time() {
    let n = 1 << 20;
    let started = std::time::Instant::now();
    let pieces = [
        "{",
        "}",
        "{}",
        "\\boxed{",
        "\\boxed{}",
        "\\",
        "\\frac{",
        "\\frac{1}{",
        "1",
        "1,",
        "1.",
        "1/",
        "-",
        "answer",
        "answer: ",
        "answer is ",
        "answer:\n",
        "(A",
        "**",
        "A ",
        "A\n",
        "\u{1f600}",
        "\\text{",
        "option ",
        "####",
        "$",
        "é\u{301}",
        "\\boxed ",
        " ",
    ];
    for piece in pieces {
        let text = piece.repeat(n / piece.len());
        for gold in ["7", "C", "x^2"] {
            verify(gold, &text);
            verify(&text, gold);
        }
    }
    // Quadratic work on one of them alone would take minutes.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

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
}
