//! Numbers as exact fractions, and where they stand in a text.

use std::ops::Range;

/// Words that make a number another one; they are no units.
const SCALES: [&str; 8] = ["dozen", "hundred", "thousand", "million", "billion", "trillion", "or", "and"];
/// What stands between groups of three digits.
const THOUSANDS: [&str; 4] = [",", "{,}", ",\\!", "\\,"];
/// More words than that after a number are a sentence, not a unit.
const MOST_UNIT_WORDS: usize = 4;

/// A number with what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quantity {
    value: Fraction,
    percent: bool,
    unit: String,
    /// The `x` of `x = 18`.
    name: Option<char>,
}

/// A fraction in lowest terms with a positive denominator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fraction {
    numerator: i128,
    denominator: i128,
}

impl Fraction {
    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        let divisor = i128::try_from(greatest_common_divisor(numerator.unsigned_abs(), denominator.unsigned_abs()));
        let divisor = divisor.ok()?.checked_mul(denominator.signum())?;
        Some(Self { numerator: numerator.checked_div(divisor)?, denominator: denominator.checked_div(divisor)? })
    }

    fn plus(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(left.checked_add(right)?, self.denominator.checked_mul(other.denominator)?)
    }

    fn divided_by(self, other: Self) -> Option<Self> {
        let numerator = self.numerator.checked_mul(other.denominator)?;
        Self::new(numerator, self.denominator.checked_mul(other.numerator)?)
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

impl Quantity {
    /// Equal values; units and names must not contradict each other. 45% equals 45 as well as 0.45, because gold answers drop
    /// the sign as often as they convert it.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let units = self.unit.is_empty() || other.unit.is_empty() || self.unit == other.unit;
        let names = self.name.is_none() || other.name.is_none() || self.name == other.name;
        units && names && (self.value == other.value || self.is_percentage_of(other) || other.is_percentage_of(self))
    }

    /// Whether it is nothing but a whole number, so that no rule but equality applies to it.
    pub(super) fn is_integer(&self) -> bool {
        self.value.denominator == 1 && !self.percent && self.unit.is_empty() && self.name.is_none()
    }

    fn is_percentage_of(&self, other: &Self) -> bool {
        let hundred = Fraction { numerator: 100, denominator: 1 };
        self.percent && !other.percent && self.value.divided_by(hundred) == Some(other.value)
    }
}

/// Reads plain text that is a number and nothing but a unit or an `x =` around it. `None` also for numbers too large
/// for exact arithmetic: those are compared as text.
pub(super) fn quantity(plain: &str) -> Option<Quantity> {
    let (name, text) = named(plain.trim());
    let (negative, text) = match text.strip_prefix("- ") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let number = scan(text, 0)?;
    let mut rest = &text[number.end..];
    let percent = rest.trim_start().starts_with('%');
    if percent {
        rest = rest.trim_start().strip_prefix('%')?;
    }
    if !rest.is_empty() && !rest.starts_with(' ') && !percent {
        return None;
    }
    let words: Vec<String> = rest.split_whitespace().take(MOST_UNIT_WORDS + 1).map(str::to_lowercase).collect();
    if words.len() > MOST_UNIT_WORDS || !words.iter().all(|word| is_unit(word)) {
        return None;
    }
    let mut value = value(&text[number])?;
    if negative {
        value.numerator = value.numerator.checked_neg()?;
    }
    Some(Quantity { value, percent, unit: words.join(" "), name })
}

/// Takes the `x =` off.
fn named(text: &str) -> (Option<char>, &str) {
    if let Some((name, value)) = text.split_once('=')
        && let [letter] = name.trim().as_bytes()
        && letter.is_ascii_alphabetic()
    {
        return (Some(char::from(*letter)), value.trim_start());
    }
    (None, text)
}

/// Words like `apples`, `kg/year` and `inches^2`.
fn is_unit(word: &str) -> bool {
    let base = word.strip_suffix("^2").or_else(|| word.strip_suffix("^3")).unwrap_or(word);
    // One or two letters are variables unless they are a unit.
    let long = base.len() > 2 || super::unit::is_symbol(base);
    long && base.chars().all(|c| c.is_alphabetic() || c == '/') && !SCALES.contains(&base)
}

