//! Requests to the Hub: which commit a revision is, which files it has, and the bytes of a file.
//!
//! Redirects are followed here, since the token must not go along to another host: large files are at a content delivery
//! network's, behind signed addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use hub::{Address, Kind, Listed, Listing, is_commit};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LINK, LOCATION, RANGE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::{Hub, unavailable};
use crate::client::{client_builder, retry_after, root_cause};
use crate::retry::{Cause, Failure, Gate, with_retries};
use crate::{Error, Result};

/// How often a question is asked.
const ATTEMPTS: u32 = 4;
/// A connection that brings nothing for so long is given up.
const SILENCE: Duration = Duration::from_mins(1);
const MOST_REDIRECTS: usize = 10;
/// No answer but a file's content takes longer.
const ANSWER_TIME: Duration = Duration::from_mins(5);
/// No answer but a file's content is larger.
const MOST_BYTES: usize = 64 << 20;
/// Nor are all pages of a list of files together: some 300 bytes a file.
const MOST_LISTED: usize = 512 << 20;
/// Bytes that are read of a refusal.
const REFUSAL_BYTES: usize = 64 << 10;
/// Of up to 1,000 files and folders each.
const MOST_PAGES: usize = 2_000;

/// A client of the Hub.
pub(super) struct Api<'a> {
    hub: &'a Hub,
    http: reqwest::Client,
    bearer: Option<HeaderValue>,
    /// The most that an answer may take, that of a file's content aside.
    answer_time: Duration,
}

/// An entry of the answer to `/tree/`.
#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
    #[serde(rename = "xetHash")]
    xet_hash: Option<String>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// Checks `HF_ENDPOINT`.
pub(super) fn endpoint(text: &str) -> Result<Url> {
    let refuse = |what: &str, problem: &str| {
        let remedy = "set HF_ENDPOINT to an address such as https://huggingface.co".to_owned();
        Error::HubRefused { what: what.to_owned(), problem: problem.to_owned(), remedy }
    };
    let url = Url::parse(text).map_err(|_| refuse(&format!("HF_ENDPOINT={text}"), "not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("HF_ENDPOINT", "it holds credentials, which are given as HF_TOKEN"));
    }
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(&format!("HF_ENDPOINT={text}"), "not a plain http or https URL"));
    }
    Ok(url)
}

