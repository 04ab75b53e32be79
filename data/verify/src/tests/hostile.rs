//! No text takes long or panics.

use super::*;

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

/// Every kind of nesting and repetition.
const EXPRESSION_PIECES: [&str; 75] = [
    "(",
    "[",
    "{",
    "\\{",
    "|",
    "\\frac{",
    "\\frac{1",
    "1\\frac{1",
    "\\frac1",
    "\\sqrt{",
    "\\sqrt[",
    "C_{",
    "x_{",
    "x^",
    "x^{",
    "2^",
    "9^",
    "9^9",
    "!",
    "5!",
    "-",
    "+",
    "±",
    "1±",
    "\\pm ",
    "1,",
    "(1,",
    "{1,",
    "1<",
    "x<",
    "x<1,",
    "\\cup ",
    "(1,2)\\cup",
    "\\sin ",
    "\\sin(",
    "\\ln ",
    "e^",
    "e^{",
    "\\log_",
    "\\begin{pmatrix}",
    "1&",
    "1\\\\",
    "\\binom{",
    "\\lfloor ",
    "x",
    "xyz",
    "2x+",
    "x/",
    "%",
    "^\\circ",
    "\\text{a}",
    "1 m ",
    "and ",
    "1 or ",
    "{x|",
    "\\overline{",
    "0.\\overline{3}",
    "1e9",
    "9e999999",
    "\\mathbb{R}",
    "\\setminus",
    ":",
    "1:",
    "=",
    "x=",
    "\\approx",
    "²",
    "√",
    "\\vec{",
    "f(x)=",
    "100!",
    "\\pi^",
    "\\le",
    "\\lex",
    "(9^9)^",
];

/// Answers up to the longest that are read as expressions, of every kind of nesting and repetition.
#[test]
fn hostile_expressions_take_bounded_work() {
    let started = std::time::Instant::now();
    for piece in EXPRESSION_PIECES {
        for length in [30, 300, 4000] {
            let start = piece.repeat(length / piece.len() + 1);
            for text in
                [start.clone(), format!("{start}1"), format!("{start}x{}", "}".repeat(20)), format!("1{start}2")]
            {
                for other in ["7", "x^2+1", "(1,2)", text.as_str()] {
                    verify(other, &format!("\\boxed{{{text}}}"));
                    verify(&text, other);
                }
            }
        }
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn huge_numbers_are_not_written_out() {
    let started = std::time::Instant::now();
    for (gold, answer, expected) in [
        ("9^{9^{9}}", "9^{9^{8}}", Verdict::Different),
        ("9^{9^{9^{9}}}", "9^{9^{9^{8}}}", Verdict::Different),
        ("9^{9^{9^{9^{9}}}}", "9^{9^{9^{9^{8}}}}", Verdict::Undecided),
        ("(10^{12})!", "(10^{12}+1)!", Verdict::Different),
        ("2^{100000000}-1", "2^{100000000}", Verdict::Undecided),
        ("2^{100000000}", "2^{100000000}", Verdict::Equal),
        ("1+10^{-300}\\sqrt{2}", "1", Verdict::Different),
        ("1+10^{-3000}\\sqrt{2}", "1", Verdict::Undecided),
        ("\\sqrt{10^{400}+1}", "10^{200}", Verdict::Different),
    ] {
        let found = verify(gold, &format!("\\boxed{{{answer}}}"));
        assert_eq!(found.verdict, expected, "{gold} and {answer}: {found:?}");
    }
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}
