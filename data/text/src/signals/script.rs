//! Scripts: which one a letter is of, and letters of one that nothing led to.

/// The scripts that are told apart, and the language a text of it is taken to be in, where the script alone says so.
/// Those of several languages stand for the one with the most text: Cyrillic for Russian, Arabic for Arabic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Script {
    Latin,
    Cyrillic,
    Armenian,
    Hebrew,
    Arabic,
    Devanagari,
    Bengali,
    Gurmukhi,
    Gujarati,
    Oriya,
    Tamil,
    Telugu,
    Kannada,
    Malayalam,
    Sinhala,
    Thai,
    Lao,
    Tibetan,
    Myanmar,
    Georgian,
    Ethiopic,
    Khmer,
    Hangul,
    Han,
    Kana,
    Other,
}

/// As many as there are.
pub(super) const SCRIPTS: usize = Script::Other as usize + 1;

/// The script of a letter; `None` for other characters, and for letters that are signs in every script: Greek and
/// mathematical ones, modifiers, superscripts and subscripts, and the micro sign.
pub(super) fn script(c: char) -> Option<Script> {
    use Script::{
        Arabic, Armenian, Bengali, Cyrillic, Devanagari, Ethiopic, Georgian, Gujarati, Gurmukhi, Han, Hangul, Hebrew,
        Kana, Kannada, Khmer, Lao, Latin, Malayalam, Myanmar, Oriya, Other, Sinhala, Tamil, Telugu, Thai, Tibetan,
    };
    let block = match u32::from(c) {
        0x41..=0x5a | 0x61..=0x7a => return Some(Latin),
        0..=0xbf | 0x2b0..=0x3ff | 0x1d2c..=0x1d6a | 0x1d9b..=0x1dbf | 0x1f00..=0x214f | 0x2c7c..=0x2c7d => {
            return None;
        }
        0xa770 | 0xa7f2..=0xa7f9 | 0x1d400..=0x1d7ff => return None,
        0xc0..=0x2af | 0x1d00..=0x1d9a | 0x1e00..=0x1eff | 0x2c60..=0x2c7f | 0xa720..=0xa7ff | 0xff21..=0xff5a => Latin,
        0x400..=0x52f | 0x1c80..=0x1c8f | 0x2de0..=0x2dff | 0xa640..=0xa69f => Cyrillic,
        0x530..=0x58f => Armenian,
        0x590..=0x5ff => Hebrew,
        0x600..=0x6ff | 0x750..=0x77f | 0x8a0..=0x8ff | 0xfb50..=0xfdff | 0xfe70..=0xfeff => Arabic,
        0x900..=0x97f | 0xa8e0..=0xa8ff => Devanagari,
        0x980..=0x9ff => Bengali,
        0xa00..=0xa7f => Gurmukhi,
        0xa80..=0xaff => Gujarati,
        0xb00..=0xb7f => Oriya,
        0xb80..=0xbff => Tamil,
        0xc00..=0xc7f => Telugu,
        0xc80..=0xcff => Kannada,
        0xd00..=0xd7f => Malayalam,
        0xd80..=0xdff => Sinhala,
        0xe00..=0xe7f => Thai,
        0xe80..=0xeff => Lao,
        0xf00..=0xfff => Tibetan,
        0x1000..=0x109f => Myanmar,
        0x10a0..=0x10ff | 0x1c90..=0x1cbf | 0x2d00..=0x2d2f => Georgian,
        0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7ff => Hangul,
        0x1200..=0x139f | 0x2d80..=0x2ddf => Ethiopic,
        0x1780..=0x17ff => Khmer,
        0x3040..=0x30ff | 0x31f0..=0x31ff | 0xff66..=0xff9f => Kana,
        0x3005..=0x3007 | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x323af => Han,
        _ => Other,
    };
    c.is_alphabetic().then_some(block)
}

