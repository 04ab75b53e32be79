use proptest::prelude::*;

use super::*;

const LONG: &str = "A farmer keeps geese and sheep behind the old mill, and on Sunday morning she counts thirty heads and \
                    eighty-four feet in the yard; how many of the animals are sheep?";

fn item(id: &str, question: &str, solution: Option<&str>) -> Item {
    Item { benchmark: "farm".into(), id: id.into(), question: question.into(), solution: solution.map(Into::into) }
}

fn index(preset: Preset) -> Index {
    let solution = "Suppose that every head belonged to a goose, so that there would be sixty feet in the yard; the other \
                    twenty-four feet make twelve sheep.";
    Index::new(preset, vec![item("1", LONG, Some(solution)), item("2", "What is the capital of Ruritania?", None)])
}

fn rule(preset: Preset, prompt: &str, trace: &str) -> Option<String> {
    index(preset).check(prompt, &[trace]).map(|hit| format!("{}:{}", hit.item, hit.rule))
}

const ALL: [Preset; 6] =
    [Preset::OpenR1, Preset::S1, Preset::OpenThoughts, Preset::Deepseek, Preset::Qwen, Preset::Strict];

#[test]
fn the_question_itself_is_found_by_all_and_another_by_none() {
    for preset in ALL {
        assert!(rule(preset, LONG, "").is_some(), "{preset:?}");
        assert_eq!(
            rule(preset, "A shepherd counts the legs of his flock: 40 in all. How many sheep has he?", "hm"),
            None
        );
        assert_eq!(rule(preset, "", ""), None, "{preset:?}");
    }
}

#[test]
fn each_preset_has_its_own_rule() {
    use Preset::{Deepseek, OpenR1, OpenThoughts, Qwen, S1, Strict};
    // Eight words as they stand, punctuation included.
    let eight = "Today: on Sunday morning she counts thirty heads and then goes home. What then?";
    assert_eq!(rule(OpenR1, eight, "").as_deref(), Some("1:8-gram"));
    assert_eq!(rule(S1, eight, "").as_deref(), Some("1:8-gram"));
    assert_eq!(rule(Deepseek, eight, ""), None);
    assert_eq!(rule(Qwen, eight, ""), None);
    assert_eq!(rule(Strict, eight, "").as_deref(), Some("1:8-gram and subsequence"));
    // Other punctuation: words split at spaces are others.
    let punctuated = "Today: on Sunday, morning she counts (thirty heads and) then goes home. What then?";
    assert_eq!(rule(OpenR1, punctuated, ""), None);
    assert_eq!(rule(Strict, punctuated, "").as_deref(), Some("1:8-gram and subsequence"));
    // The reference solution in the thinking.
    let thinking = "Hm. Suppose that every head belonged to a goose, so that there would be sixty feet in the yard.";
    assert_eq!(rule(Deepseek, "Tell me.", thinking).as_deref(), Some("1:10-gram"));
    assert_eq!(rule(Strict, "Tell me.", thinking).as_deref(), Some("1:13-gram"));
    assert_eq!(rule(OpenR1, "Tell me.", thinking), None);
    // A short question: s1 finds it when equal, ours within a longer prompt, open-r1 never.
    let short = "what is the capital of ruritania";
    assert_eq!(rule(OpenR1, "What is the capital of Ruritania?", ""), None);
    assert_eq!(rule(S1, short, "").as_deref(), Some("2:exact"));
    assert_eq!(
        rule(Strict, "Quiz! What is the capital of Ruritania? Answer in a word.", "").as_deref(),
        Some("2:whole")
    );
    // A letter here and there.
    let spelled = LONG.replace("sheep?", "sheeps?").replace("farmer", "famer").replace("counts", "count");
    assert_eq!(rule(OpenThoughts, &spelled, "").as_deref(), Some("1:similar"));
    let hit = index(OpenThoughts).check(&spelled, &[]).unwrap();
    assert!(hit.evidence.starts_with("98") || hit.evidence.starts_with("99"), "{hit:?}");
    // Thirteen words, but little else of the question.
    let head = "A farmer keeps geese and sheep behind the old mill, and on Sunday he sings, \
                dances, reads, writes, cooks, bakes, runs, swims, drives, flies, sleeps, dreams and wakes. When?";
    assert_eq!(rule(Qwen, head, ""), None);
    assert_eq!(rule(Qwen, &LONG.replace("eighty-four", "ninety"), "").as_deref(), Some("1:13-gram and subsequence"));
}

