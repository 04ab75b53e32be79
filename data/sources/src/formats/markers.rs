//! Where the thinking ends, by the marks that a format puts around it. Tolerant of spaces, and of a missing `<think>`,
//! which chat templates write into the prompt; of nothing else, so that no thinking is ever taken for an answer. What
//! cannot be split says why.

use crate::rows::Flaw;

/// `<think>…</think>` and what follows, both trimmed.
pub(super) fn think(text: &str) -> Result<(String, String), Flaw> {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    let text = text.trim();
    let Some((thinking, answer)) = text.split_once(CLOSE) else {
        let (open, none) = (
            "its thinking does not end: there is no </think>",
            "it has no thinking: there is neither <think> nor </think>",
        );
        return Err(Flaw::other(if text.contains(OPEN) { open } else { none }));
    };
    let inner = thinking.strip_prefix(OPEN).unwrap_or(thinking);
    if inner.contains(OPEN) {
        return Err(Flaw::other("its thinking has no clear beginning: there is a <think> after other text"));
    }
    Ok((inner.trim().to_owned(), answer.trim().to_owned()))
}

/// As [`think`], with the answer between `<answer>` tags, if they are there.
pub(super) fn think_and_answer(text: &str) -> Result<(String, String), Flaw> {
    let (thinking, answer) = think(text)?;
    let Some(inner) = answer.strip_prefix("<answer>") else { return Ok((thinking, answer)) };
    match inner.strip_suffix("</answer>") {
        Some(inner) => Ok((thinking, inner.trim().to_owned())),
        None => Err(Flaw::other("its answer does not end: there is no </answer> at the end")),
    }
}

/// `<|begin_of_thought|>…<|end_of_thought|>` and `<|begin_of_solution|>…<|end_of_solution|>`, as SkyThought's prompt asks
/// for it: each once, in this order, and nothing around them.
pub(super) fn thought(text: &str) -> Result<(String, String), Flaw> {
    const MARKS: [&str; 4] =
        ["<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"];
    let mut pieces = Vec::with_capacity(MARKS.len());
    let mut rest = text;
    for mark in MARKS {
        let (before, after) =
            rest.split_once(mark).ok_or_else(|| Flaw::other(format!("there is no {mark} where it should be")))?;
        pieces.push(before);
        rest = after;
    }
    if let Some(mark) = MARKS.iter().find(|mark| pieces.iter().chain([&rest]).any(|piece| piece.contains(**mark))) {
        return Err(Flaw::other(format!("{mark} is there twice, or not where it should be")));
    }
    match (pieces.as_slice(), rest) {
        ([before, thinking, between, solution], after)
            if [before, between, &after].iter().all(|t| t.trim().is_empty()) =>
        {
            Ok((thinking.trim().to_owned(), solution.trim().to_owned()))
        }
        _ => Err(Flaw::other("there is text outside of the thought and the solution")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(thinking: &str, answer: &str) -> (String, String) {
        (thinking.to_owned(), answer.to_owned())
    }

    fn reason(result: Result<(String, String), Flaw>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn think_tags_are_found_and_what_lacks_them_says_so() {
        assert_eq!(think("<think>\nIt is 4.\n</think>\n\n4"), Ok(pair("It is 4.", "4")));
        assert_eq!(think(" It is 4.\n</think>4\n"), Ok(pair("It is 4.", "4")));
        assert_eq!(think("<think></think>4"), Ok(pair("", "4")));
        assert_eq!(think("<think>a</think>say </think>"), Ok(pair("a", "say </think>")));
        assert!(reason(think("<think> so far")).contains("does not end"));
        assert!(reason(think("4")).contains("no thinking"));
        assert!(reason(think("Sure. <think>a</think>4")).contains("no clear beginning"));
        assert!(reason(think("<think>a<think>b</think>4")).contains("no clear beginning"));
    }

    #[test]
    fn answer_tags_go_in_pairs() {
        assert_eq!(think_and_answer("<think>a</think>\n<answer> 4 </answer>"), Ok(pair("a", "4")));
        assert_eq!(think_and_answer("<think>a</think>4"), Ok(pair("a", "4")));
        assert!(reason(think_and_answer("<think>a</think><answer>4")).contains("</answer>"));
    }

    #[test]
    fn thought_and_solution_stand_once_each_and_alone() {
        let text = |t: &str, s: &str| {
            format!(
                "<|begin_of_thought|>\n\n{t}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n{s}\n\n<|end_of_solution|>"
            )
        };
        assert_eq!(thought(&text("It is 4.", "4")), Ok(pair("It is 4.", "4")));
        assert_eq!(thought(&text("", "")), Ok(pair("", "")));
        assert!(reason(thought("4")).contains("no <|begin_of_thought|>"));
        assert!(reason(thought(&text("a", "b").replace("<|end_of_solution|>", ""))).contains("no <|end_of_solution|>"));
        assert!(reason(thought(&text("a <|begin_of_thought|>", "b"))).contains("twice"));
        assert!(reason(thought(&text("a", "b <|end_of_thought|>"))).contains("twice"));
        assert!(reason(thought(&format!("Well. {}", text("a", "b")))).contains("outside"));
        assert!(reason(thought(&format!("{} Done.", text("a", "b")))).contains("outside"));
    }

    proptest! {
        #[test]
        fn what_was_put_between_marks_comes_back(thinking in words(), answer in words()) {
            let expected = (thinking.trim().to_owned(), answer.trim().to_owned());
            prop_assert_eq!(think(&format!("<think>\n{thinking}\n</think>\n\n{answer}")).unwrap(), expected.clone());
            prop_assert_eq!(think(&format!("{thinking}</think>{answer}")).unwrap(), expected.clone());
            let tagged = format!("<think>{thinking}</think> <answer>{answer}</answer>");
            prop_assert_eq!(think_and_answer(&tagged).unwrap(), expected.clone());
            let marked = format!(
                "<|begin_of_thought|>{thinking}<|end_of_thought|> <|begin_of_solution|>{answer}<|end_of_solution|>"
            );
            prop_assert_eq!(thought(&marked).unwrap(), expected);
        }

        #[test]
        fn any_text_is_split_or_refused_and_nothing_is_made_up(text in noise()) {
            type Split = fn(&str) -> Result<(String, String), Flaw>;
            let splits: [(Split, &str); 3] = [(think, "think>"), (think_and_answer, "think>"), (thought, "_thought|>")];
            for (split, mark) in splits {
                if let Ok((thinking, answer)) = split(&text) {
                    prop_assert!(text.contains(&thinking) && text.contains(&answer));
                    prop_assert!(!thinking.contains(mark));
                }
            }
        }
    }

    /// Text with what could confuse a splitter, but no mark.
    fn words() -> impl Strategy<Value = String> {
        "(think|<|>|/|answer|\\||end_of|[ \n\t]|[a-z]|β|\u{0}){0,20}".prop_filter("holds a mark", |s| {
            !["<think>", "</think>", "<answer>", "</answer>"].iter().any(|mark| s.contains(mark))
        })
    }

    /// Text of nothing but marks and letters.
    fn noise() -> impl Strategy<Value = String> {
        "(<think>|</think>|<answer>|</answer>|<\\|begin_of_thought\\|>|<\\|end_of_thought\\|>|<\\|begin_of_solution\\|>|\
          <\\|end_of_solution\\|>|a| |\n|β){0,9}"
    }
}
