//! The report as one HTML page that needs nothing else: style, script and drawings are within.

use super::RunReport;
use super::blocks::{Block, Cell, Section, Table};
use super::content::sections;
use super::number::counted;
use super::samples::samples;
use super::summary::{figures, headline, remarks};
use super::text::{each, escape};

/// Renders the page. Equal reports give equal pages.
pub(crate) fn html(report: &RunReport) -> String {
    let sections = sections(report);
    let links = each(&sections, |section| format!("<a href=\"#{}\">{}</a>", section.id, section.title));
    let nav = if sections.len() > 1 { format!("<nav aria-label=\"Sections\">{links}</nav>") } else { String::new() };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src \
         'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n<meta name=\"referrer\" \
         content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{name} · r1-distill</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n{header}\n{nav}\n<main>\n{body}</main>\n<footer>Written by \
         r1-distill.</footer>\n<script>\n{script}</script>\n</body>\n</html>\n",
        name = escape(&report.name),
        style = include_str!("style.css"),
        header = header(report),
        body = each(&sections, section),
        script = include_str!("script.js"),
    )
}

fn header(report: &RunReport) -> String {
    let facts = [report.date.as_str(), report.device.as_str()];
    let facts = facts.into_iter().filter(|fact| !fact.is_empty());
    let facts = each(facts, |fact| format!(" <span>{}</span>", escape(fact)));
    let remarks = each(remarks(report), |remark| format!("<p class=\"remark\">{}</p>", sentence(&remark)));
    let figures = each(figures(report), |figure| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(&figure.label), escape(&figure.value))
    });
    let figures = if figures.is_empty() { figures } else { format!("<dl class=\"figures\">{figures}</dl>") };
    format!(
        "<header class=\"page\">\n<p class=\"run\"><b><bdi>{}</bdi></b>{facts}</p>\n<h1>{}</h1>\n{remarks}\n{figures}\n</header>",
        escape(&report.name),
        sentence(&headline(report)),
    )
}

/// Running text, in which no percent sign begins a line and no interval is torn apart.
fn sentence(text: &str) -> String {
    escape(text).replace(" %", "&#160;%").replace('–', "&#8288;–&#8288;")
}

fn section(section: &Section) -> String {
    let Section { id, title, blocks } = section;
    let body = each(blocks, block);
    format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-heading\">\n<h2 id=\"{id}-heading\">{title}</h2>\n{body}</section>\n"
    )
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(text) => format!("<h3>{}</h3>\n", escape(text)),
        Block::Paragraph(text) => format!("<p>{}</p>\n", sentence(text)),
        Block::Table(content) => table(content),
        Block::Drawing { html, .. } => format!("{html}\n"),
        Block::Checks(checks) => {
            let items = each(*checks, |check| {
                let class = if check.passed { "passed" } else { "failed" };
                let word = if check.passed { "passed" } else { "warning" };
                format!("<li class=\"{class}\"><span class=\"word\">{word}: </span>{}</li>", sentence(&check.text))
            });
            format!("<ul class=\"checks\">{items}</ul>\n")
        }
        Block::Samples(traces) => samples(traces),
        Block::Recipe(text) => format!(
            "<details><summary>All that decides the result <small>{}</small></summary><pre class=\"recipe\" \
             tabindex=\"0\">{}</pre></details>\n",
            counted(text.lines().count(), "line"),
            escape(text.trim_end())
        ),
    }
}

/// A table that scrolls sideways where the page is too narrow for it.
fn table(table: &Table) -> String {
    let caption = escape(table.caption);
    let heads = each(&table.heads, |head| format!("<th scope=\"col\"{}>{}</th>", class(head), content(head)));
    let rows = each(&table.rows, |row| {
        let cells = each(row.iter().enumerate(), |(index, cell)| match index {
            0 => format!("<th scope=\"row\"{}>{}</th>", class(cell), content(cell)),
            _ => format!("<td{}>{}</td>", class(cell), content(cell)),
        });
        format!("<tr>{cells}</tr>\n")
    });
    let note = if table.note.is_empty() {
        String::new()
    } else {
        format!("<p class=\"note\">{}</p>\n", sentence(&table.note))
    };
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table><caption>{caption}</caption>\
         <thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n{note}"
    )
}

fn class(cell: &Cell) -> String {
    match cell {
        Cell::Text(_) | Cell::Code(_) => String::new(),
        Cell::Number(_) => " class=\"number\"".to_owned(),
        Cell::Model(_, colour) => format!(" class=\"model {colour}\""),
        Cell::Bar(..) => " class=\"with-bar\"".to_owned(),
    }
}

fn content(cell: &Cell) -> String {
    let text = escape(cell.text());
    match cell {
        Cell::Text(_) | Cell::Model(..) => format!("<bdi>{text}</bdi>"),
        Cell::Number(_) => text,
        Cell::Code(_) => format!("<code>{text}</code>"),
        Cell::Bar(_, share, colour) => {
            let width = if share.is_finite() { share.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
            format!(
                "{text}<svg class=\"meter {colour}\" width=\"100%\" height=\"5\" aria-hidden=\"true\"><rect \
                 class=\"meter-back\" width=\"100%\" height=\"5\"/><rect class=\"bar\" width=\"{width:.1}%\" \
                 height=\"5\"/></svg>"
            )
        }
    }
}
