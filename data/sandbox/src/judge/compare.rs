//! Is this output the expected one? As LiveCodeBench compares (arXiv 2403.07974): blanks around lines and around the
//! whole do not count, the number of lines does; each line must be equal, or be the same decimal numbers.

/// Characters of a line that are shown.
const SHOWN: usize = 80;

/// Compares; the error says which line differs.
pub(super) fn compare(expected: &str, found: &str) -> Result<(), String> {
    let (expected, found) = (expected.trim(), found.trim());
    let (expected_lines, found_lines) = (expected.lines().count(), found.lines().count());
    for (number, (want, have)) in (1..).zip(expected.lines().zip(found.lines())) {
        let (want, have) = (want.trim(), have.trim());
        if want != have && !same_numbers(want, have) {
            return Err(format!("line {number} is {:?}; expected {:?}", shown(have), shown(want)));
        }
    }
    if expected_lines != found_lines {
        return Err(format!("{found_lines} lines; expected {expected_lines}"));
    }
    Ok(())
}

fn shown(line: &str) -> String {
    line.chars().take(SHOWN).collect()
}

/// Both lines hold nothing but numbers, one by one the same.
fn same_numbers(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split_whitespace(), b.split_whitespace());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if Decimal::read(a).is_some_and(|a| Some(a) == Decimal::read(b)) => {}
            _ => return false,
        }
    }
}

/// A decimal number, exactly: digits without zeros at either end, and the power of ten of the last one.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn read(text: &str) -> Option<Self> {
        let (negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all = [whole, fraction].concat();
        if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_end_matches('0');
        let exponent = i64::from(exponent) - fraction.len() as i64 + (all.len() - digits.len()) as i64;
        let digits = digits.trim_start_matches('0');
        let is_zero = digits.is_empty();
        Some(Self {
            negative: negative && !is_zero,
            digits: digits.to_owned(),
            exponent: if is_zero { 0 } else { exponent },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outputs() {
        for (expected, found) in [
            ("1\n2\n", "  1 \n2"),
            ("", "\n \n"),
            ("a\n\nb", "a\n  \nb"),
            ("1.0 2", "1 2.000"),
            ("1000", "1e3"),
            ("0", "-0.0"),
            ("0.5", ".5"),
            ("3  4", "3 4"),
            ("12\r\n13", "12\n13"),
        ] {
            assert_eq!(compare(expected, found), Ok(()), "{expected:?} {found:?}");
        }
    }

    #[test]
    fn different_outputs() {
        for (expected, found) in [
            ("1\n2", "1"),
            ("1", "1\n2"),
            ("1\n2", ""),
            ("a b", "a  b"),
            ("a\nb", "a\n\nb"),
            ("1.0", "1.0000001"),
            ("1 2", "1 2 3"),
            ("100", "10"),
            ("0.1", "1"),
            ("YES", "yes"),
            ("nan", "NaN"),
            ("1e99999999999", "2e99999999999"),
            ("-1", "1"),
            ("1", "1,"),
        ] {
            assert!(compare(expected, found).is_err(), "{expected:?} {found:?}");
        }
        assert_eq!(compare("1\n2", "1\n3").unwrap_err(), "line 2 is \"3\"; expected \"2\"");
    }
}
