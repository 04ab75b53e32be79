//! The integration tests, one binary: they run `r1-distill` as a user does.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

/// Questions in SQL, in a shell and about one trace.
mod asking;
/// Prompts are those of transformers' apply_chat_template.
mod chat;
/// The project's own crates are tested with their checks on.
mod checked;
/// Messages and exit codes for what users get wrong.
mod cli;
/// Output that nobody reads, and a full disk.
mod closed_output;
/// Datasets in published schemas, read and written.
mod datasets;
/// A whole small run: cached the second time, and the same weights after being killed.
mod end_to_end;
/// What reads foreign bytes, as functions of bytes.
#[path = "fuzz/entries.rs"]
mod entries;
/// The server of the client's own tests, and the Hub it can be.
#[path = "../teacher/src/hub/fake.rs"]
mod fake;
/// Mutated files and answers make nothing panic.
mod fuzzing;
/// Inputs and models on the Hugging Face Hub.
mod hub;
/// Answers judged by a model at an endpoint.
mod judge;
/// Nothing is linked whose licence would bind who uses the program.
mod licences;
/// Mistakes in recipes and in what is named beside them are told before anything is spent.
mod mistakes;
/// The modes of all that is written.
mod modes;
/// The model is that of transformers.
mod parity;
/// What is there and cannot be read is named.
mod reading;
/// Every recipe in the tree parses, and `init` writes one that does.
mod recipes;
/// Replies that were paid for serve every recipe that wants them.
mod replies;
/// What is printed is true, and the same wherever it is printed.
mod said;
/// Tables of several seeds, and what report and card make of them.
mod seeds;
/// Ctrl-C, SIGTERM and SIGHUP, in every command.
mod signals;
/// What users read, as a whole.
mod snapshots;
/// Running the program in a folder of its own.
mod support;
/// The architecture invariants of README.md that a test can check.
mod tidy;
/// Tokens as the trainer sees them, and what is refused.
mod tokens;
