//! Reading what the judge wrote: `{"analysis": "...", "correctness": "correct"}`, after thinking, prose or quotations of
//! its own, in a fence or bare.

use std::fmt::Write as _;

use records::record::{FinishReason, JudgeVerdict, Trace};
use serde::Deserialize;
use serde_json::Value;

/// Verdicts are narrow; the whole reply is in the ledger.
const MOST_ANALYSIS_CHARS: usize = 1000;

/// So many beginnings of objects are looked at, from the end: texts of nothing but braces cost no more.
const MOST_OBJECTS: usize = 100;

/// A verdict and what was said for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// The verdict.
    pub verdict: JudgeVerdict,
    /// Why: the judge's analysis, a reply that cannot be read, or the endpoint's words; its beginning.
    pub analysis: String,
}

impl Opinion {
    /// What a reply says. One that was cut short is not read: what it quotes may look like a verdict.
    pub fn of_reply(reply: &Trace) -> Self {
        let whole = matches!(reply.finish_reason, FinishReason::Stop | FinishReason::Unknown);
        let text = reply.answer.rsplit_once("</think>").map_or(reply.answer.as_str(), |(_, after)| after);
        match last_opinion(text).filter(|_| whole) {
            Some((verdict, analysis)) => Self::new(verdict, &analysis),
            None => Self::new(JudgeVerdict::Unreadable, text),
        }
    }

    /// What it means that the endpoint refused the request, with its words.
    pub fn of_refusal(message: &str) -> Self {
        Self::new(JudgeVerdict::Refused, message)
    }

    fn new(verdict: JudgeVerdict, analysis: &str) -> Self {
        Self { verdict, analysis: analysis.trim().chars().take(MOST_ANALYSIS_CHARS).collect() }
    }
}

/// The last object with both keys, if no key `correctness` comes after it: that would be of an object that is broken, within
/// which this one is a quotation.
fn last_opinion(text: &str) -> Option<(JudgeVerdict, String)> {
    let begins = |rest: &str| rest[1..].trim_start().starts_with('"');
    let places = text.rmatch_indices('{').map(|(at, _)| at).filter(|at| begins(&text[*at..])).take(MOST_OBJECTS);
    for at in places {
        let Some((object, end)) = object(&text[at..]) else { continue };
        let (Some(analysis), Some(correctness)) = (object.get("analysis"), object.get("correctness")) else { continue };
        if text[at + end..].contains("correctness") {
            return None;
        }
        let verdict = match correctness.as_str()?.trim().to_lowercase().as_str() {
            "correct" => JudgeVerdict::Correct,
            "incorrect" => JudgeVerdict::Incorrect,
            _ => return None,
        };
        return Some((verdict, analysis.as_str().map_or_else(|| analysis.to_string(), str::to_owned)));
    }
    None
}

/// The JSON object that a text begins with, and where it ends. Strings may hold what models forget to escape: line breaks,
/// and backslashes as of LaTeX.
fn object(text: &str) -> Option<(Value, usize)> {
    let mut repaired = String::with_capacity(text.len());
    let (mut depth, mut in_string, mut end) = (0_usize, false, None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => in_string = !in_string,
            '\\' if in_string => {
                if is_escape(&text[at + 1..]) {
                    repaired.push(c);
                    repaired.extend(chars.next().map(|(_, escaped)| escaped));
                } else {
                    repaired.push_str("\\\\");
                }
                continue;
            }
            '\u{0}'..'\u{20}' if in_string => {
                // Writing to a string cannot fail.
                let _ = write!(repaired, "\\u{:04x}", u32::from(c));
                continue;
            }
            '{' if !in_string => depth += 1,
            '}' if !in_string => depth -= 1,
            _ => {}
        }
        repaired.push(c);
        if depth == 0 {
            end = Some(at + 1);
            break;
        }
    }
    let value = Value::deserialize(&mut serde_json::Deserializer::from_str(&repaired)).ok()?;
    Some((value, end?))
}