/// The value of a number that [`scan`] found.
fn value(number: &str) -> Option<Fraction> {
    let (negative, digits) = match number.trim_start_matches('$').strip_prefix(['-', '+']) {
        Some(rest) => (number.trim_start_matches('$').starts_with('-'), rest.trim_start_matches([' ', '$'])),
        None => (false, number.trim_start_matches('$')),
    };
    let magnitude = if let Some((whole, arguments)) = digits.split_once("\\frac{") {
        let (numerator, denominator) = arguments.strip_suffix('}')?.split_once("}{")?;
        decimal(whole)?.plus(decimal(numerator)?.divided_by(decimal(denominator)?)?)?
    } else if let Some((numerator, denominator)) = digits.split_once('/') {
        decimal(numerator)?.divided_by(decimal(denominator)?)?
    } else {
        decimal(digits)?
    };
    let sign = if negative { -1 } else { 1 };
    Some(Fraction { numerator: magnitude.numerator.checked_mul(sign)?, ..magnitude })
}

/// A decimal number, with or without sign and thousands commas, as a fraction.
fn decimal(text: &str) -> Option<Fraction> {
    let text = text.trim();
    let negative = text.starts_with('-');
    let (whole, decimals) = text.trim_start_matches(['-', '+']).split_once('.').unwrap_or((text, ""));
    let decimals = decimals.trim_end_matches('0');
    let mut numerator: i128 = 0;
    let mut denominator: i128 = 1;
    for byte in whole.bytes().filter(|b| !matches!(b, b',' | b'-' | b'+' | b'{' | b'}' | b'\\' | b'!')) {
        numerator = numerator.checked_mul(10)?.checked_add(digit(byte)?)?;
    }
    for byte in decimals.bytes() {
        numerator = numerator.checked_mul(10)?.checked_add(digit(byte)?)?;
        denominator = denominator.checked_mul(10)?;
    }
    Fraction::new(if negative { numerator.checked_neg()? } else { numerator }, denominator)
}

fn digit(byte: u8) -> Option<i128> {
    byte.is_ascii_digit().then(|| i128::from(byte - b'0'))
}

/// The place of the last number in a text.
pub(super) fn last(text: &str) -> Option<Range<usize>> {
    numbers(text).last()
}

/// The place of the first number in a text.
pub(super) fn first(text: &str) -> Option<Range<usize>> {
    numbers(text).next()
}

/// The places of all numbers, from left to right, in one pass.
fn numbers(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let before = at.checked_sub(1).map(|i| bytes[i]);
            // Digits inside a word (x2, H2O, 0x1f) are no numbers; a minus after an operand subtracts.
            let inside_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
            let subtracts = matches!(bytes[at], b'-' | b'+') && before.is_some_and(|b| matches!(b, b')' | b'}' | b']'));
            if text.is_char_boundary(at)
                && !inside_word
                && !subtracts
                && let Some(number) = scan(text, at)
            {
                at = number.end;
                return Some(number);
            }
            at += 1;
        }
        None
    })
}

/// The number that starts exactly at a byte: `[$] [-+] [$] (decimal [/ decimal] | [digits] \frac{decimal}{decimal})`.
/// Looks ahead no further than the number goes.
fn scan(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let is = |at: usize, wanted: u8| bytes.get(at) == Some(&wanted);
    let mut at = start;
    at += usize::from(is(at, b'$'));
    at += sign_len(bytes, at);
    at += usize::from(is(at, b'$'));
    if let Some(fraction) = latex_fraction(text, at) {
        return Some(start..fraction);
    }
    let mut end = unsigned_decimal(bytes, at)?;
    // A whole number before a fraction is a mixed number: 1\frac{4}{5}.
    if bytes[at..end].iter().all(u8::is_ascii_digit)
        && let Some(fraction) = latex_fraction(text, end + usize::from(is(end, b' ')))
    {
        end = fraction;
    } else if is(end, b'/')
        && let Some(denominator) = unsigned_decimal(bytes, end + 1)
        && !is(denominator, b'/')
    {
        end = denominator;
    }
    Some(start..end)
}

