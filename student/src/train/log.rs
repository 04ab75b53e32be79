//! What a training leaves to look at while it runs: `metrics.jsonl`, one line a step, and the same for TensorBoard.
//!
//! Both are cut back to the checkpoint when training resumes, so that no step is in them twice.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use data::record::Metric;

use super::tensorboard::EventFile;
use crate::Result;
use crate::checkpoint::Progress;

/// Both files, open for the next step.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    events: EventFile,
}

impl Log {
    pub(super) fn open(dir: &Path, progress: &Progress) -> Result<Self> {
        let path = dir.join("metrics.jsonl");
        let kept: Vec<(String, Metric)> = match File::open(&path) {
            Ok(file) => BufReader::new(file)
                .lines()
                .map_while(std::result::Result::ok)
                .filter_map(|line| serde_json::from_str::<Metric>(&line).ok().map(|metric| (line, metric)))
                .filter(|(_, metric)| metric.step <= progress.step)
                .collect(),
            Err(_) => Vec::new(),
        };
        let (lines, metrics): (Vec<String>, Vec<Metric>) = kept.into_iter().unzip();
        let text = lines.into_iter().fold(String::new(), |text, line| text + &line + "\n");
        data::artifact::write_bytes(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| data::Error::io("open", &path, e))?;
        let events = EventFile::open(dir, progress.seconds, &metrics)?;
        Ok(Self { path, file, events })
    }

    pub(super) fn write(&mut self, metric: &Metric) -> Result<()> {
        let line = serde_json::to_string(metric).map_err(|e| data::Error::engine("encoding a metric", e))? + "\n";
        self.file.write_all(line.as_bytes()).map_err(|e| data::Error::io("write", &self.path, e))?;
        self.events.write(metric)
    }

    /// Makes the lines so far durable: before a checkpoint that counts on them.
    pub(super) fn sync(&self) -> Result<()> {
        Ok(self.file.sync_all().map_err(|e| data::Error::io("sync", &self.path, e))?)
    }
}
