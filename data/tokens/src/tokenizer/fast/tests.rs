use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::tokenizer::Tokenizer;
use fixtures::{models, shared};

/// What a small tokenizer learns merges from.
const CORPUS: [&str; 6] = [
    "Okay, so I need to find the area of the triangle. Let me think, wait: it's 3.5 times 1234, isn't it?\n\n",
    "def f(x):\n    return x ** 2  # they'll square 12345\n\n\n    for i in range(10):\n\t\tprint(f(i))\r\n",
    "Thus \\[ x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a} \\], π ≈ 3.14159, α ≤ β → γ² ½.\n",
    "设三角形的面积为 S，则 S = 6。所以答案是 6。 Größe, naïve, café, ÅÄÖ, हिन्दी, 한국어, العربية ٣٤٥\n",
    "WE'VE I'LL YOU'RE DON'T we've I'll you're don't    spaces      and   more  \n \n  \n",
    "😀👍🏽 e\u{301}te\u{301} ----======!!!!??? <think>\nHmm.\n</think>\n\n\\boxed{6}",
];

fn changed(change: impl FnOnce(&mut Value)) -> Tokenizer {
    read(change).unwrap()
}

fn read(change: impl FnOnce(&mut Value)) -> Result<Tokenizer, tokenizers::Error> {
    let corpus: Vec<String> = CORPUS.iter().cycle().take(60).map(|text| (*text).to_owned()).collect();
    let trained = Tokenizer::train(&corpus, 900).unwrap();
    let mut json: Value = serde_json::from_str(&trained.inner.to_string(false).unwrap()).unwrap();
    change(&mut json);
    Tokenizer::from_json(&json.to_string())
}

fn added(json: &mut Value, content: &str, normalized: bool, flag: Option<&str>) {
    let id = json["added_tokens"].as_array().unwrap().iter().filter_map(|t| t["id"].as_u64()).max().unwrap();
    let vocabulary = json["model"]["vocab"].as_object().unwrap().len() as u64;
    let mut token = json!({"id": vocabulary.max(id + 1), "content": content, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": normalized, "special": false});
    if let Some(flag) = flag {
        token[flag] = true.into();
    }
    json["added_tokens"].as_array_mut().unwrap().push(token);
}

/// A small tokenizer of each kind that is encoded here.
fn kinds() -> Vec<(&'static str, Tokenizer)> {
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    vec![
        ("qwen2", changed(|_| {})),
        (
            "llama3",
            changed(|json| {
                json["normalizer"] = Value::Null;
                json["model"]["ignore_merges"] = true.into();
                json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] =
                    super::super::split::LLAMA3_SPLIT.into();
                // A word that no merge makes.
                let unused = json["model"]["vocab"].as_object().unwrap().len();
                json["model"]["vocab"]["Ġwhole"] = unused.into();
            }),
        ),
        (
            "gpt2 with added tokens that overlap",
            changed(|json| {
                json["pre_tokenizer"] = bytes(true);
                for (content, normalized) in [
                    ("<a", false),
                    ("<ab", false),
                    ("b<a", false),
                    ("é<", true),
                    ("e\u{301}!", true),
                    ("o\u{301}?", false),
                    ("<x>", true),
                    ("x>", true),
                    ("  ", true),
                ] {
                    added(json, content, normalized, None);
                }
            }),
        ),
        (
            "smollm2",
            changed(|json| {
                json["normalizer"] = Value::Null;
                json["post_processor"] = Value::Null;
                let digits = json!({"type": "Digits", "individual_digits": true});
                json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [digits, bytes(true)]});
            }),
        ),
        (
            "two added tokens with one id, of which the library searches for neither as it is written",
            changed(|json| {
                json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [bytes(true)]});
                // Behind the vocabulary, as the library numbers it.
                let id = json["model"]["vocab"].as_object().unwrap().len();
                json["model"]["vocab"]["e\u{301}"] = (id + 1).into();
                for content in ["e\u{301}", "zz"] {
                    added(json, content, true, None);
                    json["added_tokens"].as_array_mut().unwrap().last_mut().unwrap()["id"] = (id + 1).into();
                }
            }),
        ),
        (
            "a vocabulary that lacks bytes",
            changed(|json| {
                for missing in ["ã", "Ġ"] {
                    let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
                    vocabulary.retain(|token, _| token.chars().count() > 1 || token != missing);
                }
                let merges = json["model"]["merges"].as_array_mut().unwrap();
                merges.retain(|merge| !merge.as_array().unwrap().iter().any(|part| part == "ã" || part == "Ġ"));
            }),
        ),
    ]
}