/// The bytes of a sign: ASCII, or the minus of typesetters.
fn sign_len(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(b'-' | b'+') => 1,
        Some(_) if bytes[at..].starts_with("\u{2212}".as_bytes()) => "\u{2212}".len(),
        _ => 0,
    }
}

/// The end of a decimal number with thousands commas: at least one digit, a point only with digits after it.
fn unsigned_decimal(bytes: &[u8], start: usize) -> Option<usize> {
    let digits = |at: usize| at + bytes[at.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(start);
    if (1..=3).contains(&(end - start)) {
        while let Some(group) = THOUSANDS.iter().find_map(|separator| {
            let group = end + separator.len();
            (bytes[end..].starts_with(separator.as_bytes()) && digits(group) == group + 3).then_some(group)
        }) {
            end = group + 3;
        }
    }
    let decimals = if bytes.get(end) == Some(&b'.') { digits(end + 1) } else { end };
    if decimals > end + 1 {
        end = decimals;
    }
    (end > start).then_some(end)
}

/// The end of a `\frac{a}{b}` (or `\dfrac`, `\tfrac`) of two decimal numbers.
fn latex_fraction(text: &str, start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let after = ["\\frac{", "\\dfrac{", "\\tfrac{"].iter().find_map(|name| rest.strip_prefix(name))?;
    let bytes = text.as_bytes();
    let signed = |at: usize| unsigned_decimal(bytes, at + sign_len(bytes, at));
    let numerator = signed(text.len() - after.len())?;
    if bytes.get(numerator..numerator + 2)? != b"}{" {
        return None;
    }
    let denominator = signed(numerator + 2)?;
    (bytes.get(denominator) == Some(&b'}')).then_some(denominator + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_text_are_found() {
        for (text, expected) in [
            ("a 1,234 b", "1,234"),
            ("x = -3.5.", "-3.5"),
            ("one half, 1/2", "1/2"),
            ("costs $12.", "$12"),
            ("gains 45%", "45"),
            ("so \\frac{1}{2}", "\\frac{1}{2}"),
            ("so -\\dfrac{-11}{2.5}", "-\\dfrac{-11}{2.5}"),
            ("so \\frac{x}{2}", "2"),
            ("1, 2, 3", "3"),
            ("1,2345", "2345"),
            ("10-4", "4"),
            ("n-4 is 7, x2", "7"),
            ("7. ", "7"),
            (".5", ".5"),
            ("共有18个", "18"),
            ("得\u{2212}3。", "\u{2212}3"),
        ] {
            assert_eq!(last(text).map(|r| &text[r]), Some(expected), "{text}");
        }
        for text in ["", "x2", "H2O", "-", "$", "/", "\\frac{}{}"] {
            assert_eq!(last(text), None, "{text}");
        }
        assert_eq!(first("a 1 b 2"), Some(2..3));
    }

    #[test]
    fn arithmetic_is_exact_and_overflow_is_no_number() {
        let value_of = |text: &str| quantity(text).map(|q| (q.value.numerator, q.value.denominator));
        assert_eq!(value_of("0.1"), Some((1, 10)));
        assert_eq!(value_of("-2.50"), Some((-5, 2)));
        assert_eq!(value_of("\\frac{-3}{-6}"), Some((1, 2)));
        assert_eq!(value_of("-6/4"), Some((-3, 2)));
        assert_eq!(value_of("170141183460469231731687303715884105727"), Some((i128::MAX, 1)));
        assert_eq!(value_of("170141183460469231731687303715884105728"), None);
        assert_eq!(value_of("1/0"), None);
        assert_eq!(value_of("- 7"), Some((-7, 1)));
        assert_eq!(value_of("137 \\frac{1}{2}"), Some((275, 2)));
        assert_eq!(value_of("-1\\frac{4}{5}"), Some((-9, 5)));
        assert_eq!(value_of("864 inches^2"), Some((864, 1)));
        for text in ["3x", "1 2", "5 million", "1 or 2", "3 + 4", "", "one", "12:30", "x = y", "2/3/4"] {
            assert_eq!(value_of(text), None, "{text}");
        }
    }
}
