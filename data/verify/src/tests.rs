use super::*;

mod golden;
mod hostile;
mod labels;
mod properties;

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