#[test]
fn one_word_less_is_none() {
    use Preset::{Deepseek, OpenR1, Qwen, S1, Strict};
    let text = |n: usize| format!("{} zebra", LONG.split(' ').take(n).collect::<Vec<_>>().join(" "));
    for (preset, n) in [(OpenR1, 8), (S1, 8), (Deepseek, 10), (Qwen, 13), (Strict, 8)] {
        assert_eq!(rule(preset, &text(n - 1), ""), None, "{preset:?}");
        assert!(rule(preset, &text(n), "").is_some_and(|rule| rule.contains(&format!(":{n}-gram"))), "{preset:?}");
    }
    for (preset, n) in [(Deepseek, 10), (Strict, 13)] {
        assert_eq!(rule(preset, "Tell me.", &text(n - 1)), None, "{preset:?}");
        assert_eq!(rule(preset, "Tell me.", &text(n)), Some(format!("1:{n}-gram")), "{preset:?}");
    }
}

#[test]
fn a_subsequence_reaches_its_share() {
    let text = |n: usize, others: usize| {
        format!("{}{}", LONG.split(' ').take(n).collect::<Vec<_>>().join(" "), " zebra".repeat(others))
    };
    for (preset, n, others) in [(Preset::Qwen, 13, 8), (Preset::Strict, 8, 8)] {
        assert!(rule(preset, &text(n, others), "").is_some(), "{preset:?}");
        assert_eq!(rule(preset, &text(n, others + 1), ""), None, "{preset:?}");
    }
}

#[test]
fn strict_counts_words_of_prose_and_questions_that_have_them() {
    let found = |question: &str, prompt: &str| {
        Index::new(Preset::Strict, vec![item("1", question, None)]).check(prompt, &[]).map(|hit| hit.rule)
    };
    let within = |question: &str| found(question, &format!("Zebra, zebra: {question} zebra"));
    // Four of eight are no numbers, then three.
    assert_eq!(within("sum 1 2 3 4 of two cats").as_deref(), Some("8-gram and subsequence"));
    assert_eq!(within("sum 1 2 3 4 5 two cats"), None);
    // Short questions as a whole.
    for (question, whole) in
        [("Who sells the red apples of Mia?", true), ("Name a prime.", true), ("Solve it.", false), ("Why?", false)]
    {
        assert_eq!(within(question).as_deref(), whole.then_some("whole"), "{question}");
    }
    // A misspelt word in six leaves five in a row, by which similar ones are looked for.
    let words = "every evening nine hungry foxes leave their warm den under an old oak and walk along that quiet river \
                 until they smell fresh bread behind some farm";
    let misspelt = |every: usize| {
        let spell =
            |(i, word): (usize, &str)| if i % every == every - 1 { format!("{word}s") } else { word.to_owned() };
        words.split_whitespace().enumerate().map(spell).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found(words, &misspelt(6)).as_deref(), Some("similar"));
    assert_eq!(found(words, &misspelt(5)), None);
    // Eight words of five questions are theirs, of six they are a phrase.
    let phrase = "how many green bottles stand on the wall";
    for (count, is_theirs) in [(5, true), (6, false)] {
        let items = (0..count).map(|i| item(&i.to_string(), &format!("Say {phrase} of house {i}{i} today?"), None));
        let index = Index::new(Preset::Strict, items.collect());
        let prompt = format!("Tell me {phrase} now, my dear friend.");
        assert_eq!(index.check(&prompt, &[]).is_some(), is_theirs, "{count}");
    }
}

/// Read by eye, more than half of the hits by eight words alone were phrases such as these.
#[test]
fn a_phrase_in_another_question_is_no_evidence() {
    let phrase = "which of the following statements must be true about it";
    let other = format!("A triangle has sides of 3, 5 and 7 inches; {phrase}: its angles are acute?");
    let theirs = format!("Water flows through a pipe at constant speed while a pump fills the tank; {phrase}?");
    let known = item("1", &theirs, None);
    assert!(Index::new(Preset::OpenR1, vec![known.clone()]).check(&other, &[]).is_some());
    assert_eq!(Index::new(Preset::Strict, vec![known.clone()]).check(&other, &[]), None);
    // That it is one does not hide the item that the rest is of.
    let longer = |text: &str| text.replace("about it", "about it and why is that so");
    let theirs =
        format!("{} Give all of your reasons in full sentences, with units and a sketch of it.", longer(&theirs));
    let fence = "The fence of the square garden is painted by nine girls in eleven hours";
    let prompt = format!("{} {fence} and more.", longer(&other));
    for preset in [Preset::Strict, Preset::Qwen] {
        let index = Index::new(preset, vec![item("1", &theirs, None), item("2", fence, None)]);
        assert_eq!(index.check(&prompt, &[]).map(|hit| hit.item).as_deref(), Some("2"), "{preset:?}");
    }
}

