//! The integration tests, one binary: they run `r1-distill` as a user does.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

/// Questions in SQL, in a shell and about one trace.
mod asking;
/// Prompts are those of transformers' apply_chat_template.
mod chat;
/// Messages and exit codes for what users get wrong.
mod cli;
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
#[path = "../teacher/src/mock.rs"]
#[expect(dead_code, reason = "the client's tests use more of it")]
mod mock;
/// The model is that of transformers.
mod parity;
/// Every recipe in the tree parses, and `init` writes one that does.
mod recipes;
/// Tables of several seeds, and what report and card make of them.
mod seeds;
/// Running the program in a folder of its own.
mod support;
/// The architecture invariants of README.md that a test can check.
mod tidy;
/// Tokens as the trainer sees them, and what is refused.
mod tokens;
