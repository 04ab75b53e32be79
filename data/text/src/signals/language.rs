//! Which language a text is in, and whether it is in one. Maths and code say nothing about that and are left out. Scripts
//! are counted first, and most of them say the language. Paragraphs in Latin letters are told apart by their small words
//! ("the", "und"; Ingle 1976; Grefenstette 1995, "Comparing two language identification schemes"): lists of names and
//! chains of symbols have none and are in no language, where a detector by letters always finds one.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use whichlang::Lang;

use super::prose::strip;
use super::script::{SCRIPTS, Script, count, main, of};

/// Letters from which a paragraph is long enough to have a language, and as many of scripts with a sign for a syllable
/// or word.
const LONG: usize = 80;
const LONG_IN_SYLLABLES: usize = 30;
/// Letters of prose from which there is a language at all.
const LEAST: usize = 20;
/// One word in so many, at least, is one of the small words.
const SMALL_WORDS_EVERY: usize = 12;

/// The small words of the languages in Latin letters that are told apart.
const SMALL_WORDS: [(&str, &[&str]); 10] = [
    // Those that look like words of the other languages are here too: two languages with as many decide nothing.
    (
        "eng",
        &[
            "the", "of", "and", "to", "is", "we", "that", "so", "for", "it", "this", "be", "are", "if", "but", "not",
            "in", "on", "with", "has", "from", "by", "at", "as", "or", "an", "can", "have", "which", "her", "his",
            "per", "do", "no", "me", "he", "she", "they", "let", "was", "die", "den", "van", "con", "also", "all",
            "each", "total", "met",
        ],
    ),
    (
        "deu",
        &[
            "der", "die", "das", "und", "ist", "nicht", "den", "von", "mit", "ein", "eine", "zu", "wir", "auf", "auch",
            "in", "an", "es", "so", "was", "sich",
        ],
    ),
    (
        "fra",
        &[
            "le", "la", "les", "des", "et", "est", "que", "nous", "pour", "dans", "du", "une", "pas", "donc", "qui",
            "de", "on", "en", "un", "ce",
        ],
    ),
    (
        "spa",
        &[
            "el", "los", "las", "de", "que", "es", "en", "por", "para", "una", "con", "se", "del", "como", "entonces",
            "no", "un", "me",
        ],
    ),
    (
        "por",
        &[
            "os", "de", "que", "não", "em", "para", "uma", "com", "da", "do", "dos", "se", "então", "mais", "são",
            "no", "as", "um", "me",
        ],
    ),
    (
        "ita",
        &[
            "il", "di", "che", "per", "della", "del", "una", "non", "si", "sono", "con", "quindi", "gli", "nel", "in",
            "da", "un", "la",
        ],
    ),
    (
        "nld",
        &[
            "het", "een", "van", "en", "is", "dat", "niet", "zijn", "we", "voor", "op", "te", "met", "ook", "dus",
            "de", "in", "die", "was",
        ],
    ),
    ("swe", &["och", "att", "det", "är", "som", "en", "för", "inte", "vi", "med", "på", "av", "till", "ett", "så"]),
    ("tur", &["ve", "bir", "bu", "için", "ile", "olarak", "daha", "çok", "gibi", "olan", "da", "ise", "ama", "her"]),
    ("vie", &["là", "và", "của", "có", "không", "một", "được", "cho", "các", "này", "trong", "ta", "với", "thì"]),
];

/// What was found.
pub struct Census {
    /// ISO 639-3.
    pub language: Option<&'static str>,
    /// Share of letters in another script than most, 0 to 1.
    pub foreign_script: f32,
    /// Share of longer paragraphs in another language than most, 0 to 1.
    pub foreign_paragraphs: f32,
}