fn check(name: &str, tokenizer: &Tokenizer, text: &str) {
    let expected = tokenizer.encode_by_library(text).unwrap();
    assert_eq!(tokenizer.encode(text).unwrap(), expected, "{name}: {text:?}");
    assert_eq!(tokenizer.count(text).unwrap(), expected.len(), "{name}: {text:?}");
}

#[test]
fn texts_get_the_ids_of_the_library() {
    for (name, tokenizer) in kinds() {
        assert!(tokenizer.fast.is_some(), "{name}");
        // Twice: then every piece is known.
        for text in CORPUS.iter().chain(&CORPUS).chain(&[
            "",
            " ",
            "\n",
            " whole",
            "a whole day",
            "<think></think>",
            "<ab<a<abb<a",
        ]) {
            check(name, &tokenizer, text);
        }
    }
}

#[test]
fn what_is_forgotten_is_found_again() {
    let (name, tokenizer) = kinds().swap_remove(0);
    // More pieces than are remembered, short ones and long ones.
    let mut text = String::new();
    for number in 0..super::super::pieces::MOST_PIECES as u64 + 1000 {
        let letters: String = (0..5).map(|place| char::from(b'a' + (number / 26_u64.pow(place) % 26) as u8)).collect();
        text.push_str(if number % 1000 == 0 { " afterthoughtfulnesses" } else { " " });
        text.push_str(&letters);
    }
    check(name, &tokenizer, &text);
    check(name, &tokenizer, &text[text.len() / 2..]);
}

#[test]
fn threads_share_a_tokenizer() {
    let (name, tokenizer) = kinds().swap_remove(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let tokenizer = tokenizer.clone();
            scope.spawn(move || {
                for text in CORPUS.iter().cycle().skip(thread).take(12) {
                    check(name, &tokenizer, text);
                }
            });
        }
    });
}

