//! A Hub for the tests: one repository in memory, answered as the Hub does. Large files are kept as LFS keeps them.

use std::collections::BTreeMap;

use fixtures::mock::{Answer, Received};
use ring::digest;
use serde_json::{Value, json};

/// The commit that `main` is.
pub(crate) const COMMIT: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
/// Files of so many bytes are large.
const LARGE: usize = 1000;

/// A repository.
#[derive(Clone, Default)]
pub(crate) struct FakeHub {
    /// `datasets/OWNER/NAME` or `models/OWNER/NAME`.
    pub(crate) repository: String,
    /// Content by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Files and folders on a page of the list; 0: all.
    pub(crate) page: usize,
    /// Where large files are redirected to, if they are.
    pub(crate) elsewhere: Option<String>,
    /// Parts of files are not given.
    pub(crate) ignores_range: bool,
}

fn hex(bytes: &digest::Digest) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// The name of a file's blob.
pub(crate) fn blob(content: &[u8]) -> String {
    if content.len() >= LARGE { hex(&digest::digest(&digest::SHA256, content)) } else { git_hash(content) }
}

fn git_hash(content: &[u8]) -> String {
    let all = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
    hex(&digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &all))
}

fn refused(status: u16, code: &str) -> Answer {
    let answer = Answer::bytes(status, Vec::new());
    if code.is_empty() { answer } else { answer.header("X-Error-Code", code).header("X-Error-Message", code) }
}

impl FakeHub {
    pub(crate) fn new(repository: &str, files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect();
        Self { repository: repository.to_owned(), files, ..Self::default() }
    }

    /// The answer to a request.
    pub(crate) fn answer(&self, request: &Received) -> Answer {
        let target = request.line.trim_start_matches("GET ");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.replace("%20", " ").replace("%2F", "/");
        let api = format!("/api/{}/", self.repository);
        let files = format!("/{}/resolve/{COMMIT}/", self.repository.trim_start_matches("models/"));
        if let Some(rest) = path.strip_prefix(&api) {
            match rest.split_once('/') {
                Some(("revision", "main")) => Answer::json(200, &json!({"sha": COMMIT, "gated": false})),
                Some(("tree", COMMIT)) => self.tree(query, target),
                _ => refused(404, "RevisionNotFound"),
            }
        } else if let Some(content) = path.strip_prefix(&files).and_then(|name| self.files.get(name)) {
            match &self.elsewhere {
                Some(url) if content.len() >= LARGE => {
                    Answer::bytes(302, Vec::new()).header("Location", &format!("{url}/{}", blob(content)))
                }
                _ => self.content(content, request),
            }
        } else if let Some(content) = self.files.values().find(|content| path.ends_with(&blob(content))) {
            self.content(content, request)
        } else if path.starts_with(&files) {
            refused(404, "EntryNotFound")
        } else {
            refused(404, "RepoNotFound")
        }
    }

    fn content(&self, content: &[u8], request: &Received) -> Answer {
        let from = request.range.as_ref().filter(|_| !self.ignores_range);
        let from = from.map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
        match from {
            Some(from) if from >= content.len() => Answer::bytes(416, Vec::new()),
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
                Answer::bytes(206, content[from..].to_vec()).header("Content-Range", &range)
            }
            None => Answer::bytes(200, content.to_vec()).header("ETag", &format!("\"{}\"", blob(content))),
        }
    }

    fn tree(&self, query: &str, target: &str) -> Answer {
        let entry = |(name, content): (&String, &Vec<u8>)| {
            let mut entry = json!({"type": "file", "oid": git_hash(content), "size": content.len(), "path": name});
            if content.len() >= LARGE {
                entry["oid"] = json!("0".repeat(40));
                entry["lfs"] = json!({"oid": blob(content), "size": content.len(), "pointerSize": 133});
            }
            entry
        };
        let folders = json!({"type": "directory", "oid": "1".repeat(40), "size": 0, "path": "folder"});
        let entries: Vec<Value> = std::iter::once(folders).chain(self.files.iter().map(entry)).collect();
        let from = query.split_once("cursor=").map_or(0, |(_, from)| from.parse::<usize>().unwrap());
        let size = if self.page == 0 { entries.len() } else { self.page };
        let to = entries.len().min(from + size);
        let answer = Answer::json(200, &json!(entries[from..to]));
        if to == entries.len() {
            return answer;
        }
        let path = target.split('?').next().unwrap_or_default();
        // As behind a mirror that passes the Hub's own headers on.
        answer.header("Link", &format!("<https://huggingface.co{path}?recursive=true&cursor={to}>; rel=\"next\""))
    }
}
