//! Makes text from anywhere safe to put into a page.

use maud::{Markup, PreEscaped, Render};

/// Shows what a browser would hide, refuse or obey: control characters, and characters that reorder the text around
/// them ("Trojan Source", Boucher and Anderson 2021). Plain right-to-left text and its marks stay as they are.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => out.push('\n'),
            '\n' | '\t' => out.push(c),
            // Unicode has a picture for each of the 33 ASCII controls.
            '\0'..='\u{1f}' => out.extend(char::from_u32(0x2400 + u32::from(c))),
            '\u{7f}' => out.push('\u{2421}'),
            '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.extend(["[U+", &hex(c), "]"]),
            _ => out.push(c),
        }
    }
    out
}

fn hex(c: char) -> String {
    format!("{:04X}", u32::from(c))
}

/// Text from anywhere, for HTML and SVG: between tags or within an attribute. Maud escapes it.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl Render for Shown<'_> {
    fn render_to(&self, buffer: &mut String) {
        visible(self.0).render_to(buffer);
    }
}

/// Running text, in which no percent sign begins a line and no interval is torn apart.
pub(super) fn sentence(text: &str) -> Markup {
    PreEscaped(Shown(text).render().0.replace(" %", "&#160;%").replace('–', "&#8288;–&#8288;"))
}

/// Renders each item and joins the results.
pub(super) fn each<T>(items: impl IntoIterator<Item = T>, render: impl FnMut(T) -> String) -> String {
    items.into_iter().map(render).collect()
}
