//! Prompts are transformers': byte-equal text and equal ids, for published templates and tokenizers and for the project's
//! own ones. How the goldens are made: `parity/make_chat_golden.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use records::record::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokens::chat::ChatFormat;
use tokens::template::Template;

use crate::support::{TestFolder, root};
use fixtures::{models, shared};

#[derive(Deserialize)]
struct Own {
    templates: BTreeMap<String, Vec<Case>>,
}

#[derive(Deserialize)]
struct Real {
    formats: Vec<Format>,
}

#[derive(Deserialize)]
struct Format {
    name: String,
    template: Option<String>,
    tokenizer: String,
    bos: Option<String>,
    eos: Option<String>,
    cases: Vec<Case>,
}

/// `text` and `ids` are the things themselves for own templates, hashes for published ones.
#[derive(Deserialize)]
struct Case {
    conversation: String,
    add_generation_prompt: bool,
    text: Option<String>,
    ids: Option<serde_json::Value>,
    count: Option<usize>,
    error: Option<String>,
}

fn golden() -> PathBuf {
    root().join("tests/parity/golden/chat")
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&fs::read_to_string(golden().join(name)).unwrap()).unwrap()
}

/// A model folder of a tokenizer and a template from different places; without a template, the tokenizer's folder.
fn format(tokenizer: &Path, template: Option<String>, bos: Option<&str>, eos: Option<&str>) -> ChatFormat {
    let Some(template) = template else { return ChatFormat::from_dir(tokenizer).unwrap() };
    let folder = TestFolder::new();
    fs::copy(tokenizer.join("tokenizer.json"), folder.path("tokenizer.json")).unwrap();
    let config = json!({"bos_token": bos, "eos_token": eos, "chat_template": template});
    folder.write("tokenizer_config.json", &config.to_string());
    ChatFormat::from_dir(&folder.path("")).unwrap()
}

/// Renders a case, and encodes it; `None` where the template raises, which must be where transformers' raises.
fn rendered(name: &str, format: &ChatFormat, case: &Case) -> Option<(String, Vec<u32>)> {
    let conversations: BTreeMap<String, Vec<Message>> = read("conversations.json");
    match (format.render(&conversations[&case.conversation], case.add_generation_prompt), &case.error) {
        (Ok(text), None) => {
            let ids = format.tokenizer.encode(&text).unwrap();
            Some((text, ids))
        }
        (Err(_), Some(_)) => None,
        (ours, theirs) => panic!("{name}, {}: {ours:?}, transformers: {theirs:?}", case.conversation),
    }
}

#[test]
fn own_templates_render_and_encode_as_in_transformers() {
    let mut compared = 0;
    for (name, cases) in read::<Own>("own.json").templates {
        let source = fs::read_to_string(golden().join(format!("templates/{name}.jinja"))).unwrap();
        let special = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"].map(Some);
        let format = format(&root().join("teacher/assets"), Some(source), special[0], special[1]);
        for case in &cases {
            let Some((text, ids)) = rendered(&name, &format, case) else { continue };
            assert_eq!(Some(&text), case.text.as_ref(), "{name}, {}", case.conversation);
            assert_eq!(Some(json!(ids)), case.ids, "{name}, {}", case.conversation);
            compared += 1;
        }
    }
    assert!(compared >= 100, "{compared}");
}

#[test]
fn published_templates_render_and_encode_as_in_transformers() {
    // Both are asked for, so that a test that lacks both is counted for both.
    let (models, shared) = (models(), shared("data"));
    let (Some(shared), Some(cache)) = (shared, models.parent()) else { return };
    // Each tokenizer is read once: they are large.
    let mut loaded: BTreeMap<PathBuf, ChatFormat> = BTreeMap::new();
    for golden in read::<Real>("real.json").formats {
        let (place, folder) = golden.tokenizer.split_once(':').unwrap();
        let folder = if place == "shared" { &shared } else { cache }.join(folder);
        if !folder.join("tokenizer.json").is_file() {
            assert_eq!(place, "cache", "{} is not there", folder.display());
            continue;
        }
        let source = golden.template.map(|name| fs::read_to_string(shared.join("templates").join(name)).unwrap());
        let format = match (loaded.remove(&folder), source) {
            (Some(mut format), Some(source)) => {
                format.template = Template::new(source).unwrap();
                format.bos = golden.bos;
                format.eos = golden.eos.unwrap();
                format
            }
            (_, source) => format(&folder, source, golden.bos.as_deref(), golden.eos.as_deref()),
        };
        assert!(!golden.cases.is_empty());
        for case in &golden.cases {
            let Some((text, ids)) = rendered(&golden.name, &format, case) else { continue };
            let place = format!("{}, {}, {}", golden.name, case.conversation, case.add_generation_prompt);
            assert_eq!(Some(hash(text.bytes())), case.text, "{place}: {text:?}");
            assert_eq!(Some(ids.len()), case.count, "{place}");
            let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
            assert_eq!(Some(json!(hash(bytes))), case.ids, "{place}: {ids:?}");
        }
        loaded.insert(folder, format);
    }
}

/// FNV-1a, 64 bits: simple enough to write on both sides.
fn hash(bytes: impl Iterator<Item = u8>) -> String {
    let value =
        bytes.fold(0xCBF2_9CE4_8422_2325, |value: u64, byte| (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    format!("{value:016x}")
}
