//! The report as one HTML page that needs nothing else: style, script and drawings are within.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::RunReport;
use super::blocks::{Block, Cell, Section, Table};
use super::content::sections;
use super::number::counted;
use super::samples::samples;
use super::summary::{figures, headline, remarks};
use super::text::{Shown, sentence};

/// What the page may load: nothing from elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                      base-uri 'none'; form-action 'none'";

/// Renders the page. Equal reports give equal pages.
pub(crate) fn html_page(report: &RunReport) -> String {
    let sections = sections(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="referrer" content="no-referrer";
                link rel="icon" href="data:,";
                title { (Shown(&report.name)) " · r1-distill" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (header(report))
                @if sections.len() > 1 {
                    nav aria-label="Sections" {
                        @for section in &sections { a href={ "#" (section.id) } { (section.title) } }
                    }
                }
                main { @for part in &sections { (section(part)) } }
                footer { "Written by r1-distill." }
                script { (PreEscaped(include_str!("script.js"))) }
            }
        }
    };
    page.into_string()
}

fn header(report: &RunReport) -> Markup {
    let figures = figures(report);
    html! {
        header class="page" {
            p class="run" {
                b { bdi { (Shown(&report.name)) } }
                @for fact in [&report.date, &report.device].into_iter().filter(|fact| !fact.is_empty()) {
                    " " span { (Shown(fact)) }
                }
            }
            h1 { (sentence(&headline(report))) }
            @for remark in remarks(report) { p class="remark" { (sentence(&remark)) } }
            @if !figures.is_empty() {
                dl class="figures" {
                    @for figure in figures {
                        div { dt { (Shown(&figure.label)) } dd { (Shown(&figure.value)) } }
                    }
                }
            }
        }
    }
}

fn section(section: &Section) -> Markup {
    let Section { id, title, blocks } = section;
    html! {
        section id=(id) aria-labelledby={ (id) "-heading" } {
            h2 id={ (id) "-heading" } { (title) }
            @for part in blocks { (block(part)) }
        }
    }
}

fn block(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Heading(text) => h3 { (Shown(text)) },
            Block::Paragraph(text) => p { (sentence(text)) },
            Block::Table(content) => (table(content)),
            Block::Drawing { html, .. } => (html),
            Block::Checks(checks) => {
                ul class="checks" {
                    @for check in *checks {
                        @let (class, word) = if check.passed { ("passed", "passed") } else { ("failed", "warning") };
                        li class=(class) { span class="word" { (word) ": " } (sentence(&check.text)) }
                    }
                }
            }
            Block::Samples(traces) => (samples(traces)),
            Block::Recipe(text) => {
                details {
                    summary { "All that decides the result " small { (counted(text.lines().count(), "line")) } }
                    pre class="recipe" tabindex="0" { (Shown(text.trim_end())) }
                }
            }
        }
    }
}

/// A table that scrolls sideways where the page is too narrow for it.
fn table(table: &Table) -> Markup {
    html! {
        div class="scroll" role="region" aria-label=(table.caption) tabindex="0" {
            table {
                caption { (table.caption) }
                thead { tr { @for head in &table.heads { th scope="col" class=[class(head)] { (content(head)) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @if index == 0 {
                                    th scope="row" class=[class(cell)] { (content(cell)) }
                                } @else {
                                    td class=[class(cell)] { (content(cell)) }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if !table.note.is_empty() { p class="note" { (sentence(&table.note)) } }
    }
}

fn class(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(_) | Cell::Code(_) => None,
        Cell::Number(_) => Some("number".to_owned()),
        Cell::Model(_, colour) => Some(format!("model {colour}")),
        Cell::Bar(..) => Some("with-bar".to_owned()),
    }
}

fn content(cell: &Cell) -> Markup {
    let text = Shown(cell.text());
    html! {
        @match cell {
            Cell::Text(_) | Cell::Model(..) => bdi { (text) },
            Cell::Number(_) => (text),
            Cell::Code(_) => code { (text) },
            Cell::Bar(_, share, colour) => {
                @let width = if share.is_finite() { share.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
                (text)
                svg class={ "meter " (colour) } width="100%" height="5" aria-hidden="true" {
                    rect class="meter-back" width="100%" height="5" {}
                    rect class="bar" width=(format!("{width:.1}%")) height="5" {}
                }
            }
        }
    }
}
