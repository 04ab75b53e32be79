//! Reaching the recipe's teacher and its judge. The embedded teacher is served by our own server on loopback, so that every
//! teacher is asked in the same way.

use std::sync::Arc;

use curate::JudgeConfig;
use generate::engine::Limits;
use generate::serve::{ChatModel, ServeOptions};
use tokio::sync::oneshot;

use crate::error::{Failure, Result};
use crate::recipe;
use crate::run::Run;
use crate::run::options::RunOptions;

/// Sequences the embedded teacher decodes together.
const BATCH: usize = 64;

/// A teacher that answers at its endpoint for as long as this lives.
pub(crate) struct Access {
    /// Where and how to ask.
    pub endpoint: teacher::Endpoint,
    _server: Option<oneshot::Sender<()>>,
}

/// The teacher's name in traces: the embedded one's says which weights it has.
pub(crate) fn name(teacher: &recipe::Teacher) -> String {
    if teacher.model == teacher::embedded::NAME { teacher::embedded::full_name() } else { teacher.model.clone() }
}

/// Finds the teacher's endpoint, or starts the embedded one, and checks that it answers.
pub(crate) fn reach(run: &Run, teacher: &recipe::Teacher) -> Result<Access> {
    let access = if teacher.model == teacher::embedded::NAME {
        let (base_url, server) = serve_embedded(run)?;
        let endpoint = endpoint(run, base_url, teacher::embedded::NAME, None);
        Access { endpoint, _server: Some(server) }
    } else {
        let base_url = run.options.endpoint.clone().ok_or_else(|| {
            Failure::usage(format!(
                "the teacher {:?} is reached over HTTP: give its base URL as --endpoint http://HOST:PORT/v1",
                teacher.model
            ))
        })?;
        let endpoint = endpoint(run, base_url, &teacher.model, run.options.api_key.clone());
        Access { endpoint, _server: None }
    };
    run.runtime.block_on(teacher::check(&access.endpoint))?;
    Ok(access)
}

/// Finds the judge's endpoint and checks that it answers.
pub(crate) fn reach_judge(run: &Run, judge: &JudgeConfig) -> Result<teacher::Endpoint> {
    let base_url = run.options.judge_endpoint.clone().ok_or_else(|| no_judge(judge))?;
    let endpoint = endpoint(run, base_url, &judge.model, run.options.judge_api_key.clone());
    run.runtime.block_on(teacher::check(&endpoint))?;
    Ok(endpoint)
}

/// The judge is needed, and the command line does not say where it is.
pub(crate) fn no_judge(judge: &JudgeConfig) -> Failure {
    Failure::usage(format!(
        "the judge {:?} is reached over HTTP: give its base URL as --judge-endpoint http://HOST:PORT/v1",
        judge.model
    ))
}

fn endpoint(run: &Run, base_url: String, model: &str, api_key: Option<String>) -> teacher::Endpoint {
    let RunOptions { concurrency, timeout, max_attempts, .. } = run.options;
    let (model, waits) = (model.to_owned(), teacher::Waits::default());
    teacher::Endpoint { base_url, model, api_key, concurrency, timeout, max_attempts, waits }
}

/// Starts the embedded teacher's server; it stops when the sender is dropped.
fn serve_embedded(run: &Run) -> Result<(String, oneshot::Sender<()>)> {
    let dir = run.options.runs.join(".embedded").join(teacher::embedded::fingerprint());
    teacher::embedded::write(&dir)?;
    let device = run.options.device.open()?;
    let name = Some(teacher::embedded::NAME.to_owned());
    let limits = Limits { context: usize::MAX, batch: BATCH, cache_bytes: run.options.cache_bytes };
    let model = ChatModel::load(&dir, name, &device, limits)?;
    // As many may wait as are asked at a time: none is turned away.
    let settings = ServeOptions { queue: run.options.concurrency, ..ServeOptions::default() };
    let failed =
        |e: std::io::Error| Failure::failed(format!("cannot listen on loopback for the embedded teacher: {e}"));
    let listener = run.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (sender, receiver) = oneshot::channel::<()>();
    run.runtime.spawn(async move {
        // Its failures reach the client as connection errors, which say where.
        let shutdown = async {
            let _ = receiver.await;
        };
        let _ = generate::serve::serve(listener, Arc::new(model), settings, shutdown, |_| ()).await;
    });
    Ok((format!("http://{address}/v1"), sender))
}