/// Whether what follows a backslash makes it one of JSON's escapes.
fn is_escape(rest: &str) -> bool {
    match rest.as_bytes() {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => true,
        [b'u', digits @ ..] => digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use records::record::{PromptId, TraceId};
    use serde_json::json;

    fn reply(text: &str, finish_reason: FinishReason) -> Trace {
        let (thinking, answer) = records::think::split(None, text);
        Trace::new(TraceId::from_stored(""), PromptId::from_stored(""), "judge", 0).with_text(
            thinking,
            answer,
            finish_reason,
        )
    }

    fn read(text: &str) -> (JudgeVerdict, String) {
        let Opinion { verdict, analysis } = Opinion::of_reply(&reply(text, FinishReason::Stop));
        (verdict, analysis)
    }

    #[track_caller]
    fn reads(text: &str, verdict: JudgeVerdict, analysis: &str) {
        assert_eq!(read(text), (verdict, analysis.to_owned()), "{text}");
    }

    const RIGHT: &str = r#"{"analysis": "same", "correctness": "correct"}"#;
    const WRONG: &str = r#"{"analysis": "other", "correctness": "incorrect"}"#;

    #[test]
    fn every_way_in_which_judges_reply() {
        use JudgeVerdict::{Correct, Incorrect};
        reads(RIGHT, Correct, "same");
        reads(WRONG, Incorrect, "other");
        reads(&format!("```json\n{RIGHT}\n```"), Correct, "same");
        reads(&format!("<think>\nIt may be {WRONG} or not.\n</think>\n\nSo:\n{RIGHT}\nDone."), Correct, "same");
        reads(&format!("Is it {RIGHT}? No: the sign differs. {WRONG}"), Incorrect, "other");
        reads(&format!(r#"{{"result": {WRONG}}}"#), Incorrect, "other");
        reads(r#"{ "correctness" : " Correct ", "analysis": ["a", 1], "score": {"of": 1} }"#, Correct, r#"["a",1]"#);
        reads(r#"{"analysis": "{\"} and {x", "correctness": "correct"}"#, Correct, "{\"} and {x");
    }

    #[test]
    fn what_models_forget_to_escape_is_read() {
        use JudgeVerdict::Correct;
        let text = "{\"analysis\": \"Both are \\(x = \\sqrt{2}\\) \\u is up,\n\\underline{so} \\u00e9\", \"correctness\": \"correct\"}";
        reads(text, Correct, "Both are \\(x = \\sqrt{2}\\) \\u is up,\n\\underline{so} é");
    }

    #[test]
    fn what_cannot_be_read_is_said_to_be() {
        for text in [
            "",
            "It is correct.",
            r#"{"correctness": "correct"}"#,
            r#"{"analysis": "half", "correctness": "partially correct"}"#,
            r#"{"analysis": "cut", "correctness": "corr"#,
            r#"{"analysis": "x", "correctness": true}"#,
            r#"{"analysis": "x", "correctness": false}"#,
            r"{'analysis': 'x', 'correctness': 'correct'}",
            // A quotation within an object that is broken by it.
            r#"{"analysis": "it says {"analysis": "ok", "correctness": "correct"}", "correctness": "incorrect"}"#,
            // A correct quotation, and a verdict that is cut.
            &format!(r#"{RIGHT} is what it claims. {{"analysis": "no", "correctness": "#),
        ] {
            assert_eq!(read(text), (JudgeVerdict::Unreadable, text.trim().to_owned()));
        }
        for finish_reason in [FinishReason::Length, FinishReason::Other] {
            let opinion = Opinion::of_reply(&reply(&format!("It claims {RIGHT}, but"), finish_reason));
            assert_eq!(opinion.verdict, JudgeVerdict::Unreadable);
        }
        let thinking = format!("<think>{RIGHT}</think>");
        assert_eq!(read(&thinking).0, JudgeVerdict::Unreadable, "thinking is no verdict");
        assert_eq!(read(&"x".repeat(5000)).1.len(), MOST_ANALYSIS_CHARS);
        // Linear in what counts: so many braces would take minutes otherwise.
        assert_eq!(read(&"{\"a\":".repeat(100_000)).0, JudgeVerdict::Unreadable);
        assert_eq!(read(&"{\"a\":\"".repeat(100_000)).0, JudgeVerdict::Unreadable);
        assert_eq!(Opinion::of_refusal("too long").verdict, JudgeVerdict::Refused);
    }

    proptest! {
        #[test]
        fn the_last_verdict_is_found_whatever_surrounds_it(
            before in "([a-z]|[{}\"\\\\\n:]|\"analysis\": |\"correctness\": |correct){0,30}",
            analysis in "([a-z]|[{}\"\\\\\n:]|\\\\frac|β|\u{7}){0,30}",
            correct in any::<bool>(),
            after in "([a-z]|[{}\"\\\\\n:`]){0,20}",
        ) {
            let correctness = if correct { "correct" } else { "incorrect" };
            let object = json!({"analysis": analysis.trim(), "correctness": correctness});
            let verdict = if correct { JudgeVerdict::Correct } else { JudgeVerdict::Incorrect };
            let text = format!("{before}{object}{after}");
            prop_assert_eq!(read(&text), (verdict, analysis.trim().to_owned()), "{}", text);
        }

        #[test]
        fn no_text_is_too_odd(text in "([{}\"\\\\\n:,u]|\"analysis\": |\"correctness\": |\"correct\"|β|00e9){0,40}") {
            read(&text);
        }
    }
}
