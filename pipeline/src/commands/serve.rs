//! `r1-distill serve`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use student::device::DeviceName;
use student::serve::ChatModel;

use crate::commands::{runtime, stop_on_ctrl_c};
use crate::console::say;
use crate::error::{Failure, Result};
use crate::fetch;
use crate::run::Stop;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Hugging Face model folder, or hf://OWNER/NAME on the Hub
    model: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "HOST:PORT")]
    listen: String,
    /// Name of the model in the API; default: the folder's name, or OWNER/NAME
    #[arg(long)]
    name: Option<String>,
    /// cpu, cuda:N, vulkan:N or metal:N
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: DeviceName,
    /// Most tokens of prompt and completion together
    #[arg(long, default_value_t = 4096, value_name = "TOKENS")]
    context: usize,
    /// Most sequences decoded together
    #[arg(long, default_value_t = 16, value_name = "N")]
    batch: usize,
}

pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let folder = fetch::place(&args.model)?;
    let name = args.name.clone().or_else(|| Some(fetch::origin(&args.model)?.0));
    let model = ChatModel::load(&folder, name, &args.device.open()?, args.context, args.batch)?;
    let (runtime, stop) = (runtime()?, Stop::new());
    stop_on_ctrl_c(&runtime, &stop);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(&args.listen).await.map_err(|e| {
            Failure::usage(format!("cannot listen on {}: {e}; choose another address with --listen", args.listen))
        })?;
        let address = listener.local_addr().map_err(|e| Failure::failed(format!("cannot listen: {e}")))?;
        say(&format!("serving {} on http://{address}/v1 (Ctrl-C stops)", model.name));
        let mut asked = stop.watch();
        let shutdown = async move {
            let _ = asked.wait_for(|asked| *asked).await;
        };
        Ok(student::serve::serve(listener, Arc::new(model), shutdown).await?)
    })
}