impl<'a> Api<'a> {
    pub(super) fn new(hub: &'a Hub) -> Result<Self> {
        let refuse = |problem: String, remedy: &str| Error::HubRefused {
            what: hub.endpoint.to_string(),
            problem,
            remedy: remedy.to_owned(),
        };
        let bearer = hub.token.as_ref().map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                let problem = "the token holds a character that no HTTP header can carry";
                refuse(problem.to_owned(), "check how HF_TOKEN was copied")
            })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        let http = client_builder(&hub.endpoint).connect_timeout(Duration::from_secs(10)).read_timeout(SILENCE);
        let http = http.build().map_err(|e| {
            let remedy = "https needs the system's CA certificates to be installed";
            refuse(format!("cannot set up the HTTP client: {}", root_cause(&e)), remedy)
        })?;
        Ok(Self { hub, http, bearer: bearer.transpose()?, answer_time: ANSWER_TIME })
    }

    /// The commit that a revision is now.
    pub(super) async fn commit(&self, address: &Address) -> std::result::Result<String, Failure> {
        #[derive(Deserialize)]
        struct Revision {
            sha: String,
        }
        let url = self.url(&["api", address.kind.plural()], address, &["revision", address.revision()]);
        let (body, ..) = self.json::<Revision>(address, url).await?;
        if is_commit(&body.sha) { Ok(body.sha) } else { Err(self.odd(&format!("it names the commit {:?}", body.sha))) }
    }

    /// All files of an address's commit.
    pub(super) async fn listing(&self, address: &Address) -> std::result::Result<Listing, Failure> {
        let first = self.url(&["api", address.kind.plural()], address, &["tree", address.revision()]);
        let (mut files, mut query) = (BTreeMap::new(), "recursive=true".to_owned());
        let mut bytes = 0;
        for _ in 0..MOST_PAGES {
            let mut url = first.clone();
            url.set_query(Some(&query));
            let (entries, headers, length) = self.json::<Vec<TreeEntry>>(address, url).await?;
            bytes += length;
            if bytes > MOST_LISTED {
                break;
            }
            files.extend(entries.into_iter().filter(|entry| entry.kind == "file").map(listed));
            match next_query(&headers).map_err(|problem| self.odd(problem))? {
                Some(next) => query = next,
                None => return Listing::new(files).map_err(|problem| self.odd(&problem)),
            }
        }
        Err(self.odd("its list of files does not end"))
    }

    /// Begins to read a file of an address's commit, from an offset on. The status is 200 (from the start all the same), 206
    /// or 416 (there is nothing from there on).
    pub(super) async fn file(
        &self,
        address: &Address,
        name: &str,
        from: u64,
    ) -> std::result::Result<Response, Failure> {
        let prefix: &[&str] = if address.kind == Kind::Dataset { &["datasets"] } else { &[] };
        let path: Vec<&str> = ["resolve", address.revision()].into_iter().chain(name.split('/')).collect();
        self.get(address, self.url(prefix, address, &path), from).await
    }

    fn url(&self, before: &[&str], address: &Address, after: &[&str]) -> Url {
        let mut url = self.hub.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(before).extend(address.id.split('/')).extend(after);
        }
        url
    }

    /// A JSON answer with its headers and its length, after retries.
    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        address: &Address,
        url: Url,
    ) -> std::result::Result<(T, HeaderMap, usize), Failure> {
        with_retries(self.hub.waits, ATTEMPTS, &open_gate(), || async {
            let answer = async {
                let mut response = self.get(address, url.clone(), 0).await?;
                let body = self.read(&mut response).await?;
                Ok((body, std::mem::take(response.headers_mut())))
            };
            let answer = tokio::time::timeout(self.answer_time, answer).await;
            let late = |_| Failure::moment(format!("no complete answer within {:?}", self.answer_time));
            let (body, headers) = answer.map_err(late)??;
            let value =
                serde_json::from_slice(&body).map_err(|e| self.odd(&format!("its answer is not read here: {e}")))?;
            Ok((value, headers, body.len()))
        })
        .await
    }

    async fn read(&self, response: &mut Response) -> std::result::Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.broken(&e))? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                return Err(self.odd("its answer is longer than any list of files"));
            }
        }
        Ok(body)
    }

    /// What has come of a refusal before it is long or slow.
    async fn read_refusal(&self, response: &mut Response) -> Vec<u8> {
        let mut body = Vec::new();
        let reading = async {
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES - body.len())]);
                if body.len() == REFUSAL_BYTES {
                    break;
                }
            }
        };
        // What has come by then will do.
        let _ = tokio::time::timeout(self.answer_time, reading).await;
        body
    }

    /// One attempt, along redirects.
    async fn get(&self, address: &Address, mut url: Url, from: u64) -> std::result::Result<Response, Failure> {
        for _ in 0..MOST_REDIRECTS {
            let at_home = url.origin() == self.hub.endpoint.origin();
            // Compressed, the bytes would not be those that are listed.
            let mut request = self.http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some(bearer) = self.bearer.as_ref().filter(|_| at_home) {
                request = request.header(AUTHORIZATION, bearer);
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = request.send().await.map_err(|e| self.broken(&e))?;
            let status = response.status();
            let location = response.headers().get(LOCATION).and_then(|to| url.join(to.to_str().ok()?).ok());
            match location.filter(|_| status.is_redirection()) {
                Some(next) if next.scheme() == url.scheme() => url = next,
                Some(next) => {
                    return Err(self.odd(&format!("it redirects from {} to {}", url.scheme(), next.scheme())));
                }
                None if status == StatusCode::OK || status == StatusCode::PARTIAL_CONTENT => return Ok(response),
                None if status == StatusCode::RANGE_NOT_SATISFIABLE && from > 0 => return Ok(response),
                None => return Err(self.refusal(address, response, at_home).await),
            }
        }
        Err(self.odd("it redirects without end"))
    }

    /// No response, or half of one.
    pub(super) fn broken(&self, error: &reqwest::Error) -> Failure {
        let cause = root_cause(error);
        Failure::moment(if error.is_connect() {
            format!("cannot connect to {}: {cause}", self.hub.endpoint)
        } else if error.is_timeout() {
            format!("nothing came for {SILENCE:?}")
        } else {
            format!("the connection broke: {cause}")
        })
    }

    /// A response that says no. What it means is said by a code of the Hub's own, or by the status.
    async fn refusal(&self, address: &Address, mut response: Response, at_home: bool) -> Failure {
        let status = response.status().as_u16();
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (code, said, wait) = (header("x-error-code"), header("x-error-message"), retry_after(response.headers()));
        let body = if said.is_some() { Vec::new() } else { self.read_refusal(&mut response).await };
        // Servers quote the token they refuse; what they say is cut, so that it must be gone before.
        let token = self.hub.token.as_deref().filter(|token| token.len() >= 8);
        let clean = |text: &str| token.map_or_else(|| text.to_owned(), |token| text.replace(token, "[redacted]"));
        let said = said.unwrap_or_else(|| crate::wire::error_message(&clean(&String::from_utf8_lossy(&body))));
        let page = format!("{}{}", if address.kind == Kind::Dataset { "datasets/" } else { "" }, address.id);
        let page = format!("{}/{page}", self.hub.endpoint.as_str().trim_end_matches('/'));
        let may_read = if self.bearer.is_some() {
            "check that the token may read it"
        } else {
            "set HF_TOKEN to a token that may read it"
        };
        let remedy = match (code.as_deref(), status) {
            (Some("GatedRepo"), _) => format!("access has to be asked for: accept the terms at {page}, and {may_read}"),
            (Some("RepoNotFound"), _) | (None, 404) => {
                format!("check the name {}; if the repository is private, {may_read}", address.id)
            }
            (Some("RevisionNotFound"), _) => format!("check the revision {}: {page} lists branches and tags", address.revision()),
            (Some("EntryNotFound"), _) => format!("check the path: {page} lists the files"),
            (_, 401) if self.bearer.is_some() => {
                "the token is not accepted: is it still valid? HF_TOKEN goes before the file that `hf auth login` writes".into()
            }
            (_, 401) => format!("check the name {}; if the repository is private or gated, {may_read}", address.id),
            (_, 403) => format!("{may_read}: a fine-grained one needs the permission to read gated repositories"),
            _ => format!("see {page}"),
        };
        let mut failure = Failure { retry_after: wait, ..Failure::status(status, said) };
        // A signed address that has run out; the next attempt gets another.
        if status == 403 && !at_home {
            failure.cause = Cause::Moment;
        }
        failure.remedy = Some(clean(&remedy));
        failure.message = clean(&failure.message);
        failure
    }

    /// An answer that the Hub would not give.
    fn odd(&self, what: &str) -> Failure {
        let remedy = Some(format!("is {} the Hub? HF_ENDPOINT says where it is", self.hub.endpoint));
        Failure { cause: Cause::Endpoint, remedy, ..Failure::moment(what) }
    }
}

