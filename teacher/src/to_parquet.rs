//! From the ledger to Parquet: the traces asked for, in the order of the prompts, whatever order they came in.

use std::path::Path;

use records::parquet_file::{parquet_files, write_records};
use records::record::{Trace, TraceId};

use crate::Result;
use crate::ledger::Ledger;

/// When a part is closed: whichever comes first, so that memory does not grow with the length of the traces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartLimit {
    pub(crate) rows: usize,
    pub(crate) text_bytes: usize,
}

impl Default for PartLimit {
    fn default() -> Self {
        Self { rows: 50_000, text_bytes: 256 << 20 }
    }
}

/// What was written.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Written {
    pub(crate) traces: usize,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

/// Writes the traces of these ids into `dir/traces-00000.parquet` and on, one row for each, sampled under `max_tokens` or
/// under another limit that serves as well, which the row says. All of them must be in the ledger.
pub(crate) fn to_parquet(
    ledger: &Ledger,
    ids: &[TraceId],
    max_tokens: u32,
    dir: &Path,
    limit: PartLimit,
) -> Result<Written> {
    // Parts of an earlier writing would be read along with ours; all they hold is in the ledger.
    for path in parquet_files(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("traces-") {
            std::fs::remove_file(&path).map_err(|e| records::Error::io("remove", &path, e))?;
        }
    }
    let mut written = Written::default();
    let (mut part, mut bytes, mut parts) = (Vec::new(), 0, 0);
    let mut close = |part: &mut Vec<Trace>| {
        write_records(&dir.join(format!("traces-{parts:05}.parquet")), part)?;
        parts += 1;
        part.clear();
        Result::Ok(())
    };
    ledger.visit(ids, max_tokens, |id, trace| {
        let trace = trace.ok_or_else(|| {
            let problem = format!("trace {id} is not there");
            records::Error::malformed(ledger.path(), problem, "run again to ask for it")
        })?;
        written.traces += 1;
        written.prompt_tokens += u64::from(trace.prompt_tokens.unwrap_or(0));
        written.completion_tokens += u64::from(trace.completion_tokens.unwrap_or(0));
        bytes += trace.thinking.as_ref().map_or(0, String::len) + trace.answer.len();
        part.push(trace);
        if part.len() >= limit.rows || bytes >= limit.text_bytes {
            close(&mut part)?;
            bytes = 0;
        }
        Ok(())
    })?;
    if !part.is_empty() {
        close(&mut part)?;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::parquet_file::{read_folder, read_records};
    use records::record::{FinishReason, PromptId, Sampling};

    /// Of each other trace.
    const LIMIT: u32 = 64;

    fn trace(n: u32, text: usize) -> Trace {
        Trace::new(TraceId::from_stored(n.to_string()), PromptId::from_stored("p"), "t", n)
            .with_text(n.is_multiple_of(2).then(|| "x".repeat(text)), "y".repeat(text), FinishReason::Stop)
            .with_tokens(Some(2), (n != 1).then_some(10))
            .with_sampling(Sampling { temperature: 0.6, top_p: 0.95, max_tokens: LIMIT + n % 2 }, None)
    }

    #[test]
    fn parts_hold_the_wanted_traces_in_order_within_both_limits() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&dir.path().join("ledger.sqlite")).unwrap();
        ledger.insert(&(0..9).rev().map(|n| trace(n, 10)).collect::<Vec<_>>()).unwrap();
        let ids: Vec<TraceId> = (0..7).map(|n| TraceId::from_stored(n.to_string())).collect();
        let wanted: Vec<Trace> = (0..7).map(|n| trace(n, 10)).collect();
        let rows_of = |limit| {
            let written = to_parquet(&ledger, &ids, LIMIT + 1, dir.path(), limit).unwrap();
            assert_eq!(written, Written { traces: 7, prompt_tokens: 14, completion_tokens: 60 });
            assert_eq!(read_folder::<Trace>(dir.path()).unwrap(), wanted);
            let paths = parquet_files(dir.path()).unwrap();
            paths.iter().map(|path| read_records::<Trace>(path).unwrap().len()).collect::<Vec<_>>()
        };
        assert_eq!(rows_of(PartLimit { rows: 3, text_bytes: 1000 }), [3, 3, 1]);
        assert_eq!(rows_of(PartLimit { rows: 100, text_bytes: 50 }), [3, 4]);
        // The parts of the writing before are gone.
        assert_eq!(rows_of(PartLimit::default()), [7]);

        let error = to_parquet(&ledger, &[TraceId::from_stored("77")], LIMIT, dir.path(), PartLimit::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("trace 77 is not there"), "{error}");
    }
}
