//! Opening text that may be compressed, by the ending of its name: the one place that decompresses what people bring.
//!
//! What a file can make the reader hold is bounded. A zstd frame says itself how far back it refers, and so much is kept:
//! frames that ask for more than [`ZSTD_WINDOW_LOG`] are refused. gzip never refers back further than 32 KiB.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use records::{Error, Result};

use super::LINE_BYTES;

/// The longest distance back that a zstd frame may refer to, as a power of two: 128 MiB, which is what `zstd -d` takes
/// when it is not told otherwise (`ZSTD_WINDOWLOG_LIMIT_DEFAULT`), and what `zstd --long` writes.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The first bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// `ZSTD_error_frameParameter_windowTooLarge`, as the library returns it.
const ZSTD_WINDOW_TOO_LARGE: usize = 0_usize.wrapping_sub(16);
/// Bytes that are read and decompressed at once.
const BUFFER_BYTES: usize = 1 << 18;

/// The bytes of a file, decompressed if its name ends in `.gz` or `.zst`.
///
/// # Errors
/// It cannot be opened, or asks for more memory than it gets. Later errors of the reader are for [`unreadable`].
pub fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let failed = |e| Error::io("open", path, e);
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed)?);
    let buffered = |reader: Box<dyn Read + Send>| Box::new(BufReader::with_capacity(BUFFER_BYTES, reader));
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => buffered(Box::new(flate2::bufread::MultiGzDecoder::new(file))),
        Some("zst") => {
            let wanted = window(file.fill_buf().map_err(|e| Error::io("read", path, e))?);
            if wanted.is_some_and(|bytes| bytes > 1 << ZSTD_WINDOW_LOG) {
                return Err(TooWide { window: wanted }.at(path));
            }
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
            buffered(Box::new(Frames(decoder)))
        }
        _ => Box::new(file),
    })
}

/// What an error means that came up in what [`open`] gave, after some lines.
pub(crate) fn unreadable(path: &Path, lines: usize, error: std::io::Error) -> Error {
    if let Some(wide) = error.get_ref().and_then(|inner| inner.downcast_ref::<TooWide>()) {
        return wide.at(path);
    }
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

/// A frame that asks for a larger window than it gets; of one that is not the first, how large is not known.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{}; {REMEDY}", self.problem())]
struct TooWide {
    window: Option<u64>,
}

const REMEDY: &str =
    "decompress it with `zstd -d --long=31` and give the result, plain or compressed again without --long";

impl TooWide {
    fn problem(self) -> String {
        let window = self.window.map_or("more than that".to_owned(), |window| format!("{} MiB", window >> 20));
        let most = 1 << (ZSTD_WINDOW_LOG - 20);
        format!(
            "decompressing takes a window of {most} MiB at most (zstd --long={ZSTD_WINDOW_LOG}), and it asks for {window}"
        )
    }

    fn at(self, path: &Path) -> Error {
        Error::malformed(path, self.problem(), REMEDY)
    }
}

/// The frames of a file, whose windows are bounded.
struct Frames<R>(R);

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into).map_err(|error| {
            // The library gives its errors by name only.
            let is_wide = error.to_string() == zstd::zstd_safe::get_error_name(ZSTD_WINDOW_TOO_LARGE);
            if is_wide { std::io::Error::other(TooWide { window: None }) } else { error }
        })
    }
}

/// How many bytes back a zstd frame refers, going by the frame's header (RFC 8878, section 3.1.1.1).
fn window(head: &[u8]) -> Option<u64> {
    let fields = head.strip_prefix(&ZSTD_MAGIC)?;
    let (descriptor, fields) = fields.split_first()?;
    let is_single = descriptor & 0x20 != 0;
    if !is_single {
        let (exponent, mantissa) = (fields.first()? >> 3, fields.first()? & 7);
        let base = 1_u64 << (10 + exponent);
        return Some(base + base / 8 * u64::from(mantissa));
    }
    // In a single segment it is all of the content, whose size comes behind the dictionary's number.
    let fields = fields.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    let size = |bytes: usize| {
        let read = fields.get(..bytes)?.iter().rev();
        Some(read.fold(0_u64, |size, byte| size << 8 | u64::from(*byte)))
    };
    match descriptor >> 6 {
        0 => size(1),
        1 => Some(size(2)? + 256),
        2 => size(4),
        _ => size(8),
    }
}

/// Lines for a reader that holds each of them whole: one that is too long is an error.
pub struct BoundedLines<R> {
    reader: R,
    /// Lines that ended.
    ended: usize,
    /// Bytes of the line that was begun.
    bytes: usize,
}

impl<R: BufRead> BoundedLines<R> {
    /// Of a reader from its first line on.
    pub fn new(reader: R) -> Self {
        Self { reader, ended: 0, bytes: 0 }
    }
}

