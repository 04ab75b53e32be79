use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use records::think;

use super::*;

fn tokenizer() -> &'static Tokenizer {
    static TRAINED: LazyLock<Tokenizer> = LazyLock::new(|| {
        let corpus: Vec<String> = (0..50).map(|n| format!("Mia has {n} apples, naïve ✓ and thinks.")).collect();
        Tokenizer::train(&corpus, 300).unwrap()
    });
    &TRAINED
}

fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut detokenizer = Detokenizer::default();
    let mut pieces: Vec<String> = ids.iter().map(|id| detokenizer.push(tokenizer, *id).unwrap()).collect();
    pieces.push(detokenizer.finish(tokenizer).unwrap());
    pieces
}

#[test]
fn a_character_over_several_tokens_comes_out_whole() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode("a😀b").unwrap();
    assert_eq!(ids.len(), 6, "an emoji of four byte tokens between two letters");
    assert_eq!(pieces(tokenizer, &ids), ["a", "", "", "", "😀", "b", ""]);
    // Cut off within it.
    assert_eq!(pieces(tokenizer, &ids[..4]), ["a", "", "", "", "\u{FFFD}"]);
}

#[test]
fn special_tokens_and_unknown_ids_are_not_text_but_think_tags_are() {
    let tokenizer = tokenizer();
    let [open, a] = ["<think>", "a"].map(|token| tokenizer.token_id(token).unwrap());
    assert_eq!(pieces(tokenizer, &[0, open, 3, a, 1_000_000]).concat(), "<think>a");
}

#[test]
fn byte_fallback_tokens_come_out_as_characters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ] },
        "model": { "type": "BPE", "byte_fallback": true, "merges": [], "vocab": {
            "<0xE2>": 0, "<0x82>": 1, "<0xAC>": 2, "<0xF0>": 3, "<0x9F>": 4, "<0x98>": 5, "<0x80>": 6, "▁a": 7, "b": 8,
        } },
    });
    std::fs::write(&path, json.to_string()).unwrap();
    let tokenizer = &Tokenizer::from_file(Path::new(&path)).unwrap();
    let ids = [7, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(pieces(tokenizer, &ids), ["a", "", "", "€", "", "", "", "😀", " a", "b", ""]);
}

#[test]
fn broken_bytes_are_let_go_after_a_while() {
    let tokenizer = tokenizer();
    let byte = tokenizer.encode("ÿ").unwrap()[0];
    let ids = vec![byte; 500];
    let pieces = pieces(tokenizer, &ids);
    assert_eq!(pieces.concat(), tokenizer.decode(&ids, false).unwrap());
    assert!(pieces.iter().filter(|piece| !piece.is_empty()).count() > 10, "not only at the end");
}

#[test]
fn the_first_complete_stop_string_cuts() {
    let stop = |stops: &[&str], text: &str| {
        let mut filter = StopStrings::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let (mut out, stopped) = filter.push(text);
        out += &filter.finish();
        (out, stopped)
    };
    assert_eq!(stop(&["END"], "one END two END"), ("one ".into(), true));
    assert_eq!(stop(&["bc", "abcd"], "abcd"), ("a".into(), true), "bc is complete first");
    assert_eq!(stop(&["bc", "abc"], "abcd"), (String::new(), true), "both complete, abc began first");
    assert_eq!(stop(&["END"], "one EN"), ("one EN".into(), false), "what did not come is not lost");
    assert_eq!(stop(&["✓✓"], "é✓"), ("é✓".into(), false));
}

fn split_whole(text: &str, opened_by_prompt: bool) -> Delta {
    split_pieces(&[text.to_owned()], opened_by_prompt).0
}

/// The sum of all deltas and the deltas.
fn split_pieces(pieces: &[String], opened_by_prompt: bool) -> (Delta, Vec<Delta>) {
    let mut splitter = Splitter::new(opened_by_prompt);
    let mut deltas: Vec<Delta> = pieces.iter().map(|piece| splitter.push(piece)).collect();
    deltas.push(splitter.finish());
    let mut sum = Delta::default();
    for delta in &deltas {
        sum.append(delta);
    }
    (sum, deltas)
}

fn delta(reasoning: &str, content: &str) -> Delta {
    Delta { reasoning: reasoning.into(), content: content.into() }
}

#[test]
fn thinking_and_answer_are_told_apart_and_trimmed() {
    for (text, reasoning, content) in [
        ("<think>\n3 + 4 = 7\n</think>\n\nIt is 7.\n", "3 + 4 = 7", "It is 7."),
        (" \n<think>a\n\nb</think>c", "a\n\nb", "c"),
        ("<think>\n3 + 4", "3 + 4", ""),
        ("<think>a</thi", "a</thi", ""),
        ("<think></think>7", "", "7"),
        ("It is 7.", "", "It is 7."),
        ("<thi", "", "<thi"),
        ("It is <think>7</think>.", "", "It is <think>7</think>."),
        ("a</think>b", "", "a</think>b"),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("", "", ""),
    ] {
        assert_eq!(split_whole(text, false), delta(reasoning, content), "{text:?}");
    }
    for (text, reasoning, content) in [
        ("\n3 + 4\n</think>\n\n7", "3 + 4", "7"),
        ("3 + 4", "3 + 4", ""),
        ("<think>\n3 + 4\n</think>7", "3 + 4", "7"),
        ("</think>7", "", "7"),
        ("<th", "<th", ""),
    ] {
        assert_eq!(split_whole(text, true), delta(reasoning, content), "after <think> in the prompt: {text:?}");
    }
}