/// What a request came to in the end.
pub(super) fn gave_up(address: &Address, failure: Failure) -> Error {
    let Failure { cause, message, remedy, .. } = failure;
    match cause {
        Cause::Moment => unavailable(
            address,
            message,
            "run again to go on; HF_ENDPOINT names a mirror, and with HF_HUB_OFFLINE=1 only the cache is read",
        ),
        Cause::Request | Cause::Endpoint | Cause::Closed => Error::HubRefused {
            what: address.to_string(),
            problem: message,
            remedy: remedy.unwrap_or_else(|| "check the address".to_owned()),
        },
    }
}

/// A gate that nobody closes: a download is stopped by letting go of it.
pub(super) fn open_gate() -> Gate {
    Gate::new(&tokio::sync::watch::channel(false).1)
}

fn listed(entry: TreeEntry) -> (String, Listed) {
    let (lfs_sha256, lfs_size) = entry.lfs.map(|lfs| (lfs.oid, lfs.size)).unzip();
    let TreeEntry { path, size, oid: blob_id, xet_hash, .. } = entry;
    (path, Listed { size, blob_id, lfs_sha256, lfs_size, xet_hash })
}

/// The query of the next page. Only that: where the list is, is known, and no header leads elsewhere.
/// A link that cannot be read is an error: without the pages after it a list would pass for the whole one.
pub(super) fn next_query(headers: &HeaderMap) -> std::result::Result<Option<String>, &'static str> {
    for links in headers.get_all(LINK) {
        let links = links.to_str().map_err(|_| "its Link header is no text")?;
        if let Some(next) = links.split(", <").find(|link| link.contains("rel=\"next\"")) {
            let target = next.trim_start_matches('<').split_once('>').and_then(|(target, _)| target.split_once('?'));
            let (_, query) = target.ok_or("its Link header names no next page")?;
            return Ok(Some(query.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::mock::Raw;
    use hub::Cache;

    fn address() -> Address {
        Address::of(std::path::Path::new("hf://datasets/open-r1/Mixture/all.parquet")).unwrap().unwrap()
    }

    /// What the Hub at an address makes of the server, and the requests; an answer may take `answer_time`.
    async fn commit_of(raw: &Raw, answer_time: Duration) -> (Failure, u32) {
        let waits =
            crate::Waits { first: Duration::from_millis(1), longest: Duration::from_millis(4), ..Default::default() };
        let endpoint = Url::parse(raw.url.trim_end_matches("/v1")).unwrap();
        let cache = Cache { root: "nowhere".into() };
        let hub = Hub { cache, offline: false, endpoint, token: Some("hf_secret_of_a_test".into()), waits };
        let api = Api { answer_time, ..Api::new(&hub).unwrap() };
        let address = address();
        (api.commit(&address).await.unwrap_err(), raw.requests())
    }

    #[tokio::test]
    async fn an_answer_that_trickles_is_given_up() {
        let raw = Raw::start("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"{", Duration::from_millis(10));
        let (failure, requests) = commit_of(&raw, Duration::from_millis(200)).await;
        assert!(failure.message.contains("no complete answer within 200ms"), "{failure:?}");
        assert_eq!(requests, ATTEMPTS);
    }

    #[tokio::test]
    async fn of_a_refusal_only_the_beginning_is_read_and_no_token_of_it_is_shown() {
        let text = format!("{}hf_secret_of_a_test ", "x".repeat(290)).into_bytes();
        let raw = Raw::start("HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n", &text, Duration::ZERO);
        let (failure, _) = commit_of(&raw, Duration::from_secs(2)).await;
        assert!(failure.message.len() < 1000 && !failure.message.contains("hf_s"), "{failure:?}");
        // And one that comes drop by drop.
        let raw = Raw::start("HTTP/1.1 401 No\r\nContent-Length: 1000000\r\n\r\n", b"drop ", Duration::from_millis(20));
        let (failure, _) = commit_of(&raw, Duration::from_secs(2)).await;
        assert!(failure.message.starts_with("HTTP 401: drop"), "{failure:?}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_no_list() {
        let raw =
            Raw::start("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &vec![b' '; 1 << 20], Duration::ZERO);
        let waits = crate::Waits::default();
        let endpoint = Url::parse(raw.url.trim_end_matches("/v1")).unwrap();
        let hub = Hub { cache: Cache { root: "nowhere".into() }, offline: false, endpoint, token: None, waits };
        let address = address();
        let failure = Api::new(&hub).unwrap().commit(&address).await.unwrap_err();
        assert!(failure.message.contains("longer than any list"), "{failure:?}");
        assert_eq!(raw.requests(), 1);
    }
}
