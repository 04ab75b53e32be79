use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const C1: &str = "1111111111111111111111111111111111111111";
const C2: &str = "2222222222222222222222222222222222222222";

fn parsed(text: &str) -> Address {
    Address::of(Path::new(text)).unwrap().unwrap()
}

fn cache(files: &[&str]) -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    for name in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = if name.contains("/refs/") { format!("{C1}\n") } else { "text".to_owned() };
        std::fs::write(path, text).unwrap();
    }
    let root = dir.path().to_owned();
    (dir, Cache { root })
}

fn listing(names: &[&str]) -> Listing {
    let file = |name: &&str| {
        let listed = Listed { size: 4, blob_id: "ab".repeat(20), lfs_sha256: None, lfs_size: None, xet_hash: None };
        ((*name).to_owned(), listed)
    };
    Listing::new(names.iter().map(file).collect()).unwrap()
}

fn names(cache: &Cache, text: &str) -> Vec<String> {
    let found = cache.find(&parsed(text)).unwrap();
    assert_eq!(found.missing, Vec::<String>::new());
    found.names
}

fn refusal(cache: &Cache, text: &str) -> String {
    cache.paths(&parsed(text)).unwrap_err().to_string()
}

#[test]
fn addresses_are_read_as_huggingface_hub_writes_them() {
    let address = parsed("hf://datasets/open-r1/Mixture-of-Thoughts@v1.0/all/*.parquet");
    assert_eq!((address.kind, address.id.as_str()), (Kind::Dataset, "open-r1/Mixture-of-Thoughts"));
    assert_eq!((address.revision(), address.path.as_str()), ("v1.0", "all/*.parquet"));
    let model = parsed("hf://HuggingFaceTB/SmolLM2-135M-Instruct");
    assert_eq!((model.kind, model.revision(), model.path.as_str()), (Kind::Model, "main", ""));
    assert_eq!(parsed("hf://models/o/n/"), parsed("hf://o/n"));
    let converted = parsed("hf://datasets/o/n@refs/convert/parquet/default/train/0.parquet");
    assert_eq!((converted.revision(), converted.path.as_str()), ("refs/convert/parquet", "default/train/0.parquet"));
    assert_eq!(parsed("hf://o/n@feature%2Fone/a").revision(), "feature/one");
    assert_eq!(parsed("hf://o/n/a").at(C1).to_string(), format!("hf://o/n@{C1}/a"));
    assert!(Address::of(Path::new("data/hf.jsonl")).is_none());
    for wrong in [
        "hf://datasets/o",
        "hf://o",
        "hf:///n/x",
        "hf://datasets/o/n/../../etc",
        "hf://../n/x",
        "hf://o/..",
        "hf://o/n@../x",
        "hf://",
        "hf://o/n@/x",
        "hf://o/n//x",
        "hf://o/n/./x",
        "hf://o/n/a\\b",
        "hf://spaces/o/n",
        "hf://o/a--b",
        "hf://datasets/o/n@refs/x",
        "hf://o/n@refs/../..",
        "hf://o%2F/n",
        "hf://o/n@%2F%2Fetc",
    ] {
        let message = Address::of(Path::new(wrong)).unwrap().unwrap_err().to_string();
        assert!(message.contains("hf://datasets/OWNER/NAME/PATH"), "{wrong}: {message}");
    }
}

#[test]
fn files_folders_and_patterns_are_found_by_revision() {
    let root = "datasets--o--n";
    let (_dir, cache) = cache(&[
        &format!("{root}/refs/main"),
        &format!("{root}/snapshots/{C1}/data/a.parquet"),
        &format!("{root}/snapshots/{C1}/data/deep/b.parquet"),
        &format!("{root}/snapshots/{C2}/data/c.parquet"),
    ]);
    assert_eq!(names(&cache, "hf://datasets/o/n/data/a.parquet"), ["data/a.parquet"]);
    assert_eq!(names(&cache, "hf://datasets/o/n/data"), ["data/a.parquet"]);
    assert_eq!(names(&cache, "hf://datasets/o/n/data/*.parquet"), ["data/a.parquet"]);
    assert_eq!(names(&cache, "hf://datasets/o/n/**/*.parquet"), ["data/a.parquet", "data/deep/b.parquet"]);
    assert_eq!(names(&cache, &format!("hf://datasets/o/n@{C2}/data")), ["data/c.parquet"]);
    assert!(refusal(&cache, "hf://datasets/o/n").contains("name one of its folders: data"));
    let message = refusal(&cache, "hf://datasets/o/n/data/b.parquet");
    assert!(message.contains("hf download o/n --repo-type dataset --include 'data/b.parquet'"), "{message}");
    let message = refusal(&cache, "hf://datasets/o/m@v1/data");
    assert!(message.contains("hf download o/m --repo-type dataset --revision v1 --include 'data/*'"), "{message}");
    let message = refusal(&cache, "hf://o/m");
    assert!(message.contains("not in the Hugging Face cache") && message.ends_with("hf download o/m"), "{message}");
}

