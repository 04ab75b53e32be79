//! Traces to read: question, thinking folded away, answer with its boxed result marked.

use std::ops::Range;

use super::SampleTrace;
use super::number::counted;
use super::text::{each, escape};

/// The samples with buttons that filter them by verdict; the buttons appear only where scripts run.
pub(super) fn samples(samples: &[SampleTrace]) -> String {
    let buttons = each(verdicts(samples), |(verdict, number)| {
        let verdict = escape(verdict);
        format!(
            "<button type=\"button\" aria-pressed=\"false\" data-verdict=\"{verdict}\"><bdi>{verdict}</bdi> {number}</button>"
        )
    });
    let filter = format!(
        "<div class=\"filter\" hidden role=\"group\" aria-label=\"Show samples by verdict\"><button type=\"button\" \
         aria-pressed=\"true\">all {}</button>{buttons}<button type=\"button\" class=\"unfold\" \
         aria-pressed=\"false\">unfold thinking</button></div>",
        samples.len()
    );
    let filter = if samples.len() > 1 { filter } else { String::new() };
    format!("{filter}{}", each(samples, sample))
}

fn sample(sample: &SampleTrace) -> String {
    let thinking = if sample.thinking.trim().is_empty() {
        "<p class=\"note\">No thinking.</p>".to_owned()
    } else {
        let length = counted(sample.thinking.trim().chars().count(), "character");
        format!(
            "<details class=\"thinking\"><summary>Thinking <small>{length}</small></summary><pre dir=\"auto\" \
             tabindex=\"0\">{}</pre></details>",
            escape(sample.thinking.trim())
        )
    };
    let answer = if sample.answer.trim().is_empty() {
        "<p class=\"note\">No answer.</p>".to_owned()
    } else {
        format!("<pre class=\"answer\" dir=\"auto\" tabindex=\"0\">{}</pre>", marked_answer(sample.answer.trim()))
    };
    let gold = sample.gold.as_ref().map_or_else(String::new, |gold| {
        format!("<p class=\"gold\"><span>Gold answer</span> <bdi class=\"mono\">{}</bdi></p>", escape(gold))
    });
    format!(
        "<article class=\"sample\" data-verdict=\"{verdict}\"><header><h3><bdi>{}</bdi></h3>{}</header><h4>Question</h4><pre \
         class=\"question\" dir=\"auto\" tabindex=\"0\">{}</pre>{thinking}<h4>Answer</h4>{answer}{gold}</article>\n",
        escape(&sample.title),
        badge(sample),
        escape(sample.question.trim()),
        verdict = escape(&sample.verdict),
    )
}

fn badge(sample: &SampleTrace) -> String {
    let (class, sign) = match sample.correct {
        Some(true) => ("good", "✓"),
        Some(false) => ("bad", "✗"),
        None => ("open", "•"),
    };
    let verdict = escape(&sample.verdict);
    format!("<span class=\"badge {class}\"><span aria-hidden=\"true\">{sign} </span><bdi>{verdict}</bdi></span>")
}

fn marked_answer(answer: &str) -> String {
    let mut parts = Vec::new();
    let mut end = 0;
    for span in boxed_spans(answer) {
        parts.push(escape(&answer[end..span.start]));
        parts.push(format!("<mark>{}</mark>", escape(&answer[span.clone()])));
        end = span.end;
    }
    parts.push(escape(&answer[end..]));
    parts.concat()
}

/// The outermost complete `\boxed{…}` of a text, in one pass over it.
fn boxed_spans(text: &str) -> Vec<Range<usize>> {
    const OPEN: &str = "\\boxed{";
    let bytes = text.as_bytes();
    let mut spans: Vec<Range<usize>> = Vec::new();
    // The braces that are open; a box is known by where it starts.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if bytes[at..].starts_with(OPEN.as_bytes()) => {
                open.push(Some(at));
                at += OPEN.len() - 1;
            }
            // An escaped brace is a character of the formula.
            b'\\' => at += 1,
            b'{' => open.push(None),
            b'}' => {
                if let Some(Some(start)) = open.pop() {
                    while spans.last().is_some_and(|inner| inner.start > start) {
                        spans.pop();
                    }
                    spans.push(start..at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    spans
}

/// How many samples there are of each verdict, in the order they appear.
fn verdicts(samples: &[SampleTrace]) -> Vec<(&str, usize)> {
    let mut verdicts: Vec<(&str, usize)> = Vec::new();
    for sample in samples {
        match verdicts.iter_mut().find(|(verdict, _)| *verdict == sample.verdict) {
            Some((_, number)) => *number += 1,
            None => verdicts.push((&sample.verdict, 1)),
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes(text: &str) -> Vec<&str> {
        boxed_spans(text).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn boxes_are_found_whole() {
        assert_eq!(boxes(r"So \boxed{\frac{1}{2}} it is."), [r"\boxed{\frac{1}{2}}"]);
        assert_eq!(boxes(r"\boxed{1} or \boxed{2}"), [r"\boxed{1}", r"\boxed{2}"]);
        assert_eq!(boxes(r"\boxed{a \boxed{b} c}"), [r"\boxed{a \boxed{b} c}"]);
        assert_eq!(boxes(r"\boxed{\{1, 2\}}"), [r"\boxed{\{1, 2\}}"]);
        assert_eq!(boxes(r"\boxed{cut off \boxed{7}"), [r"\boxed{7}"]);
        assert_eq!(boxes("} no { boxes \\"), Vec::<&str>::new());
        assert_eq!(marked_answer(r"<b> \boxed{<i>}"), r"&lt;b&gt; <mark>\boxed{&lt;i&gt;}</mark>");
    }

    #[test]
    fn a_hostile_answer_takes_linear_time() {
        let started = std::time::Instant::now();
        assert!(boxes(&r"\boxed{".repeat(100_000)).is_empty());
        assert_eq!(boxes(&(r"\boxed{".repeat(100_000) + &"}".repeat(100_000))).len(), 1);
        assert!(started.elapsed().as_secs() < 5);
    }
}