impl Script {
    /// The language (ISO 639-3) of a text in this script; `None` for those that several common languages use: Latin, and
    /// Han and Kana together.
    pub(super) fn language(self) -> Option<&'static str> {
        Some(match self {
            Self::Latin | Self::Han | Self::Kana | Self::Other => return None,
            Self::Cyrillic => "rus",
            Self::Armenian => "hye",
            Self::Hebrew => "heb",
            Self::Arabic => "ara",
            Self::Devanagari => "hin",
            Self::Bengali => "ben",
            Self::Gurmukhi => "pan",
            Self::Gujarati => "guj",
            Self::Oriya => "ori",
            Self::Tamil => "tam",
            Self::Telugu => "tel",
            Self::Kannada => "kan",
            Self::Malayalam => "mal",
            Self::Sinhala => "sin",
            Self::Thai => "tha",
            Self::Lao => "lao",
            Self::Tibetan => "bod",
            Self::Myanmar => "mya",
            Self::Georgian => "kat",
            Self::Ethiopic => "amh",
            Self::Khmer => "khm",
            Self::Hangul => "kor",
        })
    }

    /// Names by which a text speaks of this script's languages.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Cyrillic => &["russian", "ukrainian", "bulgarian", "serbian", "slavic", "cyrillic"],
            Self::Hebrew => &["hebrew"],
            Self::Arabic => &["arabic", "persian", "farsi", "urdu"],
            Self::Devanagari => &["sanskrit", "hindi", "marathi", "nepali", "devanagari"],
            Self::Bengali => &["bengali", "bangla"],
            Self::Tamil => &["tamil"],
            Self::Thai => &["thai"],
            Self::Hangul => &["korean", "hangul"],
            Self::Han => &["chinese", "mandarin", "cantonese", "japanese", "kanji"],
            Self::Kana => &["japanese", "hiragana", "katakana"],
            _ => &[],
        }
    }
}

/// Counts letters by script.
pub(super) fn count(text: &str) -> [usize; SCRIPTS] {
    let mut counts = [0; SCRIPTS];
    text.chars().filter_map(script).for_each(|script| counts[script as usize] += 1);
    counts
}

/// The script of most of the letters, and how many they are; Han and Kana count together.
pub(super) fn main(counts: &[usize; SCRIPTS]) -> Option<(Script, usize)> {
    ALL.into_iter()
        .filter(|script| *script != Script::Kana)
        .map(|script| (script, of(counts, script)))
        .filter(|(_, count)| *count > 0)
        .max_by_key(|(script, count)| (*count, std::cmp::Reverse(*script)))
}

/// How many letters are of a script; Japanese mixes Han with Kana.
pub(super) fn of(counts: &[usize; SCRIPTS], script: Script) -> usize {
    let kana = if script == Script::Han { counts[Script::Kana as usize] } else { 0 };
    counts[script as usize] + kana
}

const ALL: [Script; SCRIPTS] = {
    use Script::{
        Arabic, Armenian, Bengali, Cyrillic, Devanagari, Ethiopic, Georgian, Gujarati, Gurmukhi, Han, Hangul, Hebrew,
        Kana, Kannada, Khmer, Lao, Latin, Malayalam, Myanmar, Oriya, Other, Sinhala, Tamil, Telugu, Thai, Tibetan,
    };
    [
        Latin, Cyrillic, Armenian, Hebrew, Arabic, Devanagari, Bengali, Gurmukhi, Gujarati, Oriya, Tamil, Telugu,
        Kannada, Malayalam, Sinhala, Thai, Lao, Tibetan, Myanmar, Georgian, Ethiopic, Khmer, Hangul, Han, Kana, Other,
    ]
};

/// Letters of scripts that nothing led to: not that of most of the thinking (of the answer, without thinking), nor in the
/// question, nor of a language that is spoken of. Teachers that think in one language slip into another for a word, and
/// only the script gives that away. Latin never counts: units, names and code are in it everywhere.
pub(super) fn stray_letters(question: &str, thinking: &str, answer: &str) -> u32 {
    let texts = [thinking, answer];
    if texts.iter().all(|text| text.is_ascii()) {
        return 0;
    }
    let asked = count(question);
    let counts = texts.map(count);
    let most = counts.iter().find_map(main).map(|(script, _)| script);
    let stray = |script: Script| {
        let found: usize = counts.iter().map(|counts| counts[script as usize]).sum();
        let led_to = script == Script::Latin
            || of(&asked, script) > 0
            || most == Some(script)
            || script == Script::Kana && (most == Some(Script::Han) || of(&asked, Script::Han) > 0);
        if found == 0 || led_to || is_named(script, question) || texts.iter().any(|text| is_named(script, text)) {
            0
        } else {
            found as u32
        }
    };
    ALL.into_iter().map(stray).sum()
}

fn is_named(script: Script, text: &str) -> bool {
    let names = script.names();
    !names.is_empty() && {
        let text = text.to_ascii_lowercase();
        names.iter().any(|name| text.contains(name))
    }
}
