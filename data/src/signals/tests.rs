use proptest::prelude::*;

use super::*;
use crate::record::FinishReason;

fn trace(thinking: &str, answer: &str) -> Trace {
    Trace {
        id: "t".into(),
        prompt_id: "p".into(),
        sample: 0,
        thinking: (!thinking.is_empty()).then(|| thinking.into()),
        answer: answer.into(),
        finish_reason: FinishReason::Stop,
        prompt_tokens: None,
        completion_tokens: Some(100),
        teacher: "t".into(),
        temperature: None,
        top_p: None,
        max_tokens: Some(200),
        seed: None,
    }
}

fn of(thinking: &str, answer: &str) -> Signals {
    signals(&trace(thinking, answer))
}

#[test]
fn endings_are_told_apart() {
    for (text, expected) in [
        ("So the answer is 4.", Ending::Complete),
        ("The answer is **4**", Ending::Complete),
        ("Thus \\(x = 4\\)", Ending::Complete),
        ("\\boxed{\\frac{1}{2}}", Ending::Complete),
        ("答案是四。", Ending::Complete),
        ("1. First\n2. Second step of the list of things", Ending::Complete),
        ("It costs $5.", Ending::Complete),
        ("That is $5 and then $6 in all.", Ending::Complete),
        ("```python\nprint(1)\n```", Ending::Complete),
        ("**Final answer**\n\n42", Ending::Complete),
        ("", Ending::Empty),
        (" \n", Ending::Empty),
        ("We now have to look at the second case where x", Ending::Sentence),
        ("Here is the program:\n```python\nprint(1)", Ending::Fence),
        ("We get \\[ x = 4", Ending::Maths),
        ("We get $$ x = 4", Ending::Maths),
        ("Therefore $x", Ending::Maths),
        ("The result is \\boxed{\\frac{1}{2}", Ending::Box),
    ] {
        assert_eq!(of("t", text).ending, expected, "{text:?}");
    }
    assert!(signals(&Trace { max_tokens: Some(100), ..trace("t", "a") }).at_limit);
    assert!(!of("t", "a").at_limit);
}

#[test]
fn loops_at_the_end_are_found_and_rules_are_not() {
    let words = "Let me check this again. We have to be careful here, since the sum may be odd. ";
    let looping = |piece: &str, times| of(&format!("{words}{}", piece.repeat(times)), "4").loop_chars;
    assert!(looping("Wait, that is not right. ", 40) >= 25 * 39);
    assert!(looping("Wait, that is not right. ", 3) == 0);
    assert!(looping(&format!("{words} And then once more from the start. "), 5) > 500, "a long piece");
    assert!(looping("数学题很难。", 20) >= 119);
    assert_eq!(looping("-", 500), 0, "a rule");
    assert_eq!(of(words, words).loop_chars, 0);
    // Cut off within a repetition, as loops are.
    let cut = format!("{words}{}Wait, that i", "Wait, that is not right. ".repeat(30));
    assert!(of(&cut, "").loop_chars > 700);
    assert!(of("", &"no no ".repeat(50)).loop_chars > 200, "in the answer");
}

#[test]
fn repetition_is_counted() {
    let sentence: String = (0..25).map(|i| format!("w{i} ")).collect::<Vec<_>>().concat();
    let signals = of(&sentence.repeat(30), "4");
    assert_eq!(signals.most_repeated_20gram, 30);
    assert!(signals.distinct_20grams < 0.05 && signals.compression > 10.0, "{signals:?}");
    let fresh: String = (0..500).map(|i| format!("word{} ", i * 7919 % 1000)).collect::<Vec<_>>().concat();
    let signals = of(&fresh, "4");
    assert_eq!((signals.most_repeated_20gram, signals.distinct_20grams), (1, 1.0));
    assert!((of("a b\nc d\n\na b\na b\n", "4").duplicate_lines - 0.5).abs() < 1e-6);
}

