//! A JSON array of rows, split where its elements end and not parsed: that happens later, on all cores, and only the
//! elements of a batch are in memory. An element that is too long is skipped without being held.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use records::{Error, Result};

use super::{BATCH_BYTES, BATCH_ROWS, EXCERPT_CHARS, LINE_BYTES, Raw, RawRow};

/// Streams the elements of the array that a file is.
pub(super) fn batches(path: &Path) -> Result<impl Iterator<Item = Result<Vec<RawRow>>>> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let mut elements = Elements { reader: BufReader::with_capacity(1 << 18, file), number: 0 };
    let mut state = Some(State::Before);
    Ok(std::iter::from_fn(move || {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            match elements.next(state?) {
                Ok(Some((row, length, next))) => {
                    rows.push(row);
                    bytes += length;
                    state = Some(next);
                }
                Ok(None) => {
                    state = None;
                    break;
                }
                Err(broken) => {
                    state = None;
                    return Some(Err(broken.at(path, elements.number)));
                }
            }
        }
        (!rows.is_empty()).then_some(Ok(rows))
    }))
}

/// Where the reader is.
#[derive(Clone, Copy)]
enum State {
    /// Before the array.
    Before,
    /// After an element and its comma.
    Within,
    /// After the last element and the closing bracket.
    After,
}

enum Broken {
    Io(std::io::Error),
    NoArray,
    Cut,
    More,
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Broken {
    fn at(self, path: &Path, rows: usize) -> Error {
        let (problem, remedy) = match self {
            Self::Io(error) => return Error::io("read", path, error),
            Self::NoArray => {
                ("not a JSON array of objects".to_owned(), "a file with one object a line should be named .jsonl")
            }
            Self::Cut => {
                (format!("its array does not end; row {rows} is the last"), "was it cut short while being copied?")
            }
            Self::More => {
                ("there is more after its array".to_owned(), "a file with one object a line should be named .jsonl")
            }
        };
        Error::malformed(path, problem, remedy)
    }
}

struct Elements<R> {
    reader: R,
    /// Elements that were begun.
    number: usize,
}

impl<R: BufRead> Elements<R> {
    /// The next element, its length, and where the reader is after it; `None` at the end.
    fn next(&mut self, state: State) -> std::result::Result<Option<(RawRow, usize, State)>, Broken> {
        match state {
            State::Before => {
                self.skip_mark()?;
                if self.skip_blanks()? != Some(b'[') {
                    return Err(Broken::NoArray);
                }
                self.reader.consume(1);
                if self.skip_blanks()? == Some(b']') {
                    self.reader.consume(1);
                    return self.end();
                }
            }
            State::Within => {
                self.skip_blanks()?;
            }
            State::After => return self.end(),
        }
        self.element().map(Some)
    }

    fn end<T>(&mut self) -> std::result::Result<Option<T>, Broken> {
        if self.skip_blanks()?.is_some() { Err(Broken::More) } else { Ok(None) }
    }

    /// A byte-order mark.
    fn skip_mark(&mut self) -> std::io::Result<()> {
        if self.reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            self.reader.consume(3);
        }
        Ok(())
    }

    /// The first byte that is not blank, which stays.
    fn skip_blanks(&mut self) -> std::io::Result<Option<u8>> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let blanks = buffer.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
            let next = buffer.get(blanks).copied();
            self.reader.consume(blanks);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// Reads up to the comma or bracket that ends an element.
    fn element(&mut self) -> std::result::Result<(RawRow, usize, State), Broken> {
        self.number += 1;
        let (mut element, mut length, mut scanner) = (Vec::new(), 0, Scanner::default());
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Err(Broken::Cut);
            }
            let end = scanner.end(buffer);
            let taken = end.unwrap_or(buffer.len());
            length += taken;
            let last = buffer.get(taken).copied();
            if length <= LINE_BYTES {
                element.extend_from_slice(&buffer[..taken]);
            } else {
                element.truncate(4 * EXCERPT_CHARS);
                element.shrink_to_fit();
            }
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                let state = if last == Some(b']') { State::After } else { State::Within };
                let (raw, held) =
                    if length <= LINE_BYTES { (Raw::Text(element), length) } else { (Raw::TooLong(element), 0) };
                return Ok((RawRow { number: self.number, raw }, held, state));
            }
        }
    }
}

/// Finds where a value ends by counting brackets outside of strings.
#[derive(Default)]
struct Scanner {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scanner {
    /// The place of the comma or bracket after the value, if it is in this part of the file.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'[' | b'{' => self.depth += 1,
                b',' | b']' | b'}' if self.depth == 0 => return Some(at),
                b']' | b'}' => self.depth -= 1,
                _ => {}
            }
        }
        None
    }
}
