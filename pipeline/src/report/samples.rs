//! Traces to read: question, thinking folded away, answer with its boxed result marked.

use std::ops::Range;

use maud::{Markup, html};

use super::SampleTrace;
use super::number::counted;
use super::text::Shown;

/// The samples with buttons that filter them by verdict; the buttons appear only where scripts run.
pub(super) fn samples(samples: &[SampleTrace]) -> Markup {
    html! {
        @if samples.len() > 1 {
            div class="filter" hidden role="group" aria-label="Show samples by verdict" {
                button type="button" aria-pressed="true" { "all " (samples.len()) }
                @for (verdict, number) in verdicts(samples) {
                    button type="button" aria-pressed="false" data-verdict=(Shown(verdict)) {
                        bdi { (Shown(verdict)) } " " (number)
                    }
                }
                button type="button" class="unfold" aria-pressed="false" { "unfold thinking" }
            }
        }
        @for one in samples { (sample(one)) }
    }
}

fn sample(sample: &SampleTrace) -> Markup {
    let (thinking, answer) = (sample.thinking.trim(), sample.answer.trim());
    html! {
        article class="sample" data-verdict=(Shown(&sample.verdict)) {
            header { h3 { bdi { (Shown(&sample.title)) } } (badge(sample)) }
            h4 { "Question" }
            pre class="question" dir="auto" tabindex="0" { (Shown(sample.question.trim())) }
            @if thinking.is_empty() {
                p class="note" { "No thinking." }
            } @else {
                details class="thinking" {
                    summary { "Thinking " small { (counted(thinking.chars().count(), "character")) } }
                    pre dir="auto" tabindex="0" { (Shown(thinking)) }
                }
            }
            h4 { "Answer" }
            @if answer.is_empty() {
                p class="note" { "No answer." }
            } @else {
                pre class="answer" dir="auto" tabindex="0" { (marked_answer(answer)) }
            }
            @if let Some(gold) = &sample.gold {
                p class="gold" { span { "Gold answer" } " " bdi class="mono" { (Shown(gold)) } }
            }
        }
    }
}

fn badge(sample: &SampleTrace) -> Markup {
    let (class, sign) = match sample.correct {
        Some(true) => ("good", "✓"),
        Some(false) => ("bad", "✗"),
        None => ("open", "•"),
    };
    html! {
        span class={ "badge " (class) } { span aria-hidden="true" { (sign) " " } bdi { (Shown(&sample.verdict)) } }
    }
}

fn marked_answer(answer: &str) -> Markup {
    let mut end = 0;
    html! {
        @for span in boxed_spans(answer) {
            (Shown(&answer[std::mem::replace(&mut end, span.end)..span.start]))
            mark { (Shown(&answer[span])) }
        }
        (Shown(&answer[end..]))
    }
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
        assert_eq!(marked_answer(r"<b> \boxed{<i>}").0, r"&lt;b&gt; <mark>\boxed{&lt;i&gt;}</mark>");
    }

    #[test]
    fn a_hostile_answer_takes_linear_time() {
        let started = std::time::Instant::now();
        assert!(boxes(&r"\boxed{".repeat(100_000)).is_empty());
        assert_eq!(boxes(&(r"\boxed{".repeat(100_000) + &"}".repeat(100_000))).len(), 1);
        assert!(started.elapsed().as_secs() < 5);
    }
}