impl<R: BufRead> Read for BoundedLines<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for BoundedLines<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.bytes > LINE_BYTES {
            let (line, most) = (self.ended + 1, LINE_BYTES >> 20);
            return Err(std::io::Error::other(format!("line {line} is longer than {most} MiB")));
        }
        self.reader.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is there already: nothing is read.
        if let Ok(buffer) = self.reader.fill_buf() {
            let gone = &buffer[..count.min(buffer.len())];
            match gone.iter().rposition(|byte| *byte == b'\n') {
                Some(last) => {
                    self.ended += gone.split(|byte| *byte == b'\n').count() - 1;
                    self.bytes = gone.len() - last - 1;
                }
                None => self.bytes += gone.len(),
            }
        }
        self.reader.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame whose header asks for a window, with one empty raw block, the last.
    fn frame(exponent: u8, mantissa: u8) -> Vec<u8> {
        [ZSTD_MAGIC.as_slice(), &[0, exponent << 3 | mantissa, 1, 0, 0]].concat()
    }

    fn said(path: &Path) -> String {
        match open(path) {
            Err(error) => error.to_string(),
            Ok(mut reader) => match reader.read_to_end(&mut Vec::new()) {
                Err(error) => unreadable(path, 0, error).to_string(),
                Ok(count) => format!("{count} bytes"),
            },
        }
    }

    #[test]
    fn windows_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        // 2^27 is 128 MiB: exponent 17. What zstd itself says of the same bytes is the reference.
        for (exponent, mantissa, window) in
            [(0, 0, None), (17, 0, None), (17, 1, Some("144 MiB")), (21, 0, Some("2048"))]
        {
            let bytes = frame(exponent, mantissa);
            let got = said(&at("a.jsonl.zst", &bytes));
            let by_default = zstd::decode_all(bytes.as_slice()).is_ok();
            assert_eq!(by_default, window.is_none());
            match window {
                None => assert_eq!(got, "0 bytes"),
                Some(window) => {
                    for part in ["a.jsonl.zst", window, "128 MiB", "zstd -d --long=31"] {
                        assert!(got.contains(part), "{part}: {got}");
                    }
                }
            }
        }
        // A later frame, and one in a single segment of 1 GiB.
        let later = [zstd::encode_all(b"{}\n".as_slice(), 1).unwrap(), frame(21, 0)].concat();
        let got = said(&at("b.jsonl.zst", &later));
        assert!(got.contains("b.jsonl.zst") && got.contains("128 MiB") && got.contains("zstd -d"), "{got}");
        let single = [ZSTD_MAGIC.as_slice(), &[0xa0, 0, 0, 0, 0x40, 1, 0, 0]].concat();
        assert!(said(&at("c.jsonl.zst", &single)).contains("1024 MiB"));
        for cut in [&b""[..], b"x", &ZSTD_MAGIC, &ZSTD_MAGIC[..2], &frame(21, 0)[..5]] {
            assert!(!said(&at("d.jsonl.zst", cut)).contains("window"), "{cut:?}");
        }
    }

    /// What `zstd --long=27` makes of text that repeats itself after 16 MB.
    #[test]
    fn windows_of_the_usual_size_are_read() {
        let half: Vec<u8> =
            (0_u64..1 << 19).flat_map(|n| format!("{{\"n\": {:>22}}}\n", n * n * n).into_bytes()).collect();
        let text = [half.as_slice(), half.as_slice()].concat();
        let packed = |log: u32| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.long_distance_matching(true).unwrap();
            encoder.window_log(log).unwrap();
            std::io::Write::write_all(&mut encoder, &text).unwrap();
            encoder.finish().unwrap()
        };
        let long = packed(ZSTD_WINDOW_LOG);
        assert_eq!(window(&long), Some(1 << ZSTD_WINDOW_LOG));
        assert!(long.len() < packed(19).len() * 6 / 10, "it does not refer far back");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl.zst");
        std::fs::write(&path, long).unwrap();
        let mut got = Vec::new();
        open(&path).unwrap().read_to_end(&mut got).unwrap();
        assert!(got == text);
    }

    #[test]
    fn long_lines_are_an_error_with_their_number() {
        let text = [b"{}\n".repeat(3), vec![b' '; LINE_BYTES + 2]].concat();
        let mut reader = BoundedLines::new(BufReader::new(text.as_slice()));
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("64 MiB"), "{error}");
        let mut whole = Vec::new();
        BoundedLines::new(BufReader::new(&text[..LINE_BYTES])).read_to_end(&mut whole).unwrap();
        assert_eq!(whole, &text[..LINE_BYTES]);
    }
}
