//! Converts seconds since 1970 to dates and times in UTC for people.
//!
//! Logs, records and rejections show such times. The program `circuitctl` compiles this file too.

/// Formats a time in UTC, such as `2026-11-21 07:30:05`. `seconds` is the number of seconds since the beginning of
/// 1970.
pub(crate) fn utc(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Returns the year, month and day in the Gregorian calendar for a number of days since 1970-01-01. The years of the
/// algorithm begin in March, so that a leap day is the last day of a year (Hinnant, `civil_from_days`).
pub(crate) const fn civil(days: u64) -> (u64, u64, u64) {
    // The sum cannot overflow, because no caller has a time of more than `u64::MAX` seconds, which are fewer than 2^48
    // days.
    let days = days + TO_1970;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// The number of days from 1 March of the year 0 to 1 January 1970. The algorithm counts days from the first of these
/// two dates.
pub(crate) const TO_1970: u64 = 719_468;
