//! Long answers go through a pager, where there is a screen and a pager.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

use terminal_size::{Height, Width, terminal_size};
use unicode_width::UnicodeWidthStr;

use crate::commands::print;
use crate::error::Result;

/// Prints a text; what does not fit on the screen, in `$PAGER` or `less -S`.
pub(super) fn show(text: &str) -> Result<()> {
    if std::io::stdout().is_terminal()
        && let Some((Width(width), Height(height))) = terminal_size()
        && !fits(text, usize::from(width), usize::from(height))
        && paged(text)
    {
        return Ok(());
    }
    print(text)
}

/// Whether the text leaves room for the prompt.
fn fits(text: &str, width: usize, height: usize) -> bool {
    text.lines().count() + 2 <= height && text.lines().all(|line| line.width() <= width)
}

/// Whether a pager took it.
fn paged(text: &str) -> bool {
    let mut command = match std::env::var("PAGER") {
        Ok(pager) if pager.trim().is_empty() => return false,
        Ok(pager) => {
            let mut command = Command::new("sh");
            command.args(["-c", &pager]);
            command
        }
        Err(_) => {
            let mut command = Command::new("less");
            command.arg("-S");
            command
        }
    };
    let Ok(mut child) = command.stdin(Stdio::piped()).spawn() else { return false };
    if let Some(mut pipe) = child.stdin.take() {
        // A pager that is left before it has read everything is no failure.
        let _ = writeln!(pipe, "{text}");
    }
    // A pager that cannot be run (sh says 126 or 127) has shown nothing.
    child.wait().is_ok_and(|status| !matches!(status.code(), Some(126 | 127)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_if_its_lines_do() {
        assert!(fits("ab\ncd", 2, 4));
        assert!(!fits("ab\ncd", 2, 3));
        assert!(!fits("abc\ncd", 2, 9));
        assert!(!fits("数学", 3, 9));
    }
}
