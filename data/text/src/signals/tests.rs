use proptest::prelude::*;

use super::*;
use records::record::{FinishReason, PromptId, Sampling, TraceId};

fn trace(thinking: &str, answer: &str) -> Trace {
    Trace::new(TraceId::from_stored("t"), PromptId::from_stored("p"), "t", 0)
        .with_text((!thinking.is_empty()).then(|| thinking.into()), answer, FinishReason::Stop)
        .with_tokens(None, Some(100))
        .with_sampling(Sampling { temperature: 0.6, top_p: 0.95, max_tokens: 200 }, None)
}

fn of(thinking: &str, answer: &str) -> Signals {
    signals("What is it?", &trace(thinking, answer))
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
        ("উত্তরটি চার, কারণ দুই আর দুই চার।", Ending::Complete),
        ("जल सौ डिग्री पर उबलता है और भाप बन जाता है।", Ending::Complete),
        ("هل هذا هو الجواب الصحيح على السؤال المطروح؟", Ending::Complete),
        ("So we take the third one.\n\nC. water boils at a lower temperature there", Ending::Complete),
        ("**Answer**: D) the height of the old tower", Ending::Complete),
        ("(1/2 + 1/3) × 6x = 3x + 2x = 5x", Ending::Complete),
        ("Then:\n\n---", Ending::Complete),
        ("The word is called \"noun.\"", Ending::Complete),
        ("**Answer:** B. ions of Cu2+", Ending::Complete),
        ("B. the current is 2.0 x 10<sup>8</sup>", Ending::Complete),
        ("There is one left over.\n\n42 apples", Ending::Complete),
        ("So 42", Ending::Complete),
        ("There is one left over.\n\n**Answer:** A", Ending::Complete),
        ("There is one left over.\n\nTherefore, Ann", Ending::Sentence),
        ("There is one left over.\n\n- Since each", Ending::Sentence),
        ("Step 2: Add the", Ending::Sentence),
        ("Wait,", Ending::Sentence),
        ("The number of ways is 2,", Ending::Sentence),
        ("The remaining options are:", Ending::Sentence),
        ("It says, \"", Ending::Sentence),
        ("so x =", Ending::Sentence),
        ("There are 4 apples +", Ending::Sentence),
        ("উত্তরটি চার, কারণ দুই আর দুই মিলে চা", Ending::Sentence),
        ("- the heat that is taken up by the water is equal to the heat that is given off by the", Ending::Sentence),
    ] {
        assert_eq!(of("t", text).ending, expected, "{text:?}");
    }
    // The answer begins in the middle of a thought.
    let cut = of("The tower is older than the bridge, so the bridge must have been bui", "lt later. The answer is B.");
    assert_eq!((cut.thinking_ending, cut.ending), (Ending::Sentence, Ending::Complete));
    assert!(signals("q", &Trace { max_tokens: Some(100), ..trace("t", "a") }).at_limit);
    assert!(!of("t", "a").at_limit);
}

