//! What both formats of the report are rendered from.

use maud::Markup;

use super::number::percent;
use super::{Check, SampleTrace};

/// A part of the report with its heading.
pub(super) struct Section<'a> {
    /// Unique in the report.
    pub(super) id: &'static str,
    /// The heading.
    pub(super) title: &'static str,
    /// What it holds, never empty.
    pub(super) blocks: Vec<Block<'a>>,
}

/// A piece of a section.
pub(super) enum Block<'a> {
    /// A heading below the section's.
    Heading(&'static str),
    /// Running text.
    Paragraph(String),
    /// Rows and columns.
    Table(Table),
    /// A drawing for the page, and the table that stands in for it where nothing can be drawn.
    Drawing {
        /// HTML with inline SVG.
        html: Markup,
        /// The same in text; `None` where a table that follows says it all.
        instead: Option<Table>,
    },
    /// Checks, with a tick beside those that passed.
    Checks(&'a [Check]),
    /// Traces to read.
    Samples(&'a [SampleTrace]),
    /// The recipe's text.
    Recipe(&'a str),
}

/// A table. The first cell of each row heads the row.
pub(super) struct Table {
    /// What it shows.
    pub(super) caption: &'static str,
    /// The columns' headings; each tells by its variant how its column is set.
    pub(super) heads: Vec<Cell>,
    /// The rows.
    pub(super) rows: Vec<Vec<Cell>>,
    /// What has to be said below it; may be empty.
    pub(super) note: String,
}

/// A cell of a table.
pub(super) enum Cell {
    /// Words.
    Text(String),
    /// A number, set to the right.
    Number(String),
    /// A file name, a fingerprint.
    Code(String),
    /// The name of a model, with the class of its colour.
    Model(String, &'static str),
    /// A number with a bar for its share of the whole, and the class of the bar's colour.
    Bar(String, f64, &'static str),
}

impl Cell {
    /// What the cell says.
    pub(super) fn text(&self) -> &str {
        let (Self::Text(text) | Self::Number(text) | Self::Code(text) | Self::Model(text, _) | Self::Bar(text, ..)) =
            self;
        text
    }

    /// A share of a whole, with its bar.
    pub(super) fn share(share: f64, colour: &'static str) -> Self {
        Self::Bar(percent(share), share, colour)
    }
}

/// Headings of a column of text and of columns of numbers.
pub(super) fn heads(text: &str, numbers: &[&str]) -> Vec<Cell> {
    let numbers = numbers.iter().map(|number| Cell::Number((*number).to_owned()));
    std::iter::once(Cell::Text(text.to_owned())).chain(numbers).collect()
}

/// A row of a heading and numbers.
pub(super) fn row<const N: usize>(heading: Cell, numbers: [String; N]) -> Vec<Cell> {
    std::iter::once(heading).chain(numbers.into_iter().map(Cell::Number)).collect()
}
