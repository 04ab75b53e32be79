//! TensorBoard's event files, written as the format is: records (`tensorflow/core/lib/io/record_writer.h`) of protobuf
//! messages (`tensorflow/core/util/event.proto`, `summary.proto`), of which scalars need six fields.
//!
//! A resumed training has steps that are done again. TensorFlow leaves the old file and starts another with a mark at
//! which TensorBoard forgets later steps; other readers then see those steps twice. Here the file is written anew from
//! `metrics.jsonl` instead, under a later name, and the old one removed. The mark is at its beginning, for a TensorBoard
//! that has the old file open.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crc32c::crc32c;
use records::record::Metric;

use crate::Result;

/// The one event file of a training.
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
    /// When training would have begun if it had never been interrupted, in seconds since 1970.
    began: f64,
}

/// What `Event.what` may hold here, by field number.
const FILE_VERSION: u8 = 3;
const SUMMARY: u8 = 5;
const SESSION_LOG: u8 = 7;
/// `SessionLog { status: START }`.
const START: [u8; 2] = [1 << 3, 1];

impl EventFile {
    /// Replaces the event files in `dir` with one that holds `metrics`; `seconds` of training are done.
    pub(crate) fn open(dir: &Path, seconds: f64, metrics: &[Metric]) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let began = now - seconds;
        let mut bytes = event(began, 0, FILE_VERSION, b"brain.Event:2");
        bytes.extend(event(began, 0, SESSION_LOG, &START));
        bytes.extend(metrics.iter().flat_map(|metric| summary(began, metric)));
        let name = format!("events.out.tfevents.{:010}.r1-distill", now as u64);
        let path = dir.join(&name);
        records::artifact::write_bytes(&path, &bytes)?;
        for entry in records::disk::entries(dir)? {
            let found = entry.file_name().unwrap_or_default().to_string_lossy();
            if found.starts_with("events.out.tfevents.") && found != name {
                fs::remove_file(&entry).map_err(|e| records::Error::io("remove", &entry, e))?;
            }
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| records::Error::io("open", &path, e))?;
        Ok(Self { path, file, began })
    }

    pub(crate) fn write(&mut self, metric: &Metric) -> Result<()> {
        let bytes = summary(self.began, metric);
        Ok(self.file.write_all(&bytes).map_err(|e| records::Error::io("write", &self.path, e))?)
    }
}

/// The scalars of a step as one event.
fn summary(began: f64, metric: &Metric) -> Vec<u8> {
    let scalars = [
        ("train/loss", Some(metric.loss)),
        ("train/grad_norm", Some(metric.grad_norm)),
        ("train/learning_rate", Some(metric.learning_rate)),
        ("train/tokens_per_second", Some(metric.tokens_per_second)),
        ("eval/loss", metric.eval_loss),
    ];
    let mut summary = Vec::new();
    for (tag, number) in scalars {
        let Some(number) = number else { continue };
        let mut value = Vec::new();
        field(&mut value, 1, tag.as_bytes());
        value.push((2 << 3) | 5);
        value.extend((number as f32).to_le_bytes());
        field(&mut summary, 1, &value);
    }
    event(began + metric.seconds, metric.step, SUMMARY, &summary)
}

/// A framed `Event { wall_time, step, what }`.
fn event(wall_time: f64, step: u32, what: u8, content: &[u8]) -> Vec<u8> {
    let mut event = vec![(1 << 3) | 1];
    event.extend(wall_time.to_le_bytes());
    event.push(2 << 3);
    varint(&mut event, u64::from(step));
    field(&mut event, what, content);
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(crc32c(&length)), &event, &masked(crc32c(&event))].concat()
}

/// A field of bytes.
fn field(message: &mut Vec<u8>, number: u8, content: &[u8]) {
    message.push((number << 3) | 2);
    varint(message, content.len() as u64);
    message.extend(content);
}

fn varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// A checksum of bytes that hold checksums would check nothing; so the format turns it.
fn masked(crc: u32) -> [u8; 4] {
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests;
