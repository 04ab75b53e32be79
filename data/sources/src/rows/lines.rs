//! JSON Lines, plain or compressed. A line that is too long is skipped without being held in memory.

use std::io::{BufRead, Read};
use std::path::Path;

use records::Result;

use super::open::{open, unreadable};
use super::{BATCH_BYTES, BATCH_ROWS, EXCERPT_CHARS, LINE_BYTES, Raw, RawRow};

/// Streams the lines of a file that are not blank.
pub(super) fn batches(path: &Path) -> Result<impl Iterator<Item = Result<Vec<RawRow>>>> {
    let mut lines = Lines { reader: open(path)?, number: 0, first: true };
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while !ended && rows.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            match lines.next_line() {
                Ok(Some(row)) => {
                    bytes += row.1;
                    rows.push(row.0);
                }
                Ok(None) => ended = true,
                Err(error) => {
                    ended = true;
                    return Some(Err(unreadable(path, lines.number, error)));
                }
            }
        }
        (!rows.is_empty()).then_some(Ok(rows))
    }))
}

struct Lines {
    reader: Box<dyn BufRead + Send>,
    /// Lines that were begun.
    number: usize,
    first: bool,
}

impl Lines {
    /// The next line that is not blank, and its length.
    fn next_line(&mut self) -> std::io::Result<Option<(RawRow, usize)>> {
        loop {
            let mut line = Vec::new();
            let limit = LINE_BYTES as u64 + 1;
            if self.reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if line.len() > LINE_BYTES && !line.ends_with(b"\n") {
                self.reader.skip_until(b'\n')?;
                line.truncate(4 * EXCERPT_CHARS);
                line.shrink_to_fit();
                return Ok(Some((RawRow { number: self.number, raw: Raw::TooLong(line) }, 0)));
            }
            if std::mem::take(&mut self.first) && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            line.truncate(line.trim_ascii_end().len());
            if !line.trim_ascii_start().is_empty() {
                let bytes = line.len();
                return Ok(Some((RawRow { number: self.number, raw: Raw::Text(line) }, bytes)));
            }
        }
    }
}
