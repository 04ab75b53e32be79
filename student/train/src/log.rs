//! What a training leaves to look at while it runs: `metrics.jsonl`, one line a step, and the same for TensorBoard.
//!
//! Both are cut back to the checkpoint when training resumes, so that no step is in them twice. Lines are made durable
//! before a checkpoint that counts on them: a kill may cut the last line short, which belongs to a step that is done again,
//! and nothing else. Any other line that cannot be read, and any step of the checkpoint's that has none, is damage, and an
//! error.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use records::disk;
use records::record::Metric;

use crate::checkpoint::Progress;
use crate::tensorboard::EventFile;
use crate::{Error, Result};

/// The file of a training's log, in its folder.
pub const METRICS_FILE: &str = "metrics.jsonl";
const REMEDY: &str = "restore it from a copy, or remove the folder to train again";

/// Both files, open for the next step.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    events: EventFile,
}

impl Log {
    pub(crate) fn open(dir: &Path, progress: &Progress) -> Result<Self> {
        let path = dir.join(METRICS_FILE);
        let mut lines = match disk::metadata(&path)? {
            Some(_) => read(&path, true)?,
            None => Vec::new(),
        };
        lines.retain(|(_, metric)| metric.step <= progress.step);
        let (lines, metrics): (Vec<String>, Vec<Metric>) = lines.into_iter().unzip();
        if !metrics.iter().map(|metric| metric.step).eq(1..=progress.step) {
            let problem = format!("it holds {} of the {} steps before the checkpoint", metrics.len(), progress.step);
            return Err(Error::model(&path, problem, REMEDY));
        }
        records::artifact::write_bytes(&path, lines.concat().as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| records::Error::io("open", &path, e))?;
        let events = EventFile::open(dir, progress.seconds, &metrics)?;
        Ok(Self { path, file, events })
    }

    pub(crate) fn write(&mut self, metric: &Metric) -> Result<()> {
        let line = serde_json::to_string(metric).map_err(|e| records::Error::engine("encoding a metric", e))? + "\n";
        self.file.write_all(line.as_bytes()).map_err(|e| records::Error::io("write", &self.path, e))?;
        self.events.write(metric)
    }

    /// Makes the lines so far durable: before a checkpoint that counts on them.
    pub(crate) fn sync(&self) -> Result<()> {
        Ok(self.file.sync_all().map_err(|e| records::Error::io("sync", &self.path, e))?)
    }
}

/// The metrics of a finished training in `dir`, one a step.
pub fn metrics(dir: &Path) -> Result<Vec<Metric>> {
    Ok(read(&dir.join(METRICS_FILE), false)?.into_iter().map(|(_, metric)| metric).collect())
}

/// All lines with their ends, as they stand; without a last one that has no end, if it `may_be_cut`.
fn read(path: &Path, may_be_cut: bool) -> Result<Vec<(String, Metric)>> {
    let bytes = std::fs::read(path).map_err(|e| records::Error::io("read", path, e))?;
    let mut metrics = Vec::new();
    for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
        let is_whole = line.ends_with(b"\n");
        match metric(line) {
            Ok(metric) if is_whole => metrics.push(metric),
            _ if may_be_cut && !is_whole => {}
            Ok(_) => return Err(Error::model(path, format!("line {number} has no end"), REMEDY)),
            Err(e) => {
                return Err(Error::model(path, format!("line {number} is not a step's metrics: {e}"), REMEDY));
            }
        }
    }
    Ok(metrics)
}

fn metric(line: &[u8]) -> std::result::Result<(String, Metric), String> {
    let line = std::str::from_utf8(line).map_err(|e| e.to_string())?;
    Ok((line.to_owned(), serde_json::from_str(line).map_err(|e| e.to_string())?))
}
