//! Curated traces as a file in one of the schemas in which such data is published: Parquet that `datasets`, DuckDB and
//! Polars read as it is (plain UTF-8, lists of structs), or JSON Lines.

use std::io::{BufWriter, Write};
use std::path::Path;

use records::artifact::Aside;
use records::parquet_file::{RecordWriter, parquet_files, plain_fields_of, stream_records};
use records::record::{CuratedTrace, Message};
use records::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// messages, num_tokens, source
    MixtureOfThoughts,
    /// difficulty, source, domain, conversations
    OpenThoughts3,
    /// conversations
    Sharegpt,
    /// messages
    Messages,
}

/// Writes all curated traces of a folder to a `.parquet`, `.jsonl` or `.jsonl.zst` file; returns how many. The file has
/// its name only once it is complete.
pub fn export(curated: &Path, schema: Schema, output: &Path) -> Result<u64> {
    match schema {
        Schema::MixtureOfThoughts => write::<MixtureOfThoughts>(curated, output),
        Schema::OpenThoughts3 => write::<OpenThoughts3>(curated, output),
        Schema::Sharegpt => write::<Sharegpt>(curated, output),
        Schema::Messages => write::<Messages>(curated, output),
    }
}

/// Fields in the order of the published files, here and below.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct MixtureOfThoughts {
    messages: Vec<Content>,
    num_tokens: Option<i64>,
    source: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Content {
    content: String,
    role: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OpenThoughts3 {
    /// Not known here.
    difficulty: Option<i64>,
    source: String,
    domain: String,
    conversations: Vec<Turn>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sharegpt {
    conversations: Vec<Turn>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Turn {
    from: String,
    value: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Messages {
    messages: Vec<Message>,
}

impl From<CuratedTrace> for MixtureOfThoughts {
    fn from(trace: CuratedTrace) -> Self {
        let messages = trace.messages.into_iter().map(|Message { role, content }| Content { content, role });
        Self { messages: messages.collect(), num_tokens: trace.num_tokens, source: trace.source }
    }
}

impl From<CuratedTrace> for OpenThoughts3 {
    fn from(trace: CuratedTrace) -> Self {
        let CuratedTrace { source, domain, messages, .. } = trace;
        Self { difficulty: None, source, domain, conversations: turns(messages) }
    }
}

impl From<CuratedTrace> for Sharegpt {
    fn from(trace: CuratedTrace) -> Self {
        Self { conversations: turns(trace.messages) }
    }
}

impl From<CuratedTrace> for Messages {
    fn from(trace: CuratedTrace) -> Self {
        Self { messages: trace.messages }
    }
}

fn turns(messages: Vec<Message>) -> Vec<Turn> {
    let name = |role: String| match role.as_str() {
        "user" => "human".to_owned(),
        "assistant" => "gpt".to_owned(),
        _ => role,
    };
    messages.into_iter().map(|Message { role, content }| Turn { from: name(role), value: content }).collect()
}

/// Where rows go.
enum Sink<R> {
    Parquet(Box<RecordWriter<R>>),
    Lines(BufWriter<Aside>),
    Zstd(zstd::stream::write::Encoder<'static, Aside>),
}

impl<R: Serialize + DeserializeOwned> Sink<R> {
    fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".parquet") {
            Ok(Self::Parquet(Box::new(RecordWriter::with_fields(path, plain_fields_of::<R>()?)?)))
        } else if name.ends_with(".jsonl") {
            Ok(Self::Lines(BufWriter::new(Aside::create(path)?)))
        } else if name.ends_with(".jsonl.zst") {
            let encoder = zstd::stream::write::Encoder::new(Aside::create(path)?, zstd::DEFAULT_COMPRESSION_LEVEL);
            Ok(Self::Zstd(encoder.map_err(|e| Error::io("write", path, e))?))
        } else {
            Err(Error::invalid(
                format!("the output {}", path.display()),
                "this kind of file is not written here, going by its extension",
                "name a .parquet, .jsonl or .jsonl.zst file",
            ))
        }
    }

    fn write(&mut self, rows: &[R], path: &Path) -> Result<()> {
        let out: &mut dyn Write = match self {
            Self::Parquet(writer) => return writer.write(rows),
            Self::Lines(file) => file,
            Self::Zstd(encoder) => encoder,
        };
        for row in rows {
            let mut line =
                serde_json::to_vec(row).map_err(|e| Error::engine(format!("writing {}", path.display()), e))?;
            line.push(b'\n');
            out.write_all(&line).map_err(|e| Error::io("write", path, e))?;
        }
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<()> {
        let file = match self {
            Self::Parquet(writer) => return writer.finish(),
            Self::Lines(file) => file.into_inner().map_err(std::io::IntoInnerError::into_error),
            Self::Zstd(encoder) => encoder.finish(),
        };
        file.map_err(|e| Error::io("write", path, e))?.publish()
    }
}

fn write<R: Serialize + DeserializeOwned + From<CuratedTrace>>(curated: &Path, output: &Path) -> Result<u64> {
    let mut sink = Sink::<R>::create(output)?;
    let mut count = 0;
    for path in parquet_files(curated)? {
        for traces in stream_records::<CuratedTrace>(&path)? {
            let rows: Vec<R> = traces?.into_iter().map(R::from).collect();
            count += rows.len() as u64;
            sink.write(&rows, output)?;
        }
    }
    sink.finish(output)?;
    Ok(count)
}
