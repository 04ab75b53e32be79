//! What a written folder is compared on: the logits of one conversation.

use std::path::Path;

use model::Result;
use records::record::Message;
use tokens::chat::ChatFormat;

/// Token ids of a conversation to compare logits on.
pub(crate) fn check_conversation(dir: &Path) -> Result<Vec<u32>> {
    let format = ChatFormat::from_dir(dir)?;
    let text = "<think>\nLet me check: 12 + 30 = 42, so 42 it is.\n</think>\n\nThe answer is \\boxed{42}.";
    Ok(format.conversation(&[Message::user("What is 12 + 30?"), Message::assistant(text)])?.ids)
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    let differences = a.iter().zip(b).map(|(x, y)| f64::from((x - y).abs()));
    differences.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most })
}
