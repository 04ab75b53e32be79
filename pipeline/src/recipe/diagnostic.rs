//! What is wrong with a recipe, shown with the lines that it is about.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// More mistakes are counted only.
const MOST: usize = 20;

/// A mistake, and where it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Diagnostic {
    /// What is wrong.
    pub(super) title: String,
    /// Bytes of the text that are underlined; `None` for what is about all of it.
    pub(super) span: Option<Range<usize>>,
    /// The text, where it is not the recipe's: its name and itself.
    pub(super) other: Option<(String, String)>,
    /// Stands beside the line.
    pub(super) label: String,
    /// Another place that matters, and why.
    pub(super) context: Option<(Range<usize>, String)>,
    /// What to do.
    pub(super) help: Vec<String>,
    /// The columns that may be named there. Of all mistakes, one lists them.
    pub(super) choices: Option<String>,
    /// It is a name that is not known: others may follow from it.
    pub(super) is_name: bool,
}

impl Diagnostic {
    pub(super) fn at(span: Range<usize>, title: impl Into<String>, label: impl Into<String>) -> Self {
        Self { title: title.into(), span: Some(span), label: label.into(), ..Self::default() }
    }
}

/// What is wrong with a recipe.
#[derive(Debug)]
pub(super) struct Diagnostics {
    /// The file.
    pub(super) name: String,
    /// What it holds.
    pub(super) text: String,
    /// At least one.
    pub(super) all: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Names that are not known first, and otherwise in the order of the file.
    pub(super) fn render(mut self, renderer: &Renderer) -> String {
        self.all.sort_by_key(|one| (!one.is_name, one.other.is_some(), one.span.as_ref().map(|span| span.start)));
        let more = self.all.len().saturating_sub(MOST);
        self.all.truncate(MOST);
        // The lists of columns differ in a few only: the longest one is shown.
        let choices = self.all.iter_mut().filter_map(|one| Some((one.choices.take()?, &mut one.help)));
        if let Some((choices, help)) = choices.max_by_key(|(choices, _)| choices.len()) {
            help.push(choices);
        }
        let mut shown: Vec<String> = self.all.iter().map(|one| self.one(one, renderer)).collect();
        if more > 0 {
            shown.push(format!("... and {more} more"));
        }
        shown.join("\n\n")
    }

    fn one(&self, one: &Diagnostic, renderer: &Renderer) -> String {
        let (name, text) = one.other.as_ref().map_or((&self.name, &self.text), |(name, text)| (name, text));
        let mut group = Group::with_title(Level::ERROR.primary_title(&one.title));
        group = match &one.span {
            None => group.element(Origin::path(name)),
            Some(span) => {
                let label = Some(one.label.as_str()).filter(|label| !label.is_empty());
                let primary = AnnotationKind::Primary.span(span.clone()).label(label);
                let context = one.context.as_ref();
                let context = context.map(|(span, why)| AnnotationKind::Context.span(span.clone()).label(why));
                group.element(Snippet::source(text).path(name).annotation(primary).annotations(context))
            }
        };
        let group = one.help.iter().fold(group, |group, help| group.element(Level::HELP.message(help)));
        renderer.render(&[group])
    }
}