#[test]
fn text_comes_out_as_soon_as_it_is_certain() {
    let pieces = ["<th", "ink>\n", "a ", "b</", "i> ", " </think", ">\n", "\nc", " ", "d"].map(str::to_owned);
    let (_, deltas) = split_pieces(&pieces, false);
    let reasoning: Vec<&str> = deltas.iter().map(|d| d.reasoning.as_str()).collect();
    let content: Vec<&str> = deltas.iter().map(|d| d.content.as_str()).collect();
    assert_eq!(reasoning, ["", "", "a", " b", "</i>", "", "", "", "", "", ""]);
    assert_eq!(content, ["", "", "", "", "", "", "", "c", "", " d", ""]);
}

/// Text full of tags and parts of tags, in pieces.
fn tagged() -> impl Strategy<Value = Vec<String>> {
    let atom = proptest::sample::select(vec![
        "<think>", "</think>", "<", "</", "think", ">", " ", "\n", "a", "β", "\u{3000}", "</thi", "<think",
    ]);
    proptest::collection::vec((atom, 0usize..9), 0..12).prop_map(|atoms| {
        // Cut each atom somewhere: a piece is the end of one and the beginning of the next.
        let mut pieces = vec![String::new()];
        for (atom, cut) in atoms {
            let cut = atom.char_indices().map(|(i, _)| i).nth(cut).unwrap_or(0);
            if let Some(last) = pieces.last_mut() {
                last.push_str(&atom[..cut]);
            }
            pieces.push(atom[cut..].to_owned());
        }
        pieces
    })
}

proptest! {
    #[test]
    fn any_cutting_gives_what_split_gives(pieces in tagged(), opened_by_prompt: bool) {
        let text = pieces.concat();
        let (sum, _) = split_pieces(&pieces, opened_by_prompt);
        prop_assert_eq!(&sum, &split_whole(&text, opened_by_prompt), "cut otherwise");
        // The reply with the opening tag that the prompt had.
        let has_tag = text.trim_start().starts_with(OPEN);
        let full = if opened_by_prompt && !has_tag { format!("{OPEN}{text}") } else { text.clone() };
        if !full.trim_start().starts_with(OPEN) {
            prop_assert_eq!(&sum.reasoning, "");
            prop_assert_eq!(&sum.content, text.trim());
            prop_assert_eq!(think::split(None, &sum.content), think::split(None, &text), "a client finds the same");
            return Ok(());
        }
        match think::split(None, &full) {
            (Some(thinking), answer) => prop_assert_eq!(&sum, &delta(&thinking, &answer)),
            // No closing tag: the opening one is not part of the thinking.
            (None, rest) if !full.contains(CLOSE) => {
                prop_assert_eq!(&sum, &delta(rest.strip_prefix(OPEN).unwrap().trim(), ""));
            }
            // An opening tag within the thinking is text.
            (None, rest) => {
                let (thinking, answer) = rest.strip_prefix(OPEN).unwrap().split_once(CLOSE).unwrap();
                prop_assert!(thinking.contains(OPEN));
                prop_assert_eq!(&sum, &delta(thinking.trim(), answer.trim()));
            }
        }
    }

    #[test]
    fn pieces_of_tokens_add_up_to_their_text(ids in proptest::collection::vec(4u32..300, 0..80)) {
        let tokenizer = tokenizer();
        prop_assert_eq!(pieces(tokenizer, &ids).concat(), tokenizer.decode(&ids, false).unwrap());
    }

    #[test]
    fn whole_text_never_shows_half_a_character(text in "[a-z ✓β😀ﬂ中]{0,30}") {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode(&text).unwrap();
        let pieces = pieces(tokenizer, &ids);
        prop_assert!(pieces.iter().all(|piece| !piece.contains(REPLACEMENT)), "{:?}", pieces);
        prop_assert_eq!(pieces.concat(), tokenizer.decode(&ids, false).unwrap());
    }

    #[test]
    fn stop_strings_cut_alike_however_the_text_comes(
        text in "[abé]{0,20}",
        stops in proptest::collection::vec("[abé]{1,4}", 0..4),
        cuts in proptest::collection::vec(any::<bool>(), 20),
    ) {
        // Letter by letter, what a stop string is by definition: the text so far ends with it.
        let mut expected = (text.clone(), false);
        for (end, letter) in text.char_indices().map(|(i, c)| (i + c.len_utf8(), c)) {
            let longest = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str())).map(String::len).max();
            if let Some(longest) = longest {
                expected = (text[..end - longest].to_owned(), true);
                break;
            }
            prop_assert!(letter.is_alphabetic());
        }
        let mut filter = StopStrings::new(stops);
        let (mut out, mut piece, mut stopped) = (String::new(), String::new(), false);
        for (letter, cut) in text.chars().zip(cuts.iter().cycle()) {
            piece.push(letter);
            if *cut && !stopped {
                let (certain, stop) = filter.push(&std::mem::take(&mut piece));
                out += &certain;
                stopped = stop;
            }
        }
        if !stopped {
            let (certain, stop) = filter.push(&piece);
            out += &certain;
            stopped = stop;
        }
        if !stopped {
            out += &filter.finish();
        }
        prop_assert_eq!((out, stopped), expected);
    }
}