#[test]
fn a_tokenizer_with_an_unknown_part_takes_the_way_of_the_library() {
    let unknown: Vec<(&str, Tokenizer)> = vec![
        ("no pre-tokenizer", changed(|json| json["pre_tokenizer"] = Value::Null)),
        (
            "another expression",
            changed(|json| json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+|\s+".into()),
        ),
        (
            "a space in front",
            changed(|json| json["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true.into()),
        ),
        ("another normaliser", changed(|json| json["normalizer"] = json!({"type": "Lowercase"}))),
        (
            "several normalisers",
            changed(|json| json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}]})),
        ),
        ("a long added token", changed(|json| added(json, &"<é".repeat(30_000), false, None))),
        ("dropout", changed(|json| json["model"]["dropout"] = 0.0.into())),
        (
            "a post-processor that repeats the text",
            changed(|json| {
                let text = json!({"Sequence": {"id": "A", "type_id": 0}});
                json["post_processor"] = json!({"type": "TemplateProcessing", "single": [text, text], "pair": [text,
                    {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {}});
            }),
        ),
        ("lstrip", changed(|json| added(json, "<l>", false, Some("lstrip")))),
        ("rstrip", changed(|json| added(json, "<r>", true, Some("rstrip")))),
        ("single_word", changed(|json| added(json, "word", false, Some("single_word")))),
    ];
    for (name, tokenizer) in unknown {
        assert!(tokenizer.fast.is_none(), "{name}");
        for text in CORPUS.iter().chain(&["a <l> b <r> c words word"]) {
            check(name, &tokenizer, text);
        }
    }
}

#[test]
fn what_a_file_says_of_truncation_and_padding_is_left_out() {
    let plain = changed(|_| {});
    let other = changed(|json| {
        json["truncation"] = json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({"strategy": {"Fixed": 1_u64 << 40}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "!"});
    });
    assert!(other.fast.is_some());
    for text in CORPUS {
        assert_eq!(other.encode(text).unwrap(), plain.encode(text).unwrap());
        check("truncation and padding", &other, text);
    }
}

#[test]
fn a_file_that_the_library_breaks_off_on_is_an_error() {
    let merge = |json: &mut Value, merge: [&str; 2]| {
        json["model"]["vocab"] = json!({"a": 0, "b": 1});
        json["model"]["merges"] = json!([merge]);
    };
    assert!(read(|json| merge(json, ["a", "b"])).is_err());
    assert!(
        read(|json| {
            merge(json, ["a", "b"]);
            json["model"]["continuing_subword_prefix"] = "##".into();
        })
        .is_err()
    );
    // Its template names a second text where there is one.
    let tokenizer = changed(|json| {
        let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        json["post_processor"] = json!({"type": "TemplateProcessing", "single": [text("B")], "pair": [text("A"),
            text("B")], "special_tokens": {}});
    });
    assert!(tokenizer.fast.is_none());
    assert!(tokenizer.encode("text").is_err());
}

#[test]
fn its_name_is_that_of_its_file() {
    let tokenizer = changed(|_| {});
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    tokenizer.save(&path).unwrap();
    let saved = Tokenizer::from_file(&path).unwrap();
    assert_eq!(saved.hash(), records::record::short_hash(&std::fs::read(&path).unwrap()));
    assert_ne!(saved.hash(), changed(|json| added(json, "<more>", false, None)).hash());
}

/// Added tokens of [`kinds`], and what is nearly one.
const SPECIAL: [&str; 17] = [
    "<think>",
    "</think>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User",
    "<a",
    "<ab",
    "b<a",
    "é<",
    "é!",
    "e\u{301}!",
    "o\u{301}?",
    "zz",
    "<x>",
    "x>",
    "  ",
];

/// Pieces of text of the kinds that break tokenizers.
fn texts() -> impl Strategy<Value = String> {
    let special = select(&SPECIAL[..]);
    let words = select(vec![
        " the",
        "Okay",
        "'s",
        "'S",
        "'ll",
        "'LL",
        "'ſ",
        "’s",
        " whole",
        "12345",
        "٣٤",
        "½²",
        "\n\n",
        "\r\n",
        " \n ",
        "\t",
        "    ",
        "\u{a0}",
        "\u{3000}",
        "\u{85}",
        "面积",
        "한국어",
        "\u{1112}\u{1161}\u{11ab}",
        "हिन्दी",
        "e\u{301}",
        "\u{301}",
        "Å",
        "\u{212b}",
        "\u{344}",
        "😀",
        "👍🏽",
        "\u{200d}",
        "\u{e000}",
        "\u{f8ff}",
        "\u{10fffd}",
        "\u{0}",
        "\u{7f}",
        "\u{feff}",
        "\\frac{1}{2}",
        "**",
        "-----",
        "Ġ",
        "Ċ",
    ]);
    let part = prop_oneof![
        4 => words.prop_map(str::to_owned),
        2 => special.prop_map(str::to_owned),
        2 => any::<char>().prop_map(String::from),
        1 => "\\PC{0,6}",
        1 => "[a-z]{1,20}",
    ];
    proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

#[test]
fn any_text_gets_the_ids_of_the_library() {
    let kinds = kinds();
    proptest!(ProptestConfig::with_cases(400), |(text in texts())| {
        for (name, tokenizer) in &kinds {
            check(name, tokenizer, &text);
        }
    });
}

/// The tokenizers that are there to be tested with.
fn real_tokenizers(shared: &Path, models: &Path) -> Vec<PathBuf> {
    let folders = [shared.join("tokenizers"), models.to_owned()].into_iter().filter(|folder| folder.exists());
    let entries = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path().join("tokenizer.json"));
    let mut files: Vec<PathBuf> = files.filter(|file| file.is_file()).collect();
    files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../teacher/assets/tokenizer.json"));
    files.sort();
    files
}

#[test]
fn real_traces_get_the_ids_of_the_library() {
    // Both are asked for, so that a test that lacks both is counted for both.
    let (models, shared) = (models(), shared("data"));
    let Some(shared) = shared else { return };
    let traces = std::fs::read_to_string(shared.join("traces/deepseek_r1_mcq_6000.jsonl")).unwrap();
    let traces: Vec<String> = traces
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            format!("<think>\n{}\n</think>\n\n{}", row["reason"].as_str().unwrap(), row["gen_ans"].as_str().unwrap())
        })
        .collect();
    let tokenizers = real_tokenizers(&shared, &models);
    assert!(tokenizers.len() > 3);
    for (number, file) in tokenizers.iter().enumerate() {
        let tokenizer = Tokenizer::from_file(file).unwrap();
        let name = file.display().to_string();
        assert!(tokenizer.fast.is_some(), "{name}");
        // Each tokenizer other ones: the library is slow.
        for trace in traces.iter().skip(number).step_by(tokenizers.len()) {
            check(&name, &tokenizer, trace);
        }
        for text in CORPUS {
            check(&name, &tokenizer, text);
        }
        proptest!(ProptestConfig::with_cases(200), |(text in texts())| check(&name, &tokenizer, &text));
    }
}
