//! Entries of the cache that cannot be read, and the modes of those that are written.

use super::*;

/// With the net or without: downloading it again, in silence, would hide that something is wrong with the cache.
#[tokio::test]
async fn an_entry_of_the_cache_that_cannot_be_read_is_named_and_nothing_is_asked() {
    let mock = start(repository());
    let mut setting = Setting::new(&mock);
    let paths = setting.get("all/*.parquet").await.unwrap();
    let asked = lines(&mock).len();
    let (list, reference) = (setting.path(&format!("trees/{COMMIT}.json")), setting.path("refs/main"));
    for offline in [false, true] {
        setting.hub.offline = offline;
        for path in [&list, &reference, &paths[0]] {
            let (link, kept) = (fs::read_link(path).ok(), fs::read(path).unwrap());
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink(path.file_name().unwrap(), path).unwrap();
            let message = setting.get("all/*.parquet").await.unwrap_err().to_string();
            assert!(message.contains(&path.display().to_string()), "{message}");
            fs::remove_file(path).unwrap();
            match link {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => fs::write(path, kept).unwrap(),
            }
        }
        let text = fs::read(&list).unwrap();
        fs::write(&list, &text[..text.len() / 2]).unwrap();
        let message = setting.get("all/*.parquet").await.unwrap_err().to_string();
        assert!(message.contains(&list.display().to_string()) && message.contains("remove it"), "{message}");
        fs::write(&list, &text).unwrap();
    }
    assert_eq!(lines(&mock).len(), asked, "nothing was asked");
    setting.get("all/*.parquet").await.unwrap();
}

/// As huggingface_hub's: a cache may be shared by users.
#[tokio::test]
async fn what_is_downloaded_has_the_mode_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let mock = start(repository());
    let setting = Setting::new(&mock);
    setting.get("all/*.parquet").await.unwrap();
    fs::write(setting.path("plain"), "").unwrap();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode();
    let (mut pending, mut count) = (vec![setting.dir.path().to_owned()], 0);
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                pending.push(path);
            } else if !path.is_symlink() {
                count += 1;
                assert_eq!(mode(&path), mode(&setting.path("plain")), "{}", path.display());
            }
        }
    }
    assert!(count > 5, "blobs, locks, a list and a reference, not {count}");
}
