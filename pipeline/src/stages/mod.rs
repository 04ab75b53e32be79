//! The stages, one file each. A stage takes the artifacts of those before it, so that leaving one out or swapping two
//! does not compile; its work is done by the crates below.

pub(crate) mod collect;
pub(crate) mod curate;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod pack;
pub(crate) mod prompts;
pub(crate) mod replies;
pub(crate) mod report;
pub(crate) mod train;

mod card;
mod judge;
pub(crate) mod preflight;