#[test]
fn a_list_of_files_tells_a_stopped_download_from_a_whole_one() {
    let root = "datasets--o--n";
    let (_dir, cache) =
        cache(&[&format!("{root}/snapshots/{C1}/a.parquet"), &format!("{root}/snapshots/{C1}/b.parquet")]);
    let address = parsed("hf://datasets/o/n/*.parquet");
    let repository = cache.repository(&address);
    repository.record("main", C1, &listing(&["a.parquet", "b.parquet", "c.parquet"])).unwrap();
    assert_eq!(cache.find(&address).unwrap().missing, ["c.parquet"]);
    assert!(refusal(&cache, "hf://datasets/o/n/*.parquet").contains("not in the Hugging Face cache"));
    repository.record("main", C1, &listing(&["a.parquet", "b.parquet"])).unwrap();
    assert_eq!(cache.paths(&address).unwrap().len(), 2);
    std::fs::write(repository.snapshot(C1).join("b.parquet"), "half of it").unwrap();
    assert_eq!(cache.find(&address).unwrap().missing, ["b.parquet"], "of another size");
    assert!(refusal(&cache, "hf://datasets/o/n/c.parquet").contains(&format!("at commit {C1}")));
    // What cannot be read is an error: without the list, half a download would pass for a whole one.
    let path = cache.root.join(format!("{root}/trees/{C1}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    for (broken, word) in [
        (text[..text.len() / 2].to_owned(), "not a list of files"),
        (text.replace("\"format_version\": 1", "\"format_version\": 9"), "of format 9"),
        (text.replace("b.parquet", "../b.parquet"), "no path within a folder"),
    ] {
        std::fs::write(&path, broken).unwrap();
        for message in [refusal(&cache, "hf://datasets/o/n/*.parquet"), repository.listing(C1).unwrap_err().to_string()]
        {
            assert!(message.contains(word) && message.contains(&path.display().to_string()), "{message}");
            assert!(message.contains("remove it"), "{message}");
        }
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(repository.listing(C1).unwrap(), None);
}

/// As huggingface_hub leaves it: a link to a blob, which may be gone or unreadable.
#[test]
fn an_entry_that_cannot_be_read_is_neither_there_nor_absent() {
    let root = "datasets--o--n";
    let (_dir, cache) = cache(&[&format!("{root}/refs/main"), &format!("{root}/snapshots/{C1}/a.parquet")]);
    let address = parsed("hf://datasets/o/n/*.parquet");
    let repository = cache.repository(&address);
    let link = repository.snapshot(C1).join("b.parquet");
    std::os::unix::fs::symlink("../../blobs/gone", &link).unwrap();
    let found = cache.find(&address).unwrap();
    assert_eq!((found.names.len(), found.missing), (2, vec!["b.parquet".to_owned()]), "its blob is gone");
    assert!(refusal(&cache, "hf://datasets/o/n/*.parquet").contains("not in the Hugging Face cache"));

    let names = |message: String, path: &Path| assert!(message.contains(&path.display().to_string()), "{message}");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("b.parquet", &link).unwrap();
    names(refusal(&cache, "hf://datasets/o/n/*.parquet"), &link);
    let files = listing(&["a.parquet", "b.parquet"]);
    names(repository.found(&address, C1, &files).unwrap_err().to_string(), &link);
    let blob = repository.blob(files.files["a.parquet"].blob());
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(blob.file_name().unwrap(), &blob).unwrap();
    names(repository.has(&files.files["a.parquet"]).unwrap_err().to_string(), &blob);

    // Which commit a branch is: a file that holds none, one that is no text, a folder.
    let reference = repository.reference("main");
    for broken in ["", "not a commit"] {
        std::fs::write(&reference, broken).unwrap();
        names(refusal(&cache, "hf://datasets/o/n/*.parquet"), &reference);
    }
    std::fs::write(&reference, b"\xff\xfe").unwrap();
    names(repository.commit("main").unwrap_err().to_string(), &reference);
    std::fs::remove_file(&reference).unwrap();
    assert_eq!(repository.commit("main").unwrap(), None);
    std::fs::create_dir(&reference).unwrap();
    names(refusal(&cache, "hf://datasets/o/n/*.parquet"), &reference);
    // A file where the snapshots should be.
    let (_dir, cache) = self::cache(&[&format!("{root}/refs/main"), &format!("{root}/snapshots")]);
    names(refusal(&cache, "hf://datasets/o/n/*.parquet"), &cache.root.join(root).join("snapshots"));
}

#[test]
fn a_model_is_its_configuration_tokenizer_templates_and_weights() {
    let (_dir, cache) = cache(&[]);
    let all =
        ["README.md", "config.json", "model.safetensors", "chat_template.jinja", ".hidden.json", "onnx/model.onnx"];
    let found = |address: &str, names: &[&str]| {
        let address = parsed(address);
        cache.repository(&address).found(&address, C1, &listing(names))
    };
    assert_eq!(found("hf://o/n", &all).unwrap().names, ["chat_template.jinja", "config.json", "model.safetensors"]);
    assert_eq!(found("hf://o/n/config.json", &all).unwrap().names, ["config.json"]);
    let below: Vec<String> = all.iter().map(|name| format!("sub/{name}")).collect();
    let below: Vec<&str> = below.iter().map(String::as_str).collect();
    assert_eq!(found("hf://o/n/sub", &below).unwrap().names[1], "sub/config.json");
    for (names, word) in [(vec!["a.safetensors"], "config.json"), (vec!["config.json", "a.bin"], "*.safetensors")] {
        let message = found("hf://o/n", &names).unwrap_err().to_string();
        assert!(message.contains(&format!("there is no {word}")), "{message}");
    }
    assert!(cache.model(&parsed("hf://datasets/o/n")).unwrap_err().to_string().contains("hf://OWNER/NAME"));
}

#[test]
fn a_link_leads_from_any_depth_to_its_blob() {
    let (_dir, cache) = cache(&[&format!("models--o--n/blobs/{}", "ab".repeat(20))]);
    let repository = cache.repository(&parsed("hf://o/n"));
    for name in ["config.json", "a/b/c.json"] {
        for _ in 0..2 {
            repository.link(C1, name, &"ab".repeat(20)).unwrap();
            assert_eq!(std::fs::read_to_string(repository.snapshot(C1).join(name)).unwrap(), "text");
        }
        repository.link(C1, name, &"cd".repeat(20)).unwrap();
        assert!(!repository.snapshot(C1).join(name).exists(), "it leads to the other, which is not there");
    }
}

#[test]
fn names_and_hashes_that_would_leave_the_cache_are_refused() {
    for name in ["../a", "/etc/passwd", "a/../b", "a//b", "", ".", "a\\b", "a\nb", "a/."] {
        let file = Listed { size: 1, blob_id: "ab".repeat(20), lfs_sha256: None, lfs_size: None, xet_hash: None };
        let message = Listing::new(BTreeMap::from([(name.to_owned(), file)])).unwrap_err();
        assert!(message.contains("no path within a folder"), "{name}: {message}");
    }
    for hash in ["", "../../x", &"AB".repeat(20), &"ab".repeat(32)] {
        let file = Listed { size: 1, blob_id: hash.to_owned(), lfs_sha256: None, lfs_size: None, xet_hash: None };
        assert!(Listing::new(BTreeMap::from([("a".to_owned(), file)])).unwrap_err().contains("hexadecimal"), "{hash}");
    }
}

proptest! {
    #[test]
    fn whatever_is_read_stays_inside_and_reads_back(text in "(datasets/|models/)?[a-z./@%*\\\\-]{0,30}") {
        if let Some(Ok(address)) = Address::of(Path::new(&format!("hf://{text}"))) {
            prop_assert_eq!(parsed(&address.to_string()), address.clone());
            let cache = Cache { root: "/cache".into() };
            for path in [cache.repository(&address).reference(address.revision()), Path::new("/cache/x").join(&address.path)] {
                let stays = path.starts_with("/cache") && path.components().all(|c| c != Component::ParentDir);
                prop_assert!(stays, "{}", path.display());
            }
        }
    }
}
