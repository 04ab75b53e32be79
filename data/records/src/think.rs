//! Where thinking ends and the answer begins.
//!
//! R1 writes `<think>\n…\n</think>\n\n…` (DeepSeek-R1, arXiv:2501.12948, §2.2.1). Servers hand that text over in four
//! ways: split by a reasoning parser (vLLM's `reasoning`, DeepSeek's `reasoning_content`), inline with both tags,
//! inline without the opening tag (the chat template wrote it into the prompt, so it is not in the output:
//! vllm-project/vllm #12999), or cut short within the thinking.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Splits a reply into its thinking and its answer, both trimmed. Nothing is thrown away: without one complete block,
/// thinking is `None` and the answer is the whole text, with the opening tag if the thinking was cut short.
/// It undoes [`Trace::text`](crate::record::Trace::text).
pub fn split(reasoning: Option<&str>, content: &str) -> (Option<String>, String) {
    let content = content.trim();
    match reasoning.map(str::trim).filter(|r| !r.is_empty()) {
        // A parser gives all it saw as reasoning when the closing tag never came.
        Some(reasoning) if content.is_empty() => (None, format!("{OPEN}\n{reasoning}")),
        Some(reasoning) => (Some(reasoning.to_owned()), content.to_owned()),
        None => match inline_block(content) {
            Some((thinking, answer)) => (Some(thinking.to_owned()), answer.to_owned()),
            None => (None, content.to_owned()),
        },
    }
}

/// The thinking block that `text` begins with, opening tag or not, and what follows it.
fn inline_block(text: &str) -> Option<(&str, &str)> {
    let (thinking, answer) = text.strip_prefix(OPEN).unwrap_or(text).split_once(CLOSE)?;
    // An opening tag further on means that this is not one block (text before it, or blocks within blocks).
    (!thinking.contains(OPEN)).then(|| (thinking.trim(), answer.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{FinishReason, PromptId, Trace, TraceId};
    use proptest::prelude::*;

    fn check(reasoning: Option<&str>, content: &str, thinking: Option<&str>, answer: &str) {
        assert_eq!(
            split(reasoning, content),
            (thinking.map(str::to_owned), answer.to_owned()),
            "split({reasoning:?}, {content:?})"
        );
    }

    #[test]
    fn every_way_a_server_hands_it_over() {
        // A reasoning parser, as vLLM (trimmed) and as llama.cpp (keeps the line break).
        check(Some("3 + 4 = 7"), "It is 7.", Some("3 + 4 = 7"), "It is 7.");
        check(Some("3 + 4 = 7\n"), "\n\nIt is 7.", Some("3 + 4 = 7"), "It is 7.");
        // Inline.
        check(None, "<think>\n3 + 4 = 7\n</think>\n\nIt is 7.", Some("3 + 4 = 7"), "It is 7.");
        check(None, "  <think>3 + 4 = 7</think>It is 7.\n", Some("3 + 4 = 7"), "It is 7.");
        // Without a parser, the opening tag having been in the prompt.
        check(None, "3 + 4 = 7\n</think>\n\nIt is 7.", Some("3 + 4 = 7"), "It is 7.");
        // A server whose parser found nothing.
        check(Some(""), "<think>3 + 4 = 7</think>It is 7.", Some("3 + 4 = 7"), "It is 7.");
        check(Some(" \n"), "It is 7.", None, "It is 7.");
    }

    #[test]
    fn an_incomplete_block_is_no_thinking_and_keeps_its_text() {
        check(Some("3 + 4 ="), "", None, "<think>\n3 + 4 =");
        check(None, "<think>\n3 + 4 =", None, "<think>\n3 + 4 =");
        check(None, "It is 7.", None, "It is 7.");
        check(None, "", None, "");
    }

    #[test]
    fn an_empty_block_is_a_block() {
        check(None, "<think>\n\n</think>\n\nIt is 7.", Some(""), "It is 7.");
        check(None, "</think>It is 7.", Some(""), "It is 7.");
    }

    #[test]
    fn what_is_not_one_leading_block_stays_whole() {
        let preamble = "Sure. <think>3 + 4</think> 7";
        check(None, preamble, None, preamble);
        let nested = "<think>a <think>b</think> c</think> 7";
        check(None, nested, None, nested);
        check(None, "<think>a</think>b</think>c", Some("a"), "b</think>c");
    }

    proptest! {
        #[test]
        fn split_undoes_text(thinking in proptest::option::of(text()), answer in text()) {
            let (id, prompt) = (TraceId::from_stored(""), PromptId::from_stored(""));
            let trace = Trace::new(id, prompt, "", 0).with_text(thinking.clone(), answer.clone(), FinishReason::Stop);
            let expected = (thinking.map(|t| t.trim().to_owned()), answer.trim().to_owned());
            prop_assert_eq!(split(None, &trace.text()), expected);
        }

        #[test]
        fn no_letter_is_lost(reasoning in proptest::option::of(text()), content in "(<think>|</think>|a |\n|β){0,12}") {
            let (thinking, answer) = split(reasoning.as_deref(), &content);
            // All letters but those of the tags, which come and go.
            let letters = |text: &str| text.replace("think", "").chars().filter(|c| c.is_alphabetic()).count();
            let before = letters(reasoning.as_deref().unwrap_or_default()) + letters(&content);
            let after = letters(&thinking.unwrap_or_default()) + letters(&answer);
            prop_assert_eq!(before, after);
        }
    }

    /// Text with everything that could confuse a splitter, tags excepted.
    fn text() -> impl Strategy<Value = String> {
        "(think|<|>|/|\\\\boxed\\{7\\}|[ \n\t]|[a-z]|β|\u{0}){0,20}"
            .prop_filter("holds a tag", |s| !s.contains(OPEN) && !s.contains(CLOSE))
    }
}