#[test]
fn loops_at_the_end_are_found_and_rules_are_not() {
    let words = "Let me check this again. We have to be careful here, since the sum may be odd. ";
    let looping = |piece: &str, times| of(&format!("{words}{}", piece.repeat(times)), "4").loop_chars;
    assert!(looping("Wait, that is not right. ", 40) >= 25 * 39);
    assert!(looping("Wait, that is not right. ", 3) == 0);
    assert!(looping(&format!("{words} And then once more from the start. "), 5) > 500, "a long piece");
    let page = (0..400).map(|i| format!("w{} ", i * 7919 % 1000)).collect::<Vec<_>>().concat();
    assert!(looping(&page, 5) > 7000, "a page");
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
    assert!((of("a b\nc d\n\na b\na b\n", "4").duplicate_sentences - 0.5).abs() < 1e-6);
    let remark = "Wait, let me look at this once more, as it may be wrong. ";
    let remarked = (0..20).map(|i| format!("The number {i} is no root of it. {remark}")).collect::<Vec<_>>().concat();
    assert!(of(&remarked, "4").duplicate_sentences > 0.5);
    assert!(of("৭ একটি মৌলিক সংখ্যা। ৭ একটি মৌলিক সংখ্যা। 3.5 and 3.5", "4").duplicate_sentences > 0.4);
    // What LaTeX and code repeat says nothing.
    let formulas: String = ["first", "second", "third"]
        .map(|name| format!("Now for the {name} of the equations that we wrote down:\n\\[\nx = {name}\n\\]\n"))
        .concat();
    assert!(of(&formulas, "4").duplicate_sentences < 0.1);
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
fn languages_are_told_by_script_and_small_words() {
    let english = "The teacher wrote the problem on the board and asked the students to think about it for a while, and so they did.";
    let bengali = "শিক্ষক বোর্ডে সমস্যাটি লিখলেন এবং ছাত্রদের কিছুক্ষণ ভাবতে বললেন, কারণ সংখ্যাগুলো তাদের আগে দেখা সংখ্যার চেয়ে বড় ছিল, আর সময়ও ছিল কম। ";
    assert_eq!(of(bengali, "4").language.as_deref(), Some("ben"));
    assert_eq!(of("Ответ равен четырём, потому что дважды два четыре.", "4").language.as_deref(), Some("rus"));
    let vietnamese = "Giáo viên viết bài toán lên bảng và yêu cầu học sinh suy nghĩ một lúc, vì các số này lớn hơn những gì các em đã thấy trong lớp.";
    let signals = of(vietnamese, "4");
    assert_eq!((signals.language.as_deref(), signals.foreign_script), (Some("vie"), 0.0));
    let quoting =
        format!("{english} The word \"শিক্ষক\" means teacher, and \"ছাত্র\" means student, and both of them are nouns.");
    let quoting = of(&format!("{quoting}\n\n{quoting}"), "4");
    assert_eq!((quoting.language.as_deref(), quoting.foreign_paragraphs), (Some("eng"), 0.0));
    assert!(quoting.foreign_script > 0.03);
    // A paragraph of names, one of symbols, and one around a formula of several lines are in no language.
    for paragraph in [
        "- Ines: 2 metros\n- Olivia: 3 metros\n- Betty: 5 metros\n- Philip: 2 metros\n- Jaden: 2 metros\n- Malia: 4 metros",
        "Ines has 7 pens, and her sister gives Ines 2 more per day. Her father gives her as many as Otto, Selma and Rosalia have.",
        "a(1 + b) + ab + ac + ad + ae + bc + bd + be + cd + ce + de + abc + abd + abe + acd + ace + ade + bcd + bce + bde + cde + abcd",
        "Expand:\n\\[\nle + la + les + des + et + est + que + nous + pour + dans + du + une + pas + donc + qui + le + la + les + des\n\\]",
    ] {
        let signals = of(&format!("{english}\n\n{paragraph}\n\n{english}"), "4");
        assert_eq!((signals.language.as_deref(), signals.foreign_paragraphs), (Some("eng"), 0.0), "{paragraph}");
    }
    assert!(of(&format!("{english}\n\n{bengali}"), "4").foreign_paragraphs > 0.4);
}

#[test]
fn a_slip_into_another_script_is_found() {
    let stray =
        |question: &str, thinking: &str, answer: &str| signals(question, &trace(thinking, answer)).stray_letters;
    assert_eq!(stray("How old?", "He is older than 选项 and so on.", "Seven."), 2);
    assert_eq!(stray("How old?", "He is older.", "Seven, отсутствует."), 11, "in the answer");
    assert_eq!(stray("How old?", "Rahimа is seven.", "Seven."), 1, "one letter that looks like another");
    assert_eq!(stray("বয়স কত?", "The question says বয়স, which is age.", "সাত।"), 0, "it is in the question");
    assert_eq!(stray("তুমি কে?", "They ask who.", "আমি 直接 বলি।"), 2);
    assert_eq!(stray("Where is tea from?", "The Chinese word for it is 茶, cha.", "China."), 0, "it is spoken of");
    assert_eq!(stray("多大？", "他七岁，年龄是7。", "七岁 (seven years)."), 0, "Latin is everywhere");
    assert_eq!(stray("いくつ", "七つです。", "七"), 0, "Japanese mixes its scripts");
    assert_eq!(stray("How much?", "Take 2ⁿ µm of Ωₙ, the café, and ṣ: 𝑥 + ℝ.", "4"), 0, "signs");
    assert_eq!(of("It is 4\u{fffd}.", "The \u{fffd}\u{fffd}.").lost_characters, 3);
}

#[test]
fn paragraphs_end_at_items_formulas_and_code() {
    let longest = |text: &str| of(text, "4").longest_paragraph;
    let sentence = "It is a sentence of a paragraph. ".repeat(10);
    assert_eq!(longest(&sentence), 329);
    assert_eq!(longest(&format!("{sentence}\n  \n{sentence}")), 329, "a line of spaces is empty");
    assert_eq!(longest(&format!("{sentence}\n{sentence}")), 658);
    assert_eq!(longest(&(1..50).map(|i| format!("{i}. The item\n")).collect::<Vec<_>>().concat()), 12);
    assert_eq!(longest(&format!("Take\n\\[\n{sentence}\n\\]\nthen\n$$\n{sentence}\n$$\nend.")), 4);
    assert_eq!(longest(&format!("```\n{sentence}\n```\nend.")), 4);
    assert_eq!(longest(&format!("\\[ never closed\n\n{sentence}")), 329);
}

#[test]
fn phrases_are_found_as_whole_words() {
    assert!(of("As an AI developed to help, I think", "4").identity);
    assert!(of("I’m DeepSeek, so", "4").identity);
    assert!(of("I would look it up, but I can’t access the internet.", "4").identity);
    assert!(of("The user expects the assistant to choose one.", "4").identity);
    assert!(!of("We take this as an aim of the proof; the AI class has 20 students.", "4").identity);
    assert!(!of("The shop assistant sold 4 books, and the internet was founded later.", "4").identity);
    assert!(of("t", "I'm sorry, but I can't help with that.").refusal);
    assert!(of("t", "I apologize, but I cannot answer that question.").refusal);
    assert!(of("t", "很抱歉，我无法回答这个问题。").refusal);
    assert!(!of("t", "The function is able to do it. I will not be long: 4.").refusal);
    let late = format!("{} I'm sorry, but I can't help.", "A long answer about numbers. ".repeat(20));
    assert!(!of("t", &late).refusal, "only how an answer begins");
}

#[test]
fn leaks_are_told_from_the_words_of_maths_and_exams() {
    for text in [
        "According to the answer key it is B.",
        "But the reference solution says 12, so I must have lost a factor.",
        "Hmm. The user says the correct answer is B. Let me see why.",
        "Why is the user’s answer D?",
        "The provided answer is 42, which does not match mine.",
        "I was told the answer is 7.",
        "The given answer is 7, though.",
        "The correct answer is given as (C), so let me work backwards.",
        "The ground truth answer must be even.",
    ] {
        assert!(of(text, "4").leak, "{text}");
    }
    for text in [
        "The solution is found by adding.",
        "Substitute the given solution x = 3 into the equation.",
        "Compare with the given solution set x > 2.",
        "There are 0.2 moles in the given solution.",
        "It matches none of the provided answer choices.",
        "Perhaps the expected answer is B.",
        "Maybe the answer key has B, if the user says the answer is B.",
        "The user says there is one correct answer.",
        "The user says the correct answer is one of them.",
        "According to the solution, any x between 0 and 1 works.",
        "In many books the answer is given as an integer.",
    ] {
        assert!(!of(text, "4").leak, "{text}");
    }
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
    assert_eq!(kinds("from 8.110.4.4"), Some("ip_address".into()), "10. stands within it");
    assert_eq!(kinds("10.0.0.1 and 192.168.0.1"), None, "private networks");
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
        for share in [signals.distinct_20grams, signals.duplicate_sentences, signals.foreign_script, signals.foreign_paragraphs] {
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
