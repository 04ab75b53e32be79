/// Entries of the cache that cannot be read.
mod reading;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use fixtures::mock::{Answer, Mock, Received};
use serde_json::json;

use super::fake::{COMMIT, FakeHub, blob};
use super::*;

const REPOSITORY: &str = "datasets/open-r1/Mixture";
const TOKEN: &str = "hf_secret_of_a_test";

/// A cache in a folder of its own, and the Hub at a mock's address.
struct Setting {
    dir: tempfile::TempDir,
    hub: Hub,
}

impl Setting {
    fn new(mock: &Mock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let waits = Waits {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(4),
            total: Duration::from_secs(5),
            grace: Duration::ZERO,
        };
        let endpoint = Url::parse(mock.url.trim_end_matches("/v1")).unwrap();
        let cache = Cache { root: dir.path().to_owned() };
        Self { dir, hub: Hub { cache, offline: false, endpoint, token: Some(TOKEN.to_owned()), waits } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("datasets--open-r1--Mixture").join(name)
    }

    /// Finds and downloads; the paths of the files.
    async fn get(&self, path: &str) -> Result<Vec<PathBuf>> {
        let address = address(path);
        let wanted = self.hub.find(&address).await?;
        let last = std::sync::Mutex::new(None);
        self.hub.download(&wanted, &|progress| *last.lock().unwrap() = Some((progress.done, progress.total))).await?;
        if wanted.missing() > 0 {
            assert_eq!(*last.lock().unwrap(), Some((wanted.bytes, wanted.bytes)));
        }
        Ok(self.hub.cache.paths(&wanted.address)?)
    }

    async fn fails(&self, path: &str) -> (String, bool) {
        match self.get(path).await.unwrap_err() {
            error @ (Error::HubRefused { .. } | Error::HubUnavailable { .. }) => {
                let message = error.to_string();
                assert!(self.hub.token.is_none() || !message.contains(TOKEN), "{message}");
                (message, matches!(error, Error::HubUnavailable { .. }))
            }
            other => panic!("{other}"),
        }
    }
}

fn address(path: &str) -> Address {
    Address::of(Path::new(&format!("hf://{REPOSITORY}/{path}"))).unwrap().unwrap()
}

fn large(seed: u8) -> Vec<u8> {
    (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

fn repository() -> FakeHub {
    FakeHub::new(
        REPOSITORY,
        &[
            ("README.md", b"# Mixture"),
            ("all/a.parquet", &large(1)),
            ("all/b.parquet", &large(2)),
            ("all/c 1.jsonl", b"{}"),
        ],
    )
}

fn start(hub: FakeHub) -> Mock {
    Mock::start(move |asked| hub.answer(asked))
}

fn lines(mock: &Mock) -> Vec<String> {
    mock.received().into_iter().map(|asked| asked.line).collect()
}

fn is_file(asked: &Received) -> bool {
    asked.line.contains("/resolve/")
}

#[tokio::test]
async fn what_is_missing_is_downloaded_once_into_the_standard_layout() {
    let mock = start(FakeHub { page: 2, ..repository() });
    let setting = Setting::new(&mock);
    let found = setting.get("all/*.parquet").await.unwrap();
    assert_eq!(found[0], setting.path(&format!("snapshots/{COMMIT}/all/a.parquet")));
    assert_eq!(fs::read(&found[1]).unwrap(), large(2));
    let target = fs::read_link(&found[0]).unwrap();
    assert_eq!(target, PathBuf::from(format!("../../../blobs/{}", blob(&large(1)))));
    assert_eq!(fs::read_to_string(setting.path("refs/main")).unwrap(), COMMIT);
    let asked = mock.received();
    assert_eq!(asked.len(), 6, "a revision, three pages and two files: {:?}", lines(&mock));
    assert_eq!(asked[0].line, "GET /api/datasets/open-r1/Mixture/revision/main");
    assert_eq!(asked[1].line, format!("GET /api/datasets/open-r1/Mixture/tree/{COMMIT}?recursive=true"));
    assert!(asked.iter().all(|asked| asked.authorization == Some(format!("Bearer {TOKEN}"))));

    // The same again asks nobody; another file of the commit is all that is asked for, by its escaped name.
    setting.get("all/*.parquet").await.unwrap();
    setting.get("all/a.parquet").await.unwrap();
    assert_eq!(mock.received().len(), 6);
    let found = setting.get("all/*.jsonl").await.unwrap();
    assert_eq!(fs::read(&found[0]).unwrap(), b"{}");
    let last = format!("GET /datasets/open-r1/Mixture/resolve/{COMMIT}/all/c%201.jsonl");
    assert_eq!(lines(&mock)[6..], [last]);
    let leftovers = fs::read_dir(setting.path("blobs")).unwrap().count();
    assert_eq!(leftovers, 3, "blobs and nothing else");
}

#[tokio::test]
async fn a_file_that_another_commit_has_too_is_only_linked() {
    let mock = start(repository());
    let setting = Setting::new(&mock);
    setting.get("all/a.parquet").await.unwrap();
    fs::remove_dir_all(setting.path("snapshots")).unwrap();
    let wanted = setting.hub.find(&address("all/*.parquet")).await.unwrap();
    assert_eq!((wanted.missing(), wanted.bytes), (2, 200_000));
    setting.get("all/*.parquet").await.unwrap();
    assert_eq!(mock.received().iter().filter(|asked| is_file(asked)).count(), 2);
}

#[tokio::test]
async fn looking_downloads_and_writes_nothing() {
    let mock = start(repository());
    let setting = Setting::new(&mock);
    let wanted = setting.hub.find(&address("all/*.parquet")).await.unwrap();
    assert_eq!((wanted.files, wanted.missing(), wanted.bytes), (2, 2, 400_000));
    assert_eq!(wanted.address.to_string(), format!("hf://{REPOSITORY}@{COMMIT}/all/*.parquet"));
    assert!(!mock.received().iter().any(is_file));
    assert_eq!(fs::read_dir(setting.dir.path()).unwrap().count(), 0);
    // A folder of two kinds and a pattern for nothing are told before anything is downloaded.
    for (path, word) in [("all", "several kinds"), ("all/*.csv", COMMIT), ("none", "no file or folder")] {
        let message = setting.get(path).await.unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    assert!(!mock.received().iter().any(is_file));
}

#[tokio::test]
async fn a_stopped_download_goes_on_where_it_was() {
    for ignores_range in [false, true] {
        let mock = start(FakeHub { ignores_range, ..repository() });
        let setting = Setting::new(&mock);
        fs::create_dir_all(setting.path("blobs")).unwrap();
        let partial = setting.path(&format!("blobs/{}.incomplete", blob(&large(1))));
        fs::write(&partial, &large(1)[..70_000]).unwrap();
        let found = setting.get("all/a.parquet").await.unwrap();
        assert_eq!(fs::read(&found[0]).unwrap(), large(1));
        assert!(!partial.exists());
        let ranges: Vec<_> = mock.received().into_iter().filter(is_file).map(|asked| asked.range).collect();
        assert_eq!(ranges, [Some("bytes=70000-".to_owned())]);
    }
}

#[tokio::test]
async fn what_an_earlier_download_left_is_not_trusted() {
    // Broken, too long, or whole already.
    let broken = vec![7; 70_000];
    let long = vec![7; 300_000];
    for (left, requests) in [(broken, 2), (long, 1), (large(1), 0)] {
        let mock = start(repository());
        let setting = Setting::new(&mock);
        fs::create_dir_all(setting.path("blobs")).unwrap();
        fs::write(setting.path(&format!("blobs/{}.incomplete", blob(&large(1)))), left).unwrap();
        let found = setting.get("all/a.parquet").await.unwrap();
        assert_eq!(fs::read(&found[0]).unwrap(), large(1));
        assert_eq!(mock.received().iter().filter(|asked| is_file(asked)).count(), requests);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_gone_on_with_as_long_as_it_gets_further() {
    let hub = repository();
    let mock = Mock::start(move |asked| {
        let answer = hub.answer(asked);
        // Half of what is left each time: 17 connections for 200,000 bytes.
        if is_file(asked) && !asked.range.as_ref().is_some_and(|range| range.len() > 13 || range == "bytes=199999-") {
            answer.cut()
        } else {
            answer
        }
    });
    let setting = Setting::new(&mock);
    let found = setting.get("all/a.parquet").await.unwrap();
    assert_eq!(fs::read(&found[0]).unwrap(), large(1));
    assert!(mock.received().len() > 10, "{}", mock.received().len());

    let hub = FakeHub { ignores_range: true, ..repository() };
    let mock = Mock::start(move |asked| if is_file(asked) { hub.answer(asked).cut() } else { hub.answer(asked) });
    let setting = Setting::new(&mock);
    let (message, passing) = setting.fails("all/a.parquet").await;
    assert!(passing && message.contains("the connection broke") && message.contains("run again to go on"), "{message}");
}

#[tokio::test]
async fn what_is_not_as_listed_is_never_put_in_place() {
    let other = |content: Vec<u8>| {
        let hub = repository();
        Mock::start(move |asked| if is_file(asked) { Answer::bytes(200, content.clone()) } else { hub.answer(asked) })
    };
    for (content, word) in [
        (large(3), "arrives with the hash"),
        (large(1)[1..].to_vec(), "199999 of 200000 bytes"),
        ([large(1), vec![0]].concat(), "more of all/a.parquet comes than the 200000 bytes listed"),
    ] {
        let mock = other(content);
        let setting = Setting::new(&mock);
        let (message, passing) = setting.fails("all/a.parquet").await;
        assert!(passing && message.contains(word), "{message}");
        assert!(!setting.path(&format!("blobs/{}", blob(&large(1)))).exists());
        assert!(setting.hub.cache.paths(&address("all/a.parquet")).is_err());
    }
    let mock = other(b"[]".to_vec());
    let (message, _) = Setting::new(&mock).fails("all/c 1.jsonl").await;
    assert!(message.contains("arrives with the hash"), "git's hash is compared too: {message}");
}

#[tokio::test]
async fn the_token_does_not_go_to_another_host() {
    let store = start(repository());
    let elsewhere = Some(store.url.trim_end_matches("/v1").to_owned());
    let mock = start(FakeHub { elsewhere, ..repository() });
    let setting = Setting::new(&mock);
    fs::create_dir_all(setting.path("blobs")).unwrap();
    fs::write(setting.path(&format!("blobs/{}.incomplete", blob(&large(1)))), &large(1)[..5]).unwrap();
    setting.get("all/*.parquet").await.unwrap();
    let asked = store.received();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.authorization.is_none()));
    assert!(asked.iter().any(|asked| asked.range.as_deref() == Some("bytes=5-")), "the range goes along");

    // A renamed repository redirects within the Hub, where the token is needed.
    let hub = FakeHub { repository: "datasets/open-r1/New".into(), ..repository() };
    let mock = Mock::start(move |asked| match asked.line.split_once("/Mixture/") {
        Some((before, after)) => Answer::bytes(307, Vec::new())
            .header("Location", &format!("{}/New/{after}", before.trim_start_matches("GET "))),
        None => hub.answer(asked),
    });
    Setting::new(&mock).get("all/*.parquet").await.unwrap();
    assert!(mock.received().iter().all(|asked| asked.authorization.is_some()));

    assert!(!format!("{:?}", setting.hub).contains(TOKEN));

    for (location, word) in [("https://127.0.0.1:1/x", "from http to https"), ("/datasets/again", "without end")] {
        let mock = Mock::start(move |_| Answer::bytes(302, Vec::new()).header("Location", location));
        let (message, passing) = Setting::new(&mock).fails("all/a.parquet").await;
        assert!(!passing && message.contains(word), "{message}");
    }
}

#[tokio::test]
async fn a_refusal_says_whose_it_is_and_what_to_do() {
    for (status, code, token, words) in [
        (401, "GatedRepo", false, ["accept the terms at http://127.0.0.1", "set HF_TOKEN"]),
        (403, "GatedRepo", true, ["/datasets/open-r1/Mixture", "check that the token may read it"]),
        (401, "", true, ["the token is not accepted", "hf auth login"]),
        (401, "RepoNotFound", false, ["check the name open-r1/Mixture", "set HF_TOKEN"]),
        (401, "", false, ["check the name open-r1/Mixture", "private or gated"]),
        (403, "", true, ["fine-grained", "check that the token"]),
        (404, "RepoNotFound", true, ["check the name open-r1/Mixture", "HTTP 404"]),
        (404, "RevisionNotFound", true, ["check the revision main", "branches and tags"]),
        (404, "EntryNotFound", true, ["check the path", "lists the files"]),
        (404, "", true, ["check the name", "HTTP 404"]),
        (400, "", true, ["HTTP 400", "see http://127.0.0.1"]),
    ] {
        let mock = Mock::start(move |_| {
            let answer = Answer::json(status, &json!({"error": format!("no {TOKEN} here")}));
            if code.is_empty() { answer } else { answer.header("X-Error-Code", code) }
        });
        let mut setting = Setting::new(&mock);
        setting.hub.token = setting.hub.token.filter(|_| token);
        let (message, passing) = setting.fails("all/a.parquet").await;
        assert!(!passing && words.iter().all(|word| message.contains(word)), "{status} {code}: {message}");
        assert!(message.contains("[redacted]") == token, "{message}");
        assert_eq!(mock.received().len(), 1, "not asked again");
    }
    // A file may be refused where the list is not.
    let hub = repository();
    let gated =
        |asked: &Received| is_file(asked).then(|| Answer::bytes(403, vec![]).header("X-Error-Code", "GatedRepo"));
    let mock = Mock::start(move |asked| gated(asked).unwrap_or_else(|| hub.answer(asked)));
    assert!(Setting::new(&mock).fails("all/a.parquet").await.0.contains("accept the terms"));
}

#[tokio::test]
async fn what_time_may_mend_is_asked_again() {
    let hub = repository();
    let count = AtomicUsize::new(0);
    let mock = Mock::start(move |asked| match count.fetch_add(1, SeqCst) {
        0 => Answer::json(429, &json!({})).header("Retry-After", "0.01"),
        1 | 4 => Answer::json(503, &json!({})),
        5 | 6 => hub.answer(asked).cut(),
        _ => hub.answer(asked),
    });
    Setting::new(&mock).get("all/a.parquet").await.unwrap();
    let mock = Mock::start(|_| Answer::json(503, &json!({"error": "busy"})));
    let (message, passing) = Setting::new(&mock).fails("all/a.parquet").await;
    assert!(passing && message.contains("HTTP 503: busy (tried 4 times); run again to go on"), "{message}");
    // A signed address that has run out elsewhere is not the Hub's refusal.
    let store = Mock::start(|asked| match asked.earlier {
        0 => Answer::bytes(403, b"expired".to_vec()),
        _ => Answer::bytes(200, large(1)),
    });
    let mock = start(FakeHub { elsewhere: Some(store.url.clone()), ..repository() });
    Setting::new(&mock).get("all/a.parquet").await.unwrap();
}

#[tokio::test]
async fn names_that_lead_out_of_the_cache_are_refused() {
    for name in ["../../../../evil.parquet", "/tmp/evil.parquet", "all/../../x.parquet", "all\\x.parquet"] {
        let hub = FakeHub::new(REPOSITORY, &[("all/a.parquet", b"x"), (name, b"x")]);
        let mock = start(hub);
        let setting = Setting::new(&mock);
        let (message, passing) = setting.fails("all/a.parquet").await;
        assert!(!passing && message.contains("no path within a folder"), "{message}");
        assert!(!setting.path("").exists());
    }
    for answer in [json!({"sha": "../../main"}), json!({"sha": "abc"}), json!({}), json!("text")] {
        let mock = Mock::start(move |_| Answer::json(200, &answer));
        let (message, passing) = Setting::new(&mock).fails("all/a.parquet").await;
        assert!(!passing && message.contains("is http://127.0.0.1"), "{message}");
    }
}

#[tokio::test]
async fn without_the_net_the_cache_is_all_there_is() {
    let mock = start(repository());
    let mut setting = Setting::new(&mock);
    setting.hub.offline = true;
    let message = setting.get("all/*.parquet").await.unwrap_err().to_string();
    assert!(message.contains("not in the Hugging Face cache") && message.contains("hf download"), "{message}");
    setting.hub.offline = false;
    setting.get("all/a.parquet").await.unwrap();
    setting.hub.offline = true;
    let asked = mock.received().len();
    setting.get("all/a.parquet").await.unwrap();
    let message = setting.get("all/*.parquet").await.unwrap_err().to_string();
    assert!(message.contains("not in the Hugging Face cache"), "part of it is not all of it: {message}");
    assert_eq!(mock.received().len(), asked);

    // A cache without lists of files, and nobody to ask: what is there is taken, and that is said.
    fs::remove_dir_all(setting.path("trees")).unwrap();
    setting.hub.offline = false;
    setting.hub.endpoint = Url::parse("http://127.0.0.1:1").unwrap();
    let wanted = setting.hub.find(&address("all/*.parquet")).await.unwrap();
    assert!(wanted.unreachable.is_some_and(|why| why.contains("cannot connect")) && wanted.files == 1);
    assert!(setting.hub.find(&address("all/a.parquet")).await.unwrap().unreachable.is_none(), "nothing to ask");
    let (message, passing) = setting.fails("all/*.jsonl").await;
    assert!(passing && message.contains("cannot connect to http://127.0.0.1:1"), "{message}");
}

#[tokio::test]
async fn a_commit_that_is_gone_says_how_to_take_another() {
    let mock = start(repository());
    let setting = Setting::new(&mock);
    let gone = "d".repeat(40);
    fs::create_dir_all(setting.path("refs")).unwrap();
    fs::write(setting.path("refs/main"), &gone).unwrap();
    let (message, _) = setting.fails("all/a.parquet").await;
    assert!(message.contains(&gone) && message.contains("refs/main to take a newer one"), "{message}");
    let named = Address { revision: Some(gone), ..address("all/a.parquet") };
    let message = setting.hub.find(&named).await.unwrap_err().to_string();
    assert!(message.contains("check the revision dddd") && !message.contains("take a newer one"), "{message}");
}

#[tokio::test]
async fn another_process_downloading_the_file_is_waited_for() {
    let mock = start(repository());
    let setting = Setting::new(&mock);
    let hash = blob(&large(1));
    let lock = setting.dir.path().join(format!(".locks/datasets--open-r1--Mixture/{hash}.lock"));
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = fs::File::create(lock).unwrap();
    held.lock().unwrap();
    let wanted = setting.hub.find(&address("all/a.parquet")).await.unwrap();
    let waited = AtomicUsize::new(0);
    let look = |progress: Downloaded<'_>| {
        // The other one is done before it lets go.
        if progress.elsewhere && waited.fetch_add(1, SeqCst) == 1 {
            fs::write(setting.path(&format!("blobs/{hash}")), large(1)).unwrap();
            held.unlock().unwrap();
        }
    };
    setting.hub.download(&wanted, &look).await.unwrap();
    assert!(waited.load(SeqCst) >= 2);
    assert!(!mock.received().iter().any(is_file));
    assert_eq!(fs::read(&setting.hub.cache.paths(&wanted.address).unwrap()[0]).unwrap(), large(1));
}

#[tokio::test]
async fn a_disk_without_room_is_told_before_and_during_the_download() {
    let hub = repository();
    let mock = Mock::start(move |asked| {
        if asked.line.contains("/tree/") {
            let lfs = json!({"oid": "a".repeat(64), "size": 1_u64 << 60, "pointerSize": 133});
            let file = json!({"type": "file", "path": "all/a.parquet", "oid": "b".repeat(40), "size": 1, "lfs": lfs});
            Answer::json(200, &json!([file]))
        } else {
            hub.answer(asked)
        }
    });
    let setting = Setting::new(&mock);
    let error = setting.get("all/a.parquet").await.unwrap_err();
    assert!(matches!(error, Error::Data(records::Error::Io { .. })));
    let message = error.to_string();
    assert!(message.contains("MB are needed and") && message.contains("make room there"), "{message}");
    assert!(!mock.received().iter().any(is_file));
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let message = io("write", Path::new("/cache/blobs/x"), full).to_string();
    assert!(message.contains("cannot write /cache/blobs/x") && message.contains("HF_HOME"), "{message}");
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let mock = Mock::start(|asked| {
        if asked.line.contains("/tree/") {
            Answer::json(200, &json!([])).header("Link", "<https://h/x?cursor=1>; rel=\"next\"")
        } else {
            Answer::json(200, &json!({"sha": COMMIT}))
        }
    });
    let (message, passing) = Setting::new(&mock).fails("all/a.parquet").await;
    assert!(!passing && message.contains("does not end"), "{message}");
}

#[test]
fn the_next_page_is_a_query_and_nothing_else() {
    let next =
        |value: &'static str| api::next_query(&[(reqwest::header::LINK, value.parse().unwrap())].into_iter().collect());
    let found = |query: &str| Ok(Some(query.to_owned()));
    assert_eq!(next("<https://evil/x?cursor=a%3D&limit=5>; rel=\"next\""), found("cursor=a%3D&limit=5"));
    assert_eq!(next("<https://h/?a=1>; rel=\"prev\", <https://h/?a=3>; rel=\"next\""), found("a=3"));
    for none in ["", "<https://h/?a=1>"] {
        assert_eq!(next(none), Ok(None), "{none}");
    }
    // A next page that cannot be asked for is not the end of the list.
    for broken in ["rel=\"next\"", "<https://h/?a=1; rel=\"next\"", "<https://h/>; rel=\"next\"", "caf\u{e9}"] {
        assert!(next(broken).is_err(), "{broken}");
    }
}

#[test]
fn the_endpoint_is_checked() {
    for (text, word) in [
        ("huggingface", "not a URL"),
        ("ftp://host", "not a plain http"),
        ("https://host/?a=b", "not a plain http"),
        ("https://me:hunter2@host", "credentials"),
    ] {
        let message = api::endpoint(text).unwrap_err().to_string();
        assert!(message.contains(word) && message.contains("HF_ENDPOINT") && !message.contains("hunter2"), "{message}");
    }
    assert!(api::endpoint("https://huggingface.co/").is_ok());
}
