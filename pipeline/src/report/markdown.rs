//! The report as Markdown (GitHub's flavour, as the Hub renders it too): tables stand in for the drawings.

use super::blocks::{Block, Cell, Section, Table};
use super::content::sections;
use super::number::{MISSING, counted};
use super::summary::{figures, headline, remarks};
use super::text::{each, visible};
use super::{Check, RunReport, SampleTrace};

/// Renders the report. Equal reports give equal text.
pub(crate) fn markdown(report: &RunReport) -> String {
    header(report) + &each(&sections(report), section)
}

fn header(report: &RunReport) -> String {
    let facts = [&report.date, &report.device].into_iter().filter(|fact| !fact.is_empty());
    let facts: Vec<String> = facts.map(|fact| inline(fact)).collect();
    let facts = if facts.is_empty() { String::new() } else { format!("{}\n\n", facts.join(" · ")) };
    let figures =
        each(figures(report), |figure| format!("- **{}** {}\n", inline(&figure.value), inline(&figure.label)));
    let remarks = each(remarks(report), |remark| format!("{}\n\n", inline(&remark)));
    format!("# {}\n\n{facts}**{}**\n\n{remarks}{figures}\n", inline(&report.name), inline(&headline(report)))
}

fn section(section: &Section) -> String {
    format!("## {}\n\n{}", section.title, each(&section.blocks, block))
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(text) => format!("### {text}\n\n"),
        Block::Paragraph(text) => format!("{}\n\n", inline(text)),
        Block::Table(content) => table(content),
        Block::Drawing { instead, .. } => instead.as_ref().map_or_else(String::new, table),
        Block::Checks(checks) => {
            let line = |check: &Check| {
                let sign = if check.passed { "✓" } else { "⚠ Warning:" };
                format!("- {sign} {}\n", inline(&check.text))
            };
            each(*checks, line) + "\n"
        }
        Block::Samples(samples) => each(*samples, sample),
        Block::Recipe(text) => fenced("toml", text.trim_end()),
    }
}

fn table(table: &Table) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let row = |cells: &Vec<Cell>| line(&cells.iter().map(content).collect::<Vec<_>>());
    let rules: Vec<String> = table.heads.iter().map(rule).collect();
    let note = if table.note.is_empty() { String::new() } else { format!("{}\n\n", inline(&table.note)) };
    format!("{}{}{}\n{note}", row(&table.heads), line(&rules), each(&table.rows, row))
}

fn content(cell: &Cell) -> String {
    match cell {
        Cell::Code(text) => code(text),
        other => inline(other.text()),
    }
}

/// How the column below a heading is set.
fn rule(head: &Cell) -> String {
    match head {
        Cell::Number(_) => "---:".to_owned(),
        _ => "---".to_owned(),
    }
}

fn sample(sample: &SampleTrace) -> String {
    let sign = match sample.correct {
        Some(true) => "✓ ",
        Some(false) => "✗ ",
        None => "",
    };
    let (title, verdict) = (inline(&sample.title), inline(&sample.verdict));
    let question = fenced("text", sample.question.trim());
    let thinking = if sample.thinking.trim().is_empty() {
        "No thinking.\n\n".to_owned()
    } else {
        let length = counted(sample.thinking.trim().chars().count(), "character");
        let thinking = fenced("text", sample.thinking.trim());
        format!("<details><summary>Thinking, {length}</summary>\n\n{thinking}</details>\n\n")
    };
    let answer = if sample.answer.trim().is_empty() {
        "No answer.\n\n".to_owned()
    } else {
        format!("Answer\n\n{}", fenced("text", sample.answer.trim()))
    };
    let gold = sample.gold.as_ref().map_or_else(String::new, |gold| format!("Gold answer: {}\n\n", code(gold)));
    format!("### {title}: {sign}{verdict}\n\nQuestion\n\n{question}{thinking}{answer}{gold}")
}

/// Text on one line in which no character has a meaning of Markdown's or HTML's.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' | '!' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

/// Text on one line in the type of code. As HTML, since a code span can hold neither a bar nor every run of backticks.
fn code(text: &str) -> String {
    if text.trim().is_empty() { MISSING.to_owned() } else { format!("<code>{}</code>", inline(text)) }
}

/// Text as it stands, within a fence longer than any run of backticks in it.
fn fenced(language: &str, text: &str) -> String {
    let text = visible(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{text}\n{fence}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_in_its_cell() {
        let hostile = "a|b\nc\r\nd `e` *f* <script>alert(1)</script> [x](y) $z$ \u{202e}\0";
        assert!(!inline(hostile).contains(['\n', '<']));
        let heads = vec![Cell::Text("x".into()), Cell::Text("y".into())];
        let rows = vec![vec![Cell::Text(hostile.into()), Cell::Code(hostile.into())]];
        let table = table(&Table { caption: "", heads, rows, note: String::new() });
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(table.lines().filter(|line| !line.is_empty()).all(|line| bars(line) == 3), "{table}");
        assert_eq!(table.lines().filter(|line| !line.is_empty()).count(), 3);
    }

    #[test]
    fn text_does_not_break_out_of_its_fence() {
        let text = "before\n```\n<b>\n`````\nafter";
        let block = fenced("text", text);
        assert!(block.starts_with("``````text\n") && block.trim_end().ends_with("\n``````"), "{block}");
        assert!(fenced("text", "plain").starts_with("```text\n"));
    }
}
