//! `r1-distill serve`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use generate::engine::Limits;
use generate::serve::{ChatModel, ServeOptions};
use model::device::DeviceName;

use crate::args::{CACHE_MIB, cache_bytes};
use crate::console::say;
use crate::error::{Failure, Result};
use crate::run::inputs;
use crate::run::runtime;
use crate::signals;
use crate::signals::Stop;

#[derive(Debug, Args)]
#[expect(rustdoc::broken_intra_doc_links, reason = "what is documented here is the text of the help")]
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
    #[arg(long, default_value_t = 4096, value_name = "TOKENS", value_parser = at_least_one)]
    context: usize,
    /// Most sequences decoded together; fewer where the cache holds fewer
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = at_least_one)]
    batch: usize,
    /// Most memory of the key-value cache, in MiB (2^20 bytes)
    #[arg(long, default_value_t = CACHE_MIB, value_name = "MIB")]
    cache_mib: u64,
    /// Completions that may wait for a place in the batch; a request for more gets the status 429
    #[arg(long, default_value_t = 256, value_name = "N")]
    queue: usize,
    /// Host that requests may name in Host and Origin, once for each. Always allowed are localhost, 127.0.0.1 and [::1], the name
    /// given to --listen, and, unless that is loopback, any address as Host; all others are refused with 403, so that no web page
    /// can use the server
    #[arg(long = "allow-host", value_name = "HOST")]
    allow_hosts: Vec<String>,
    /// How long requests in progress may go on after Ctrl-C, SIGTERM or SIGHUP. If all are answered by then, the exit code is 0
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    drain: u64,
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "give a number from 1 on".to_owned())
}

impl ServeArgs {
    fn options(&self) -> ServeOptions {
        let listens_as = self.listen.rsplit_once(':').map(|(host, _)| host.to_owned());
        // `:8000` has none.
        let listens_as = listens_as.filter(|host| !host.is_empty());
        ServeOptions {
            queue: self.queue,
            allow_hosts: self.allow_hosts.iter().cloned().chain(listens_as).collect(),
            drain: Duration::from_secs(self.drain),
            ..ServeOptions::default()
        }
    }
}

pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let folder = inputs::model_path(&args.model)?;
    let name = args.name.clone().or_else(|| Some(inputs::origin(&args.model)?.0));
    let limits = Limits { context: args.context, batch: args.batch, cache_bytes: cache_bytes(args.cache_mib) };
    let model = ChatModel::load(&folder, name, &args.device.open()?, limits)?;
    let (runtime, stop) = (runtime()?, Stop::new());
    let cut = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(&args.listen).await.map_err(|e| {
            Failure::usage(format!("cannot listen on {}: {e}; choose another address with --listen", args.listen))
        })?;
        let address = listener.local_addr().map_err(|e| Failure::failed(format!("cannot listen: {e}")))?;
        // Told when it is known how much there is to finish.
        signals::stop_gracefully(&stop, |_| None, "stopped: at once");
        let (slots, context) = (model.engine.slots(), model.engine.context());
        say(&format!(
            "serving {} on http://{address}/v1: {slots} at a time with {context} tokens each, {} may wait (Ctrl-C stops)",
            model.name, args.queue
        ));
        let mut requested = stop.watch();
        let shutdown = async move {
            let _ = requested.wait_for(|stop| *stop).await;
        };
        let draining = |count: usize| {
            say(&match count {
                0 => "stopping: nothing is in progress".to_owned(),
                count => format!(
                    "stopping: no new requests; finishing {count} completion{}, at most {} s (again stops at once)",
                    if count == 1 { "" } else { "s" },
                    args.drain
                ),
            });
        };
        Ok::<_, Failure>(generate::serve::serve(listener, Arc::new(model), args.options(), shutdown, draining).await?)
    })?;
    // What is cut off may be in the middle of a step; nobody waits for it.
    runtime.shutdown_background();
    match cut {
        0 => Ok(()),
        cut => Err(Failure::interrupted(format!("after {} s, with {cut} completions cut off", args.drain))),
    }
}