#[test]
fn phrases_that_many_questions_share_are_none_of_theirs() {
    let questions: Vec<Item> = (0..8)
        .map(|i| {
            item(
                &i.to_string(),
                &format!("How many positive integers n less than {} are there such that it ends in {i}?", 100 + i),
                None,
            )
        })
        .collect();
    let common: Vec<Item> = questions
        .into_iter()
        .map(|item| Item {
            question: format!("Find the number of all the ordered pairs of integers. {}", item.question),
            ..item
        })
        .collect();
    let prompt = "Find the number of all the ordered pairs of integers whose sum is odd.";
    assert!(Index::new(Preset::OpenR1, common.clone()).check(prompt, &[]).is_some());
    assert!(Index::new(Preset::Strict, common).check(prompt, &[]).is_none());
}

/// What two questions share does not hide the one that is meant behind the one that is not.
#[test]
fn a_phrase_of_two_questions_is_evidence_of_the_one_that_is_alike() {
    let phrase = "which of the following statements must be true about it?";
    let other = format!(
        "Water flows through a pipe at constant speed while a pump fills the old tank on the roof of our school; {phrase}"
    );
    let meant = format!(
        "A ball is thrown upward from the edge of a tall cliff and lands in the sea below after four seconds; {phrase}"
    );
    let prompt = format!(
        "A stone is thrown downward from the top of a high cliff, then lands in the lake below after five minutes; {phrase}"
    );
    let (other, meant) = (item("other", &other, None), item("meant", &meant, None));
    for items in [vec![other.clone(), meant.clone()], vec![meant, other]] {
        let hit = Index::new(Preset::Strict, items).check(&prompt, &[]).unwrap();
        assert_eq!((hit.item.as_str(), hit.rule.as_str()), ("meant", "8-gram and subsequence"));
    }
}

#[test]
fn a_solution_in_the_prompt_is_evidence() {
    let solution = "Since every boat carries as many crates as there are sailors on it, we divide all crates by nine.";
    let index = Index::new(Preset::Strict, vec![item("1", "How many boats are there?", Some(solution))]);
    let hit = index.check(&format!("Grade this: {solution} Is it right or wrong, and why would that be?"), &[]);
    assert_eq!(hit.map(|hit| hit.rule).as_deref(), Some("13-gram"));
}

#[test]
fn the_evidence_is_the_words_as_they_stand() {
    let hit = index(Preset::Strict).check("So: ON SUNDAY morning, she counts thirty heads and...", &[]).unwrap();
    assert_eq!(hit.evidence, "ON SUNDAY morning, she counts thirty heads and");
    assert_eq!((hit.benchmark.as_str(), hit.item.as_str()), ("farm", "1"));
}

/// A worked step of arithmetic is in thousands of solutions; words and numbers together are not.
#[test]
fn sequences_of_signs_are_no_evidence() {
    let solution = "The boat carries 14 crates, each of them with 6 * 7 + 3 * 5 - 2 * 9 = 39 pears.";
    let index = Index::new(Preset::Strict, vec![item("1", "How many pears are on board?", Some(solution))]);
    assert_eq!(index.check("Work it out.", &["So 6 * 7 + 3 * 5 - 2 * 9 = 39."]), None);
    let told = "We know that the boat carries 14 crates, each of them with 6 * 7 + 3 * 5 pears or so.";
    assert_eq!(index.check("Work it out.", &[told]).map(|hit| hit.rule).as_deref(), Some("13-gram"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(question in "\\PC{0,80}", prompt in "\\PC{0,80}", trace in "\\PC{0,80}") {
        for preset in ALL {
            Index::new(preset, vec![item("1", &question, Some(&trace))]).check(&prompt, &[&trace]);
        }
    }

    /// Any eight words of the question, wherever they stand in a prompt, are found.
    #[test]
    fn every_sequence_is_found(start in 0usize..20, before in "[a-z ]{0,40}", after in "[a-z ]{0,40}") {
        let words: Vec<&str> = LONG.split(' ').skip(start).take(8).collect();
        let prompt = format!("{before} {} {after}", words.join(" "));
        prop_assert!(index(Preset::OpenR1).check(&prompt, &[]).is_some());
    }
}
