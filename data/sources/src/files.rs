//! Which files an input of a recipe or a table of SQL names: a file, a folder, a pattern with `*`, or a dataset in the
//! Hugging Face cache (`hf://datasets/OWNER/NAME/PATH`). Always in the order of their names, so that a run can be repeated.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use hub::{Address, Cache, FileKind, Kind, not_a_pattern, of_folder, stem};
use records::record::short_hash;
use records::{Error, Result, disk};

/// The files of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The source of rows that name none themselves: the file's or folder's name without extension, or the dataset's
    /// `OWNER/NAME`.
    pub name: String,
    /// At least one, in order.
    pub paths: Vec<PathBuf>,
}

impl Files {
    /// Finds the files of an input whose rows are read ([`rows`](crate::rows)).
    ///
    /// # Errors
    /// Nothing has that name, no file matches the pattern, or a folder's files cannot be told apart ([`of_folder`]).
    pub fn find(input: &Path) -> Result<Self> {
        Self::of_kinds(input, FileKind::ROWS)
    }

    /// Finds the files of a table that SQL reads: those of [`Files::find`], and CSV files of a folder too.
    ///
    /// # Errors
    /// As those of [`Files::find`].
    pub fn find_table(input: &Path) -> Result<Self> {
        Self::of_kinds(input, FileKind::TABLES)
    }

    fn of_kinds(input: &Path, kinds: &[FileKind]) -> Result<Self> {
        let Some(address) = Address::of(input) else { return Self::local(input, kinds) };
        let address = address?.of_kind(Kind::Dataset)?;
        Ok(Self { paths: Cache::from_env()?.paths(&address)?, name: address.id })
    }

    fn local(input: &Path, kinds: &[FileKind]) -> Result<Self> {
        let name = data_name(input);
        match disk::metadata(input)? {
            Some(found) if found.is_dir() => return Ok(Self { name, paths: in_folder(input, kinds)? }),
            Some(_) => return Ok(Self { name, paths: vec![input.to_owned()] }),
            None => {}
        }
        let text = input.to_string_lossy();
        if !text.contains(['*', '?', '[']) {
            return Err(Error::invalid(&*text, "there is no such file or folder", "check its name"));
        }
        // A folder that is there is meant as it is, whatever characters are in its name.
        let fixed = input.ancestors().skip(1).find(|folder| folder.is_dir());
        let matches = match fixed.and_then(|folder| Some((folder, input.strip_prefix(folder).ok()?))) {
            Some((folder, rest)) => {
                let folder = PathBuf::from(glob::Pattern::escape(&folder.to_string_lossy()));
                glob::glob(&folder.join(rest).to_string_lossy())
            }
            None => glob::glob(&text),
        };
        let matches = matches.map_err(|e| not_a_pattern(&text, &e))?;
        let mut paths = Vec::new();
        for path in matches {
            let path = path.map_err(|e| {
                let place = e.path().to_owned();
                Error::io("list", &place, e.into())
            })?;
            // What the folder lists and cannot be read is an error, a link that leads nowhere too: it is data that was meant.
            let is_file =
                || std::fs::metadata(&path).map(|found| found.is_file()).map_err(|e| Error::io("read", &path, e));
            if !hidden(&path) && is_file()? {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.is_empty() {
            return Err(Error::invalid(&*text, "no file has a name like that", "check the pattern"));
        }
        Ok(Self { name: fixed.map(data_name).unwrap_or_default(), paths })
    }

    /// A hash of the names and contents of all files. Their folder does not enter, nor the name of a single file.
    /// `hash` gives the hash of one file, as [`content_hash`](records::content::content_hash) computes it.
    ///
    /// # Errors
    /// Those of `hash`.
    pub fn content_hash(&self, mut hash: impl FnMut(&Path) -> Result<String>) -> Result<String> {
        if let [path] = self.paths.as_slice() {
            return hash(path);
        }
        let mut all = String::new();
        for path in &self.paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let _ = writeln!(all, "{name}\u{1f}{}", hash(path)?);
        }
        Ok(short_hash(all.as_bytes()))
    }
}

/// The name of a file or folder without the extensions that are read here.
fn data_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    stem(&name).unwrap_or(&name).to_owned()
}

fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// The data files directly in a folder.
fn in_folder(folder: &Path, kinds: &[FileKind]) -> Result<Vec<PathBuf>> {
    let (mut names, mut folders) = (Vec::new(), Vec::new());
    for path in disk::entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What cannot be looked at is taken for a file: if its name is one of data, opening it says what is wrong.
        if path.is_dir() { &mut folders } else { &mut names }.push(name);
    }
    Ok(of_folder(folder, names, &folders, kinds)?.into_iter().map(|name| folder.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use records::content::content_hash;

    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        dir
    }

    fn names(files: &Files) -> Vec<String> {
        files.paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn message(path: &Path) -> String {
        Files::find(path).unwrap_err().to_string()
    }

    #[test]
    fn a_file_a_folder_and_a_pattern_give_sorted_files() {
        let dir = folder(&[
            "set/b.jsonl",
            "set/a.jsonl",
            "set/.c.jsonl",
            "set/README.md",
            "set/info.json",
            "deep/x/y/z.parquet",
        ]);
        let all = Files::find(&dir.path().join("set")).unwrap();
        assert_eq!((names(&all), all.name.as_str()), (vec!["a.jsonl".into(), "b.jsonl".into()], "set"));
        let one = Files::find(&dir.path().join("set/b.jsonl")).unwrap();
        assert_eq!((names(&one), one.name.as_str()), (vec!["b.jsonl".into()], "b"));
        let some = Files::find(&dir.path().join("set/*.jsonl")).unwrap();
        assert_eq!((names(&some), some.name.as_str()), (vec!["a.jsonl".into(), "b.jsonl".into()], "set"));
        assert_eq!(names(&Files::find(&dir.path().join("deep/**/*.parquet")).unwrap()), ["z.parquet"]);
        assert_eq!(data_name(Path::new("x/train.jsonl.zst")), "train");
    }

    #[test]
    fn what_names_no_files_or_too_many_is_refused_with_a_way_out() {
        let dir = folder(&[
            "two/a.jsonl",
            "two/a.parquet",
            "sub/all/a.parquet",
            "empty/x.txt",
            "cut/t-00000-of-00002.parquet",
        ]);
        let at = |name: &str| message(&dir.path().join(name));
        assert!(at("two").contains(".jsonl, .parquet") && at("two").contains("two/*.jsonl"), "{}", at("two"));
        assert!(at("sub").contains("name one of its folders: all"), "{}", at("sub"));
        assert!(at("empty").contains(".jsonl.zst"), "{}", at("empty"));
        assert!(at("cut").contains("t-00001-of-00002.parquet is missing"), "{}", at("cut"));
        assert!(Files::find(&dir.path().join("cut/*.parquet")).is_ok(), "a pattern says that these are meant");
        assert!(at("nothing").contains("no such file"), "{}", at("nothing"));
        assert!(at("*.none").contains("no file has a name"), "{}", at("*.none"));
        assert!(at("[").contains("pattern"), "{}", at("["));
    }

    /// If such a file were left out, the set would be smaller without any message.
    #[test]
    fn a_file_that_is_listed_and_cannot_be_read_is_named() {
        let dir = folder(&["set/a.jsonl", "file"]);
        for target in ["b.jsonl", "gone"] {
            let link = dir.path().join("set/b.jsonl");
            std::os::unix::fs::symlink(target, &link).unwrap();
            let said = message(&dir.path().join("set/*.jsonl"));
            assert!(said.contains("set/b.jsonl"), "{said}");
            let listed = Files::find(&dir.path().join("set")).unwrap();
            assert!(listed.content_hash(content_hash).unwrap_err().to_string().contains("set/b.jsonl"), "{listed:?}");
            std::fs::remove_file(&link).unwrap();
        }
        // A file where a folder should be is not "no such file".
        let said = message(&dir.path().join("file/a.jsonl"));
        assert!(said.contains("cannot look at") && said.contains("file/a.jsonl"), "{said}");
    }

    /// An input of a recipe and a table of SQL are the same files, or refused in the same words.
    #[test]
    fn an_input_and_a_table_are_the_same_files() {
        let dir = folder(&[
            "one.jsonl",
            "one.jsonl.gz",
            "one.jsonl.zst",
            "a run [1] *é/x y.jsonl",
            "set/b.parquet",
            "set/a.parquet",
            "set/.c.parquet",
            "set/README.md",
            "set/deep/c.parquet",
            "mixed/a.jsonl",
            "mixed/a.jsonl.gz",
            "packed/a.ndjson.zst",
            "cut/t-00000-of-00002.jsonl",
            "hidden/.a.jsonl",
            "text/x.txt",
            "outer/inner/a.jsonl",
        ]);
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        std::os::unix::fs::symlink("../set/a.parquet", dir.path().join("packed/link.parquet")).unwrap();
        std::os::unix::fs::symlink("set", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("broken")).unwrap();
        std::os::unix::fs::symlink("gone", dir.path().join("broken/a.jsonl")).unwrap();
        // The files that are found, or words of the error.
        let cases: [(&str, std::result::Result<&[&str], &str>); 22] = [
            ("one.jsonl", Ok(&["one.jsonl"])),
            ("one.jsonl.gz", Ok(&["one.jsonl.gz"])),
            ("one.jsonl.zst", Ok(&["one.jsonl.zst"])),
            ("one.jsonl*", Ok(&["one.jsonl", "one.jsonl.gz", "one.jsonl.zst"])),
            ("a run [1] *é", Ok(&["x y.jsonl"])),
            ("a run [1] *é/x y.jsonl", Ok(&["x y.jsonl"])),
            ("a run [1] *é/*.jsonl", Ok(&["x y.jsonl"])),
            ("set", Ok(&["a.parquet", "b.parquet"])),
            ("link", Ok(&["a.parquet", "b.parquet"])),
            ("set/*", Ok(&["README.md", "a.parquet", "b.parquet"])),
            ("set/[b].parquet", Ok(&["b.parquet"])),
            ("set/**/*.parquet", Ok(&["a.parquet", "b.parquet", "c.parquet"])),
            ("cut/*.jsonl", Ok(&["t-00000-of-00002.jsonl"])),
            ("text/x.txt", Ok(&["x.txt"])),
            ("mixed", Err("several kinds are in this folder: .jsonl, .jsonl.gz")),
            ("packed", Err("several kinds are in this folder: .ndjson.zst, .parquet")),
            ("cut", Err("t-00001-of-00002.jsonl is missing of 2 shards")),
            ("outer", Err("name one of its folders: inner")),
            ("absent.jsonl", Err("there is no such file or folder")),
            ("set/q-*.parquet", Err("no file has a name like that")),
            ("set/[", Err("not a pattern")),
            ("broken/*.jsonl", Err("broken/a.jsonl")),
        ];
        for (name, expected) in cases {
            let path = dir.path().join(name);
            let found = [Files::find(&path), Files::find_table(&path)].map(|found| found.map_err(|e| e.to_string()));
            assert_eq!(found[0], found[1], "{name}");
            match (&found[0], expected) {
                (Ok(files), Ok(expected)) => assert_eq!(names(files), expected, "{name}"),
                (Err(said), Err(word)) => assert!(said.contains(word), "{name}: {said}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        // Only a table may be CSV, and each says what it reads.
        std::fs::create_dir(dir.path().join("cells")).unwrap();
        std::fs::write(dir.path().join("cells/a.csv"), "a\n1\n").unwrap();
        assert_eq!(names(&Files::find_table(&dir.path().join("cells")).unwrap()), ["a.csv"]);
        for name in ["cells", "empty", "hidden", "text"] {
            let said = message(&dir.path().join(name));
            assert!(said.contains("no data files") && said.ends_with(".ndjson.gz, .parquet"), "{said}");
        }
        for name in ["empty", "hidden", "text"] {
            let said = Files::find_table(&dir.path().join(name)).unwrap_err().to_string();
            assert_eq!(said, message(&dir.path().join(name)) + ", .csv, .tsv");
        }
    }

    #[test]
    fn identity_is_names_and_contents_of_all_files() {
        let dir = folder(&["a/1.jsonl", "a/2.jsonl", "b/1.jsonl", "b/2.jsonl"]);
        std::fs::write(dir.path().join("b/1.jsonl"), "a/1.jsonl").unwrap();
        let hash = |name: &str| Files::find(&dir.path().join(name)).unwrap().content_hash(content_hash).unwrap();
        assert_ne!(hash("a"), hash("b"));
        std::fs::write(dir.path().join("b/2.jsonl"), "a/2.jsonl").unwrap();
        assert_eq!(hash("a"), hash("b"));
        assert_eq!(hash("a/1.jsonl"), content_hash(&dir.path().join("a/1.jsonl")).unwrap());
    }
}