#[test]
fn languages_and_scripts_are_told_apart() {
    let english = "The teacher wrote the problem on the board and asked the students to think about it for a while, \
                   because the numbers were larger than what they had seen before in the class.";
    let german = "Die Lehrerin schrieb die Aufgabe an die Tafel und bat die Schüler, eine Weile darüber nachzudenken, \
                  weil die Zahlen größer waren als alles, was sie vorher gesehen hatten.";
    let chinese = "老师把问题写在黑板上，让学生们想一想，因为这些数字比他们以前在课堂上见过的都要大。".repeat(3);
    let plain = of(&format!("{english}\n\n{english}"), "4");
    assert_eq!(plain.language.as_deref(), Some("eng"));
    assert_eq!((plain.foreign_script, plain.foreign_paragraphs), (0.0, 0.0));
    let mixed = of(&format!("{english}\n\n{german}\n\n{english}"), "4");
    assert_eq!(mixed.language.as_deref(), Some("eng"));
    assert!((mixed.foreign_paragraphs - 1.0 / 3.0).abs() < 1e-6, "{mixed:?}");
    let mixed = of(&format!("{english}\n\n{english}\n\n{chinese}"), "4");
    assert!(mixed.foreign_script > 0.2, "{mixed:?}");
    assert_eq!(of(&chinese, "4").language.as_deref(), Some("cmn"));
    // Formulas, code and commands are no language.
    let maths = format!("{english} $$\\text{{число}} = \\alpha$$ and `число` \\(число\\)\n```\nчисло = 1\n```\n");
    assert!(of(&maths, "4").foreign_script.abs() < 1e-9);
    assert_eq!(of("3 + 4 = 7", "7").language, None);
}

#[test]
fn phrases_are_found_as_whole_words() {
    assert!(of("As an AI developed to help, I think", "4").identity);
    assert!(of("I’m DeepSeek, so", "4").identity);
    assert!(!of("We take this as an aim of the proof; the AI class has 20 students.", "4").identity);
    assert!(of("t", "I'm sorry, but I can't help with that.").refusal);
    assert!(!of("t", "The function is able to do it. I will not be long: 4.").refusal || of("t", "I will not").refusal);
    let late = format!("{} I'm sorry, but I can't help.", "A long answer about numbers. ".repeat(20));
    assert!(!of("t", &late).refusal, "only how an answer begins");
    assert!(of("According to the answer key it is B.", "B").leak);
    assert!(!of("The solution is found by adding.", "4").leak);
}

#[test]
fn secrets_have_their_shapes() {
    let kinds = |text: &str| of(text, "4").secrets;
    assert_eq!(kinds("write to jane.doe@mail.company.org now").as_deref(), Some("email"));
    assert_eq!(kinds("jane@example.com"), None, "an example");
    assert_eq!(kinds("key AKIAABCDEFGHIJKLMNOP").as_deref(), Some("aws_key"));
    assert_eq!(kinds(&format!("ghp_{}", "a1".repeat(18))).as_deref(), Some("github_token"));
    assert_eq!(kinds("-----BEGIN RSA PRIVATE KEY-----").as_deref(), Some("private_key"));
    assert_eq!(kinds("4539 1488 0343 6467").as_deref(), Some("card"));
    assert_eq!(kinds("4539 1488 0343 6468"), None, "the check digit is wrong");
    assert_eq!(kinds("call (415) 555-2671 or 8.8.8.8").as_deref(), Some("phone,ip_address"));
    assert_eq!(kinds("1234 * 5678 = 7006652, 3.14.15.9265, x@y, section 1.2.3"), None);
}

#[test]
fn work_is_linear() {
    let n = 1 << 20;
    let started = std::time::Instant::now();
    for piece in [
        "a",
        "ab ",
        "$",
        "`",
        "\\",
        "\\(",
        "{",
        "\\boxed{",
        "\n",
        "\n\n",
        "@",
        "a@",
        "1.",
        "1 1",
        "数",
        "-",
        "é\u{301}",
        "```\n",
    ] {
        let text = piece.repeat(n / piece.len());
        of(&text, &text);
        println!("{piece:?}: {:?} so far", started.elapsed());
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(thinking in "\\PC{0,300}", answer in "\\PC{0,100}") {
        let signals = of(&thinking, &answer);
        for share in [signals.distinct_20grams, signals.duplicate_lines, signals.foreign_script, signals.foreign_paragraphs] {
            prop_assert!((0.0..=1.0).contains(&share));
        }
    }

    #[test]
    fn no_mix_of_markup_panics(parts in prop::collection::vec(prop::sample::select(vec![
        "$", "$$", "\\", "\\(", "\\)", "\\[", "\\]", "{", "}", "`", "```", "\n", "\n\n", "\\boxed{", "é", "数", "@", ".", "1", " a ", "’",
    ]), 0..80)) {
        let text = parts.concat();
        of(&text, &text);
    }

    /// A piece repeated often enough is found whatever stands before it.
    #[test]
    fn every_loop_is_found(before in "[a-z ]{0,200}", piece in "[a-z]{4,30} [a-z]{4,30}[.] ", times in 8usize..30) {
        let text = format!("{before}{}", piece.repeat(times));
        prop_assert!(of(&text, "4").loop_chars as usize >= piece.len() * times - 1);
    }
}
