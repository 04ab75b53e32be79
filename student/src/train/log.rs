//! What a training leaves to look at while it runs: `metrics.jsonl`, one line a step, and the same for TensorBoard.
//!
//! Both are cut back to the checkpoint when training resumes, so that no step is in them twice. Lines are made durable
//! before a checkpoint that counts on them: a kill may cut the last line short, which belongs to a step that is done again,
//! and nothing else. Any other line that cannot be read, and any step of the checkpoint's that has none, is damage, and an
//! error.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use data::disk;
use data::record::Metric;

use super::tensorboard::EventFile;
use crate::checkpoint::Progress;
use crate::{Error, Result};

const FILE: &str = "metrics.jsonl";
const REMEDY: &str = "restore it from a copy, or remove the folder to train again";

/// Both files, open for the next step.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    events: EventFile,
}

impl Log {
    pub(super) fn open(dir: &Path, progress: &Progress) -> Result<Self> {
        let path = dir.join(FILE);
        let mut metrics = match disk::metadata(&path)? {
            Some(_) => read(&path, true)?,
            None => Vec::new(),
        };
        metrics.retain(|metric| metric.step <= progress.step);
        if !metrics.iter().map(|metric| metric.step).eq(1..=progress.step) {
            let problem = format!("it holds {} of the {} steps before the checkpoint", metrics.len(), progress.step);
            return Err(Error::model(&path, problem, REMEDY));
        }
        let text = metrics.iter().map(line).collect::<Result<String>>()?;
        data::artifact::write_bytes(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| data::Error::io("open", &path, e))?;
        let events = EventFile::open(dir, progress.seconds, &metrics)?;
        Ok(Self { path, file, events })
    }

    pub(super) fn write(&mut self, metric: &Metric) -> Result<()> {
        self.file.write_all(line(metric)?.as_bytes()).map_err(|e| data::Error::io("write", &self.path, e))?;
        self.events.write(metric)
    }

    /// Makes the lines so far durable: before a checkpoint that counts on them.
    pub(super) fn sync(&self) -> Result<()> {
        Ok(self.file.sync_all().map_err(|e| data::Error::io("sync", &self.path, e))?)
    }
}

fn line(metric: &Metric) -> Result<String> {
    Ok(serde_json::to_string(metric).map_err(|e| data::Error::engine("encoding a metric", e))? + "\n")
}

/// The metrics of a finished training in `dir`, one a step.
pub fn metrics(dir: &Path) -> Result<Vec<Metric>> {
    read(&dir.join(FILE), false)
}

/// All lines; without a last one that has no end, if it `may_be_cut`.
fn read(path: &Path, may_be_cut: bool) -> Result<Vec<Metric>> {
    let bytes = std::fs::read(path).map_err(|e| data::Error::io("read", path, e))?;
    let mut metrics = Vec::new();
    for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
        match serde_json::from_slice::<Metric>(line) {
            Ok(metric) => metrics.push(metric),
            Err(_) if may_be_cut && !line.ends_with(b"\n") => {}
            Err(e) => return Err(Error::model(path, format!("line {number} is not a step's metrics: {e}"), REMEDY)),
        }
    }
    Ok(metrics)
}
