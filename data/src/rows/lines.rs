//! JSON Lines, plain or compressed. A line that is too long is skipped without being held in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{BATCH_BYTES, BATCH_ROWS, EXCERPT_CHARS, LINE_BYTES, Raw, RawRow};
use crate::{Error, Result};

/// The longest distance back that a zstd frame may refer to, as a power of two: what `zstd --long=31` writes.
const ZSTD_WINDOW_LOG: u32 = 31;

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

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let buffered = |reader: Box<dyn Read>| Box::new(BufReader::with_capacity(1 << 18, reader));
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => buffered(Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(1 << 18, file)))),
        Some("zst") => {
            let mut decoder = zstd::stream::read::Decoder::new(file).map_err(|e| Error::io("read", path, e))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|e| Error::io("read", path, e))?;
            buffered(Box::new(decoder))
        }
        _ => buffered(Box::new(file)),
    })
}

/// A file that ends within its compressed data, or is not compressed at all.
fn unreadable(path: &Path, lines: usize, error: std::io::Error) -> Error {
    let compressed = path.extension().is_some_and(|extension| extension == "gz" || extension == "zst");
    if !compressed {
        return Error::io("read", path, error);
    }
    Error::malformed(
        path,
        format!("its compressed data cannot be read further than line {lines}: {error}"),
        "was it cut short while being copied?",
    )
}

struct Lines {
    reader: Box<dyn BufRead>,
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
