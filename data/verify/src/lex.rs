//! Cuts an answer into numbers, names, words and signs; LaTeX and Unicode spellings of one sign become that sign.

mod names;

pub(super) use names::GREEK;
use names::{KNOWN, NAMES, NOTHING, SIGNS, STYLES, WRAPPERS};

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Whether space stands before it.
    pub(super) spaced: bool,
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Digits with or without a point, an exponent and a repeating part.
    Number(Number),
    /// One letter, of any alphabet: a variable.
    Letter(String),
    /// Letters that are a word: a unit, a connective, prose.
    Word(String),
    /// A LaTeX command or the plain name of a function.
    Command(String),
    /// `\begin{…}` of a matrix, and its end.
    Begin,
    End,
    /// `\{` and `\}`.
    SetOpen,
    SetClose,
    /// `\\`.
    Row,
    /// Anything else that is one sign.
    Sign(char),
}

/// A number as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Number {
    /// Digits before and after the point, together.
    pub(super) digits: String,
    /// How many of them stand after the point; `None` if there is no point.
    pub(super) places: Option<u32>,
    /// Digits that repeat for ever after those.
    pub(super) repeating: String,
    /// The exponent of `1e5`.
    pub(super) exponent: i32,
}

/// Longer answers are compared as text only.
pub(super) const MOST_BYTES: usize = 4096;

/// How commas between digits are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commas {
    /// `1,234` is one number.
    Thousands,
    /// `1,234` is two.
    Lists,
}

struct Lexer<'a> {
    rest: &'a str,
    commas: Commas,
    tokens: Vec<Token>,
    spaced: bool,
    /// Open braces: whether each belongs to a text command.
    braces: Vec<Brace>,
    /// Open brackets other than braces.
    brackets: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Brace {
    Group,
    Style,
    Text,
}

/// The tokens of an answer; `None` if it is too long.
pub(super) fn tokens(answer: &str, commas: Commas) -> Option<Vec<Token>> {
    if answer.len() > MOST_BYTES {
        return None;
    }
    let mut lexer = Lexer { rest: answer, commas, tokens: Vec::new(), spaced: false, braces: Vec::new(), brackets: 0 };
    while let Some(c) = lexer.rest.chars().next() {
        lexer.next(c);
    }
    Some(lexer.tokens)
}

