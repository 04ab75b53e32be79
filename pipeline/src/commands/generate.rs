//! `r1-distill generate`, and the hidden `logits`.

use std::path::PathBuf;

use clap::Args;
use generate::engine::{Limits, Request};
use generate::serve::ChatModel;
use model::Model;
use model::device::DeviceName;
use records::record::{Message, Sampling};
use serde_json::json;
use tokens::chat::ChatFormat;

use crate::args::{CACHE_MIB, cache_bytes};
use crate::commands::print;
use crate::error::{Failure, Result};
use crate::run::inputs;

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Hugging Face model folder, or hf://OWNER/NAME on the Hub
    model: PathBuf,
    /// The question; rendered by the model's chat template
    #[arg(required_unless_present = "ids")]
    prompt: Option<String>,
    /// Token ids instead of a question, comma-separated
    #[arg(long, value_delimiter = ',', conflicts_with = "prompt")]
    ids: Option<Vec<u32>>,
    /// Most new tokens
    #[arg(long, default_value_t = 512, value_name = "N")]
    max_tokens: u32,
    /// 0 takes the most likely token every time
    #[arg(long, default_value_t = 0.6)]
    temperature: f64,
    /// Nucleus mass
    #[arg(long, default_value_t = 0.95)]
    top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// cpu, cuda:N, vulkan:N or metal:N
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: DeviceName,
    /// Most memory of the key-value cache, in MiB (2^20 bytes)
    #[arg(long, default_value_t = CACHE_MIB, value_name = "MIB")]
    cache_mib: u64,
    /// Print one JSON object with the token ids
    #[arg(long)]
    json: bool,
}

pub(crate) fn generate(args: &GenerateArgs) -> Result<()> {
    let folder = inputs::model_path(&args.model)?;
    let prompt = match (&args.ids, &args.prompt) {
        (Some(ids), _) => ids.clone(),
        (None, Some(text)) => ChatFormat::from_dir(&folder)?.prompt_ids(&[Message::user(text.as_str())])?,
        (None, None) => return Err(Failure::usage("give a question, or --ids")),
    };
    let context = prompt.len() + args.max_tokens as usize;
    let limits = Limits { context, batch: 1, cache_bytes: cache_bytes(args.cache_mib) };
    let model = ChatModel::load(&folder, None, &args.device.open()?, limits)?;
    let sampling = Sampling { temperature: args.temperature, top_p: args.top_p, max_tokens: args.max_tokens };
    let request = Request { prompt, sampling, seed: args.seed };
    let mut completions = model.engine.complete(vec![request], &|_| true)?;
    let Some(completion) = completions.pop() else { return Err(Failure::failed("the engine gave no completion")) };
    let text = model.format.tokenizer.decode(&completion.token_ids, true)?;
    if args.json {
        let finish_reason = completion.finish_reason;
        return print(
            &json!({"token_ids": completion.token_ids, "text": text, "finish_reason": finish_reason}).to_string(),
        );
    }
    print(&text)
}

#[derive(Debug, Args)]
pub(crate) struct LogitsArgs {
    /// Hugging Face model folder, or hf://OWNER/NAME on the Hub
    model: PathBuf,
    /// Token ids, comma-separated
    #[arg(long, value_delimiter = ',', required = true)]
    ids: Vec<u32>,
    /// File to write, with one f32 tensor `logits` [ids, vocabulary]
    #[arg(long)]
    out: PathBuf,
}

pub(crate) fn logits(args: &LogitsArgs) -> Result<()> {
    let model = Model::load(&inputs::model_path(&args.model)?, &DeviceName::Cpu.open()?)?;
    Ok(folder::export::write_logits(&model, &args.ids, &args.out)?)
}
