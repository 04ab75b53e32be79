//! Times of day: `6:30 P.M.`, `18:30`.

/// A time of day as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    hour: u32,
    minute: u32,
    /// Whether it says P.M. or A.M.
    afternoon: Option<bool>,
}

/// Reads a plain answer that is a time and nothing else.
pub(super) fn time(plain: &str) -> Option<Time> {
    let lower = plain.to_ascii_lowercase().replace(['.', ' '], "");
    let (clock, afternoon) = match (lower.strip_suffix("pm"), lower.strip_suffix("am")) {
        (Some(clock), _) => (clock, Some(true)),
        (None, Some(clock)) => (clock, Some(false)),
        (None, None) => (lower.as_str(), None),
    };
    let (hour, minute) = match clock.split_once(':') {
        Some((hour, minute)) if minute.len() == 2 => (hour, minute),
        // "5 pm" is a time, "5" is not.
        None if afternoon.is_some() => (clock, "00"),
        _ => return None,
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    let time = Time { hour: number(hour)?, minute: number(minute)?, afternoon };
    let hours = if afternoon.is_some() { 1..=12 } else { 0..=24 };
    (hours.contains(&time.hour) && time.minute < 60 && hour.len() <= 2).then_some(time)
}

impl Time {
    /// The same time, as far as both say: `6:30` may be `6:30 P.M.`, and so is `18:30`.
    pub(super) fn is(self, other: Self) -> bool {
        if self.minute != other.minute {
            return false;
        }
        let hour = |time: Self| match time.afternoon {
            Some(afternoon) => time.hour % 12 + if afternoon { 12 } else { 0 },
            None => time.hour,
        };
        match (self.afternoon, other.afternoon) {
            (Some(_), None) | (None, Some(_)) => self.hour == other.hour || hour(self) == hour(other),
            _ => hour(self) == hour(other),
        }
    }

    /// Whether both may as well be ratios, and equal ones.
    pub(super) fn is_ratio_of(self, other: Self) -> bool {
        let bare = self.afternoon.is_none() && other.afternoon.is_none();
        bare && self.hour * other.minute == self.minute * other.hour
    }
}
