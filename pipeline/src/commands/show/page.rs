//! How a trace is laid out: what was asked, thought and answered, then what the rules say, what failed first.

use std::fmt::Write;

use curate::inspect::Inspected;
use records::record::Verdict;
use serde_json::Value;

use super::wrap::{cut, flow, wrap};

/// Lines of a long text that are shown without --full.
const THINKING_LINES: usize = 30;
const OTHER_LINES: usize = 40;

/// What the page is for.
pub(super) struct Look {
    pub(super) colour: bool,
    pub(super) width: usize,
    pub(super) full: bool,
}

#[derive(Clone, Copy)]
enum Style {
    Heading,
    Dim,
    Good,
    Bad,
    Warning,
}

impl Look {
    fn paint(&self, style: Style, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match style {
            Style::Heading => "1;36",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Bad => "1;31",
            Style::Warning => "33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The columns of a verdict by what they tell. Those named nowhere come last, so that no column is ever hidden; ids stand
/// elsewhere on the page.
const GROUPS: [(&str, &[&str]); 7] = [
    ("answer", &["extracted", "correct", "consensus", "samples", "pass_rate"]),
    ("judge", &["judge_verdict", "judge_analysis"]),
    (
        "form",
        &[
            "well_formed",
            "finished",
            "ending",
            "thinking_ending",
            "at_limit",
            "tokens",
            "student_tokens",
            "thinking_chars",
            "longest_paragraph",
            "code_blocks",
            "lost_characters",
        ],
    ),
    ("repetition", &["loop_chars", "most_repeated_20gram", "distinct_20grams", "duplicate_sentences", "compression"]),
    ("language", &["language", "foreign_script", "foreign_paragraphs", "stray_letters"]),
    (
        "content",
        &[
            "identity",
            "refusal",
            "leak",
            "secrets",
            "contaminated",
            "contamination_item",
            "contamination_rule",
            "contamination_evidence",
        ],
    ),
    ("duplicates", &["duplicate", "near_duplicate", "cluster", "prompt_cluster"]),
];
const ELSEWHERE: [&str; 6] = ["trace_id", "prompt_id", "domain", "kind", "source", "sample"];

/// The whole page.
pub(super) fn page(found: &Inspected, look: &Look) -> String {
    let mut out = String::new();
    head(&mut out, found, look);
    if let Some(prompt) = &found.prompt {
        let place = [&prompt.domain, &prompt.kind, &prompt.source].map(String::as_str);
        let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
        for message in &prompt.context {
            section(&mut out, look, &message.role, "", &message.content, Some(OTHER_LINES));
        }
        section(&mut out, look, "prompt", &place.join(", "), &prompt.question, None);
    } else {
        heading(&mut out, look, "prompt", "it is not among the prompts of the run's latest recipe");
    }
    let trace = &found.trace;
    match &trace.thinking {
        Some(thinking) => {
            let size = format!("{} characters", thinking.chars().count());
            section(&mut out, look, "thinking", &size, thinking, Some(THINKING_LINES));
        }
        None => heading(&mut out, look, "thinking", "there is no complete thinking block"),
    }
    section(&mut out, look, "answer", "", &trace.answer, Some(OTHER_LINES));
    gold(&mut out, found, look);
    rules(&mut out, found, look);
    if let Some(verdict) = &found.verdict {
        verdicts(&mut out, verdict, look);
    }
    similar(&mut out, found, look);
    out
}

fn head(out: &mut String, found: &Inspected, look: &Look) {
    let trace = &found.trace;
    let selected = match found.selected {
        Some(true) => look.paint(Style::Good, "selected"),
        Some(false) => look.paint(Style::Bad, "not selected"),
        None => look.paint(Style::Dim, "not curated yet"),
    };
    let _ = writeln!(out, "{} {}  {selected}", look.paint(Style::Heading, "trace"), trace.id);
    let finish = serde_json::to_value(trace.finish_reason).ok();
    let finish = finish.as_ref().and_then(Value::as_str).unwrap_or("unknown");
    let mut facts = vec![format!("sample {} of prompt {}", trace.sample, trace.prompt_id), format!("finish: {finish}")];
    if !trace.teacher.is_empty() {
        facts.insert(0, trace.teacher.clone());
    }
    let tokens = |n: Option<u32>, what: &str| n.map(|n| format!("{n} tokens {what}"));
    facts.extend(tokens(trace.prompt_tokens, "asked"));
    facts.extend(tokens(trace.completion_tokens, "written"));
    facts.extend(trace.max_tokens.map(|n| format!("limit {n}")));
    facts.extend(trace.temperature.map(|t| format!("temperature {t}")));
    facts.extend(trace.top_p.map(|p| format!("top_p {p}")));
    facts.extend(trace.seed.map(|seed| format!("seed {seed}")));
    for line in flow(&facts, look.width) {
        let _ = writeln!(out, "{}", look.paint(Style::Dim, &line));
    }
}

fn heading(out: &mut String, look: &Look, name: &str, note: &str) {
    let note = wrap(note, usize::MAX).join(" ");
    let line = format!("{}  {}", look.paint(Style::Heading, name), look.paint(Style::Dim, &note));
    let _ = writeln!(out, "\n{}", line.trim_end());
}

fn section(out: &mut String, look: &Look, name: &str, note: &str, text: &str, most: Option<usize>) {
    heading(out, look, name, note);
    let mut lines = wrap(text.trim(), look.width.saturating_sub(2));
    let gap = most.filter(|_| !look.full).and_then(|most| cut(&mut lines, most));
    let is_thinking = name == "thinking";
    for (i, line) in lines.iter().enumerate() {
        if let Some((at, left_out)) = gap
            && i == at
        {
            let note = format!("… {left_out} lines left out; --full shows them …");
            let _ = writeln!(out, "  {}", look.paint(Style::Warning, &note));
        }
        let shown = if is_thinking { look.paint(Style::Dim, line) } else { line.clone() };
        let _ = writeln!(out, "{}", format!("  {shown}").trim_end());
    }
    if lines.is_empty() {
        let _ = writeln!(out, "  {}", look.paint(Style::Dim, "(empty)"));
    }
}

fn gold(out: &mut String, found: &Inspected, look: &Look) {
    let Some(gold) = found.prompt.as_ref().and_then(|prompt| prompt.answer.as_deref()) else { return };
    let verdict = found.verdict.as_ref();
    let outcome = match verdict.map(|verdict| verdict.correct) {
        Some(Some(true)) => look.paint(Style::Good, "the answer is right"),
        Some(Some(false)) => look.paint(Style::Bad, "the answer is wrong"),
        Some(None) | None => String::new(),
    };
    heading(out, look, "gold", "");
    for line in wrap(gold.trim(), look.width.saturating_sub(2)) {
        let _ = writeln!(out, "  {line}");
    }
    if let Some(verdict) = verdict {
        let text =
            verdict.extracted.as_deref().map_or("no final answer was found".to_owned(), |e| format!("found: {e}"));
        let text = wrap(&text, look.width.saturating_sub(2)).join("\n  ");
        let _ = writeln!(out, "  {text}  {outcome}");
    }
}

fn rules(out: &mut String, found: &Inspected, look: &Look) {
    if found.rules.is_empty() {
        return;
    }
    let failed = |of_policy: bool| found.rules.iter().filter(move |rule| !rule.holds && rule.of_policy == of_policy);
    // A rule that holds only because nobody looked is no check that passed; outside the policy it says nothing at all.
    let passed: Vec<String> =
        found.rules.iter().filter(|rule| rule.holds && rule.checked).map(|rule| rule.rule.clone()).collect();
    heading(out, look, "rules", "");
    for rule in failed(true) {
        let _ = writeln!(out, "  {}", look.paint(Style::Bad, &format!("✗ {}", rule.rule)));
    }
    for rule in failed(false) {
        let _ = writeln!(
            out,
            "  {}  {}",
            look.paint(Style::Warning, &format!("✗ {}", rule.rule)),
            look.paint(Style::Dim, "not in the policy")
        );
    }
    for rule in found.rules.iter().filter(|rule| rule.holds && !rule.checked && rule.of_policy) {
        let note = "not looked into, so it drops nothing";
        let _ = writeln!(
            out,
            "  {}  {}",
            look.paint(Style::Warning, &format!("– {}", rule.rule)),
            look.paint(Style::Dim, note)
        );
    }
    if found.rules.iter().all(|rule| rule.holds || !rule.of_policy) && found.selected == Some(false) {
        let note = "it passes the policy, and enough of its prompt or of its quota were selected before it";
        let _ = writeln!(out, "  {}", look.paint(Style::Warning, note));
    }
    for (i, line) in flow(&passed, look.width.saturating_sub(4)).iter().enumerate() {
        let _ = writeln!(
            out,
            "  {} {}",
            look.paint(Style::Good, if i == 0 { "✓" } else { " " }),
            look.paint(Style::Dim, line)
        );
    }
}

fn verdicts(out: &mut String, verdict: &Verdict, look: &Look) {
    let Ok(Value::Object(columns)) = serde_json::to_value(verdict) else { return };
    heading(out, look, "verdict", "");
    let named = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name)) || ELSEWHERE.contains(&name);
    let rest: Vec<&str> = columns.keys().map(String::as_str).filter(|name| !named(name)).collect();
    let groups = GROUPS.iter().map(|(group, names)| (*group, *names)).chain([("other", rest.as_slice())]);
    for (group, names) in groups {
        let shown: Vec<String> = names
            .iter()
            .filter_map(|name| {
                let value = match columns.get(*name)? {
                    Value::Null => return None,
                    Value::String(text) => text.clone(),
                    // The columns are single floats; as doubles they have digits that mean nothing.
                    Value::Number(number) if number.is_f64() => {
                        format!("{}", number.as_f64().unwrap_or_default() as f32)
                    }
                    other => other.to_string(),
                };
                Some(format!("{name} {value}"))
            })
            .collect();
        for (i, line) in flow(&shown, look.width.saturating_sub(14)).iter().enumerate() {
            let label = format!("{:<11}", if i == 0 { group } else { "" });
            let _ = writeln!(out, "  {} {line}", look.paint(Style::Dim, &label));
        }
    }
}

fn similar(out: &mut String, found: &Inspected, look: &Look) {
    if found.similar.is_empty() {
        return;
    }
    heading(out, look, "the same or nearly so", "r1-distill show ID");
    for line in wrap(&found.similar.join(" "), look.width.saturating_sub(2)) {
        let _ = writeln!(out, "  {line}");
    }
}