/// Looks at the prose of a text.
pub fn census(text: &str) -> Census {
    let mut scripts = [0; SCRIPTS];
    let mut languages = BTreeMap::<&str, (usize, usize)>::new();
    let mut prose = String::new();
    let mut short = String::new();
    let mut in_fence = false;
    for paragraph in text.split("\n\n") {
        prose.clear();
        in_fence = strip(paragraph, in_fence, &mut prose);
        let counts = count(&prose);
        scripts.iter_mut().zip(counts).for_each(|(all, here)| *all += here);
        if let Some((language, letters)) = paragraph_language(&prose, &counts) {
            let found = languages.entry(language).or_default();
            found.0 += 1;
            found.1 += letters;
        } else if short.len() < 2000 {
            short.push_str(&prose);
        }
    }
    let letters: usize = scripts.iter().sum();
    let main_letters = main(&scripts).map_or(0, |(_, letters)| letters);
    let paragraphs: usize = languages.values().map(|(count, _)| count).sum();
    let most = languages.iter().max_by_key(|(_, (_, letters))| *letters);
    let language = most.map(|(language, _)| *language).or_else(|| guessed(&short));
    let in_main = most.map_or(0, |(_, (count, _))| *count);
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f32 / whole as f32 };
    Census {
        language,
        foreign_script: share(letters - main_letters, letters),
        foreign_paragraphs: share(paragraphs - in_main, paragraphs),
    }
}

/// The language of a paragraph that is long enough and surely in one, and its letters.
fn paragraph_language(prose: &str, counts: &[usize; SCRIPTS]) -> Option<(&'static str, usize)> {
    let (script, letters) = main(counts)?;
    let least = if matches!(script, Script::Han | Script::Hangul) { LONG_IN_SYLLABLES } else { LONG };
    if letters < least {
        return None;
    }
    let language = if script == Script::Latin { by_small_words(prose) } else { by_script(script, counts) };
    Some((language?, letters))
}

/// The language of a text that has too few words for being sure.
fn guessed(prose: &str) -> Option<&'static str> {
    let counts = count(prose);
    let (script, letters) = main(&counts)?;
    if letters < LEAST {
        return None;
    }
    // Letters of other scripts mislead the detector.
    let latin = || prose.replace(|c| super::script::script(c).is_some_and(|other| other != script), " ");
    if script == Script::Latin {
        Some(Lang::three_letter_code(whichlang::detect_language(&latin())))
    } else {
        by_script(script, &counts)
    }
}

fn by_script(script: Script, counts: &[usize; SCRIPTS]) -> Option<&'static str> {
    match script {
        Script::Han if 10 * counts[Script::Kana as usize] > of(counts, Script::Han) => Some("jpn"),
        Script::Han => Some("cmn"),
        _ => script.language(),
    }
}

/// The language of which most small words are there, if they are frequent.
fn by_small_words(prose: &str) -> Option<&'static str> {
    let (mut all, mut found) = (0, [0; SMALL_WORDS.len()]);
    for word in prose.split(|c: char| !c.is_alphabetic()) {
        // A single letter is a variable.
        if word.len() < 2 {
            continue;
        }
        all += 1;
        let languages = if word.bytes().any(|b| b.is_ascii_uppercase()) {
            LANGUAGES_OF.get(word.to_lowercase().as_str())
        } else {
            LANGUAGES_OF.get(word)
        };
        for language in languages.into_iter().flatten() {
            found[*language] += 1;
        }
    }
    let most = found.into_iter().max().unwrap_or(0);
    let mut with_most = SMALL_WORDS.iter().zip(found).filter(|(_, count)| *count == most);
    let ((language, _), _) = with_most.next()?;
    (most * SMALL_WORDS_EVERY >= all.max(1) && with_most.next().is_none()).then_some(language)
}

/// Which languages have a small word, by their places.
static LANGUAGES_OF: LazyLock<HashMap<&'static str, Vec<usize>>> = LazyLock::new(|| {
    let mut languages = HashMap::<_, Vec<usize>>::new();
    for (i, (_, words)) in SMALL_WORDS.iter().enumerate() {
        words.iter().for_each(|word| languages.entry(*word).or_default().push(i));
    }
    languages
});
