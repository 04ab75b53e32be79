//! Personal data and secrets, by the shapes that are rarely anything else. Maths is full of digits: numbers count only in
//! the forms that people write them in, and card numbers only with a right check digit.

use std::sync::LazyLock;

use regex::Regex;

/// A kind, a sign without which it cannot be there, and its pattern.
static PATTERNS: LazyLock<Vec<(&str, &str, Regex)>> = LazyLock::new(|| {
    [
        ("email", "@", r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b"),
        ("private_key", "-----BEGIN", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
        ("aws_key", "AKIA", r"\bAKIA[0-9A-Z]{16}\b"),
        ("github_token", "gh", r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
        ("hf_token", "hf_", r"\bhf_[A-Za-z0-9]{30,}\b"),
        ("api_key", "sk-", r"\bsk-[A-Za-z0-9_-]{20,}\b"),
        ("jwt", "eyJ", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
        ("phone", "-", r"(\+\d{1,3}[ -])?\(\d{3}\) \d{3}-\d{4}\b|\+\d{1,3}([ -]\d{2,4}){3,4}\b"),
        ("ip_address", ".", r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:/\d\d?)?\b"),
        ("card", " ", r"\b[3-6]\d{3} \d{4} \d{4} \d{4}\b"),
        ("card", "-", r"\b[3-6]\d{3}-\d{4}-\d{4}-\d{4}\b"),
    ]
    .into_iter()
    .filter_map(|(kind, sign, pattern)| Some((kind, sign, Regex::new(pattern).ok()?)))
    .collect()
});

/// Domains kept for examples (RFC 2606).
const EXAMPLE_DOMAINS: [&str; 4] = ["example.", "@domain.", "@test.", "@email."];
/// Addresses kept for examples (RFC 5737) and for private networks (RFC 1918), and those that stand for any machine.
const EXAMPLE_ADDRESSES: [&str; 9] =
    ["127.0.0.", "0.0.0.0", "255.255.", "192.0.2.", "198.51.100.", "203.0.113.", "192.168.", "172.16.", "10."];

/// The kinds in any of the texts, in order, separated by commas.
pub(super) fn kinds(texts: &[&str]) -> Option<String> {
    let mut kinds: Vec<&str> = Vec::new();
    for (kind, sign, pattern) in PATTERNS.iter() {
        let there = |text: &&str| {
            text.contains(sign)
                && pattern.find_iter(text).any(|found| match *kind {
                    "card" => luhn(found.as_str()),
                    "email" => !EXAMPLE_DOMAINS.iter().any(|example| found.as_str().contains(example)),
                    "ip_address" => !EXAMPLE_ADDRESSES.iter().any(|example| found.as_str().starts_with(example)),
                    _ => true,
                })
        };
        if kinds.last() != Some(kind) && texts.iter().any(there) {
            kinds.push(kind);
        }
    }
    (!kinds.is_empty()).then(|| kinds.join(","))
}

/// The check digit of card numbers (ISO/IEC 7812-1, annex B).
fn luhn(number: &str) -> bool {
    let digits = number.bytes().rev().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0'));
    let sum: u32 = digits.enumerate().map(|(i, d)| if i % 2 == 1 { d * 2 / 10 + d * 2 % 10 } else { d }).sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(PATTERNS.len(), 11);
    }
}