impl Lexer<'_> {
    fn push(&mut self, kind: Kind) {
        let spaced = std::mem::take(&mut self.spaced);
        self.tokens.push(Token { kind, spaced });
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn in_text(&self) -> bool {
        self.braces.last() == Some(&Brace::Text)
    }

    fn next(&mut self, c: char) {
        if c.is_ascii_digit() || (c == '.' && self.rest[1..].starts_with(|d: char| d.is_ascii_digit())) {
            return self.number();
        }
        if c.is_ascii_alphabetic() {
            return self.letters();
        }
        if c == '\\' {
            return self.command();
        }
        self.skip(c.len_utf8());
        match c {
            '{' => {
                self.braces.push(Brace::Group);
                self.push(Kind::Sign('{'));
            }
            '}' => {
                if matches!(self.braces.pop(), Some(Brace::Group) | None) {
                    self.push(Kind::Sign('}'));
                } else {
                    self.spaced = true;
                }
            }
            // Dollars are dropped: as a delimiter and as a currency.
            '$' | '`' | '€' | '£' => {}
            c if c.is_whitespace() || matches!(c, '~' | '\u{200b}') => self.spaced = true,
            '*' if self.rest.starts_with('*') => {
                self.skip(1);
                self.push(Kind::Sign('^'));
            }
            '(' | '[' => {
                self.brackets += 1;
                self.push(Kind::Sign(c));
            }
            ')' | ']' => {
                self.brackets = self.brackets.saturating_sub(1);
                self.push(Kind::Sign(c));
            }
            '<' | '>' | '!' if self.rest.starts_with('=') => {
                self.skip(1);
                self.push(Kind::Sign(match c {
                    '<' => '≤',
                    '>' => '≥',
                    _ => '≠',
                }));
            }
            c => self.unicode(c),
        }
    }

    fn unicode(&mut self, c: char) {
        let sign = match c {
            '\u{2212}' | '\u{2013}' | '\u{2014}' => '-',
            '×' | '·' | '⋅' | '∙' => '*',
            '÷' | '⁄' => '/',
            '⩽' => '≤',
            '⩾' => '≥',
            '：' => ':',
            '，' | '、' => ',',
            '（' => '(',
            '）' => ')',
            '；' => ';',
            '²' | '³' => {
                self.push(Kind::Sign('^'));
                let digits = if c == '²' { "2" } else { "3" };
                return self.push(Kind::Number(Number { digits: digits.into(), ..Number::default() }));
            }
            'π' => return self.push(Kind::Command("pi".into())),
            '∞' => return self.push(Kind::Command("infty".into())),
            '√' => return self.push(Kind::Command("sqrt".into())),
            '∅' => return self.push(Kind::Command("emptyset".into())),
            'ℝ' => return self.push(Kind::Command("R".into())),
            c if c.is_alphabetic() => return self.push(Kind::Letter(c.into())),
            c => c,
        };
        self.push(Kind::Sign(sign));
    }

    /// A run of letters: a name, a word, or variables side by side.
    fn letters(&mut self) {
        let length = self.rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let run = &self.rest[..length];
        self.skip(length);
        let lower = run.to_ascii_lowercase();
        let follows = self.tokens.last().is_some_and(|last| {
            matches!(last.kind, Kind::Number(_) | Kind::Word(_) | Kind::Sign('}' | ')' | '/' | '°'))
        });
        if NAMES.contains(&lower.as_str()) && !self.in_text() {
            self.push(Kind::Command(lower));
        } else if length > 1
            && (self.in_text() || length > 3 || super::unit::is_word(&lower) && (follows || length > 2))
            || self.in_text() && follows
            || matches!(lower.as_str(), "or" | "and")
        {
            self.push(Kind::Word(run.to_owned()));
        } else if let Some((name, last)) = ["sqrt", "pi"].iter().find_map(|n| Some((*n, run.strip_suffix(n)?))) {
            self.each_letter(last);
            self.push(Kind::Command(name.into()));
        } else {
            self.each_letter(run);
        }
    }

    fn each_letter(&mut self, run: &str) {
        for letter in run.chars() {
            self.push(Kind::Letter(letter.into()));
        }
    }

    fn command(&mut self) {
        let length = self.rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let name = &self.rest[1..=length];
        self.skip(1 + length);
        if name.is_empty() {
            return self.escaped();
        }
        if WRAPPERS.contains(&name) || STYLES.contains(&name) {
            let inner = self.rest.trim_start();
            if let Some(inner) = inner.strip_prefix('{') {
                self.rest = inner;
                self.braces.push(if WRAPPERS.contains(&name) { Brace::Text } else { Brace::Style });
                self.spaced |= WRAPPERS.contains(&name);
            }
            return;
        }
        if NOTHING.contains(&name) {
            // `\left.` draws nothing.
            if matches!(name, "left" | "right") && self.rest.starts_with('.') {
                self.skip(1);
            }
            self.spaced |= name.ends_with("quad");
            return;
        }
        if matches!(name, "begin" | "end") {
            let kind = if name == "begin" { Kind::Begin } else { Kind::End };
            let inner = self.rest.trim_start();
            if let Some((environment, rest)) = inner.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                self.rest = rest;
                // The columns of an array: `{cc}`.
                if environment == "array" && name == "begin" {
                    self.rest =
                        rest.trim_start().strip_prefix('{').and_then(|r| r.split_once('}')).map_or(rest, |r| r.1);
                }
            }
            return self.push(kind);
        }
        match name {
            "lbrace" => self.push(Kind::SetOpen),
            "rbrace" => self.push(Kind::SetClose),
            "land" | "wedge" => self.push(Kind::Word("and".into())),
            _ => match SIGNS.iter().find(|(command, _)| *command == name) {
                Some((_, sign)) => self.push(Kind::Sign(*sign)),
                None => self.run_together(name),
            },
        }
    }

    /// A command that swallowed the letters after it, as answer keys have it that lost their spaces: `\\pir`.
    fn run_together(&mut self, name: &str) {
        let greek = GREEK.iter().chain(["pi", "sin", "cos", "tan", "ln", "log"].iter());
        let nothing = ["quad", "qquad"];
        if let Some(rest) = nothing.iter().rev().find_map(|command| name.strip_prefix(command)) {
            self.spaced = true;
            return self.each_letter(rest);
        }
        let signs = SIGNS.iter().map(|(command, _)| command).filter(|command| command.len() > 1);
        let known = greek.chain(signs).filter(|command| name.starts_with(**command)).max_by_key(|c| c.len());
        let whole = KNOWN.contains(&name);
        let Some(known) = known.filter(|known| !whole && known.len() < name.len()) else {
            return self.push(Kind::Command(name.to_owned()));
        };
        match SIGNS.iter().find(|(command, _)| command == known) {
            Some((_, sign)) => self.push(Kind::Sign(*sign)),
            None => self.push(Kind::Command((*known).to_owned())),
        }
        self.each_letter(&name[known.len()..]);
    }

    /// A backslash before a sign.
    fn escaped(&mut self) {
        let Some(c) = self.rest.chars().next() else { return };
        self.skip(c.len_utf8());
        match c {
            '{' => self.push(Kind::SetOpen),
            '}' => self.push(Kind::SetClose),
            '\\' => self.push(Kind::Row),
            '%' => self.push(Kind::Sign('%')),
            '|' => self.push(Kind::Sign('|')),
            '_' | '&' | '#' => self.push(Kind::Sign('#')),
            // Thin spaces and the like, the currency, and the ends of a formula.
            _ => self.spaced |= !matches!(c, '!' | '$'),
        }
    }

    fn number(&mut self) {
        let mut number = Number::default();
        self.digits(&mut number.digits);
        self.grouped(&mut number.digits);
        if self.rest.starts_with('.') {
            let after = &self.rest[1..];
            if after.starts_with(|d: char| d.is_ascii_digit()) || after.starts_with("\\overline{") {
                self.skip(1);
                let whole = number.digits.len();
                self.digits(&mut number.digits);
                number.places = Some((number.digits.len() - whole) as u32);
                if let Some(inner) = self.rest.strip_prefix("\\overline{")
                    && let Some((digits, rest)) = inner.split_once('}')
                    && !digits.is_empty()
                    && digits.bytes().all(|b| b.is_ascii_digit())
                {
                    digits.clone_into(&mut number.repeating);
                    self.rest = rest;
                }
            }
        }
        if let Some(after) = self.rest.strip_prefix(['e', 'E']) {
            let digits = after.strip_prefix(['-', '+']).unwrap_or(after);
            let length = digits.bytes().take_while(u8::is_ascii_digit).count();
            let signed = &after[..after.len() - digits.len() + length];
            if (1..=6).contains(&length)
                && let Ok(exponent) = signed.trim_start_matches('+').parse()
            {
                number.exponent = exponent;
                self.rest = &after[signed.len()..];
            }
        }
        self.push(Kind::Number(number));
    }

    fn digits(&mut self, into: &mut String) {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        into.push_str(&self.rest[..length]);
        self.skip(length);
    }

    /// Groups of three digits after a comma or a thin space.
    fn grouped(&mut self, digits: &mut String) {
        const SEPARATORS: [&str; 6] = ["{,}", ",\\!", "\\,", "\\!", "\\ ", ","];
        if !(1..=3).contains(&digits.len()) {
            return;
        }
        loop {
            let Some(separator) = SEPARATORS.iter().find(|s| self.rest.starts_with(**s)) else { return };
            let plain = *separator == ",";
            if plain && (self.commas == Commas::Lists || self.brackets > 0) {
                return;
            }
            let group = self.rest[separator.len()..].trim_start_matches(if plain { '\0' } else { ' ' });
            let length = group.bytes().take_while(u8::is_ascii_digit).count();
            if length != 3 {
                return;
            }
            digits.push_str(&group[..3]);
            self.rest = &group[3..];
        }
    }
}
