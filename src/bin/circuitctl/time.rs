//! Parses and formats durations and times for people. Dates are in UTC.
//!
//! The module needs no date crate, because the conversion of dates is short.

use std::str::FromStr;
use std::time::Duration;

use crate::calendar::{TO_1970, civil};
use tower_circuit_breaker::record::Timestamp;

/// Parses a duration such as `90s`, `10m`, `1h30m` or `250 ms`. A number without a unit is an error.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "expected a number with a unit, such as 90s, 10m, 2h or 1d".to_owned())
}

fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    let mut before = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let behind = behind.trim_start();
        let (unit, behind) = behind.split_at(behind.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(behind.len()));
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        // Each unit may occur once, and the units must be in descending order, because `10s 2h` is probably a typing
        // error.
        if millis >= before {
            return None;
        }
        before = millis;
        sum = sum.checked_add(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))?;
        rest = behind.trim_start();
    }
    Some(sum)
}

/// The time of the oldest audit rows to show, as a duration before now or as a time.
#[derive(Clone, Copy)]
pub(crate) enum Since {
    Ago(Duration),
    At(Timestamp),
}

impl Since {
    /// Converts the value to a time. `now` is the present time on the clock of the store.
    pub(crate) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.saturating_sub(ago),
            Self::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let at = || text.parse().ok().map(Timestamp::from_millis).or_else(|| date(text)).map(Self::At);
        let ago = || duration(text).ok().map(Self::Ago);
        ago().or_else(at).ok_or_else(|| "expected a time such as 2h, 2026-11-21 or 2026-11-21T07:30".to_owned())
    }
}

/// Parses a date with an optional time in UTC, such as `2026-11-21`, `2026-11-21T07:30` or `2026-11-21 07:30:05Z`.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "0:0:0"));
    let mut day = day.split('-').map(str::parse::<u64>);
    let (year, month, of_month) = (day.next()?.ok()?, day.next()?.ok()?, day.next()?.ok()?);
    let mut time = time.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next().unwrap_or(Ok(0)).ok()?);
    let within = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&of_month);
    if day.next().is_some() || time.next().is_some() || !within || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_of(year, month, of_month);
    // `days_of` converts the 31st of April to the number of the 1st of May. `civil` converts the number back to a date.
    // If the two dates differ, the given date does not exist.
    let exists = civil(days) == (year, month, of_month);
    exists.then(|| Timestamp::from_millis((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000))
}

/// Writes `2026-11-21 07:30:05`.
pub(crate) fn utc(time: Timestamp) -> String {
    crate::calendar::utc(time.as_millis() / 1_000)
}

/// Formats a duration with at most two units, such as `480 ms`, `42 s`, `9 m 58 s`, `3 h 12 m` or `2 d 4 h`.
pub(crate) fn brief(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, of: &str, small: u64, in_it: &str| match small {
        0 => format!("{large} {of}"),
        small => format!("{large} {of} {small} {in_it}"),
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "m"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// Returns the number of days from 1970-01-01 to a date in the Gregorian calendar. The years in the computation begin
/// in March, so that a leap day is the last day of a year (Hinnant, `days_from_civil`).
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units_the_largest_first() {
        for (text, millis) in [
            ("90s", 90_000),
            ("10m", 600_000),
            ("10 min", 600_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            ("1 h 30 m", 5_400_000),
            ("250ms", 250),
            (" 1d ", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        let too_many = format!("{}d", u64::MAX);
        for text in ["", "5", "s", "-5s", "5 S", "1.5h", "30m1h", "5s5s", "0s", "10 parsecs", "5s5", "é", &too_many] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_written_date_is_parsed_and_an_impossible_date_is_refused() {
        for (text, written) in [
            ("2026-11-21", "2026-11-21 00:00:00"),
            ("2026-11-21T07:30", "2026-11-21 07:30:00"),
            ("2024-02-29 23:59:59Z", "2024-02-29 23:59:59"),
            ("1970-01-01", "1970-01-01 00:00:00"),
            ("9999-12-31", "9999-12-31 00:00:00"),
        ] {
            assert_eq!(date(text).map(utc).as_deref(), Some(written), "{text}");
        }
        assert_eq!(utc(Timestamp::from_millis(1_790_000_000_123)), "2026-09-21 14:13:20");
        for text in ["2023-02-29", "2026-04-31", "2026-13-01", "2026-11-21T24:00", "2026-11", "now", "", "0000-01-01"] {
            assert_eq!(date(text), None, "{text}");
        }
        assert!(!utc(Timestamp::from_millis(u64::MAX)).is_empty(), "an impossible time in a store causes no panic");
    }

    #[test]
    fn a_duration_is_written_in_two_units() {
        for (millis, text) in
            [(480, "480 ms"), (42_900, "42 s"), (598_000, "9 m 58 s"), (3_600_000, "1 h"), (187_200_000, "2 d 4 h")]
        {
            assert_eq!(brief(Duration::from_millis(millis)), text);
        }
    }
}
