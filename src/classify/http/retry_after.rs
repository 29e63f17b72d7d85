//! The parser of the header `Retry-After`. The parser limits the delay, so that a server cannot make the circuit reject
//! calls for years.

use std::time::Duration;
use std::time::SystemTime;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use crate::clock::{Clock, MonotonicClock};
use crate::outcome::Outcome;

/// Adds the delay of the header to a failure without a delay. If `trips` is true and the delay of the header is above
/// zero, the failure also opens the circuit at once. Returns a success or an ignored outcome unchanged.
pub(in super::super) fn after_delay(
    outcome: Outcome,
    trips: bool,
    delay: impl FnOnce() -> Option<Duration>,
) -> Outcome {
    match outcome {
        Outcome::Failure(failure) if trips || failure.retry_after().is_none() => {
            let Some(delay) = delay() else { return failure.into() };
            let failure = failure.with_retry_after(failure.retry_after().unwrap_or(delay));
            // A delay of zero does not open the circuit, because the caller may retry immediately.
            if trips && !delay.is_zero() { failure.trips_at_once().into() } else { failure.into() }
        }
        outcome @ (Outcome::Success | Outcome::Failure(_) | Outcome::Ignored) => outcome,
    }
}

/// Returns the delay that the service asks for, but at most 5 minutes. If there are several delays, the longest delay
/// counts. Returns `None` if there is no valid delay.
pub(in super::super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(RETRY_AFTER).iter();
    let longest = values.filter_map(|value| delay(value.to_str().ok()?.trim(), headers)).max()?;
    Some(longest.min(LONGEST))
}

fn delay(value: &str, headers: &HeaderMap) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // `parse` fails only if the number does not fit into 64 bits. Such a number exceeds the limit.
        return Some(value.parse().map_or(LONGEST, Duration::from_secs));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let left = until.duration_since(sent(headers)).ok()?;
    // A date that is not in the future gives no delay, because a delay of 0 would replace the longer delay of an
    // earlier response.
    (!left.is_zero()).then_some(left)
}

/// Returns the time when the response was sent, which is the `Date` header. Without a valid `Date`, returns the time of
/// the local wall clock.
fn sent(headers: &HeaderMap) -> SystemTime {
    let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    date.unwrap_or_else(|| MonotonicClock::new().wall())
}

/// The longest delay that the parser returns. The circuit has the same limit, but the parser must apply the limit
/// first, because a later sum of durations could overflow.
const LONGEST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str], date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RETRY_AFTER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_str(date).unwrap());
        }
        retry_after(&headers).map(|after| after.as_secs())
    }

    #[test]
    fn seconds_are_digits_and_nothing_else() {
        for (value, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("300", Some(300)),
            ("301", Some(300)),
            ("18446744073709551615", Some(300)),
            ("99999999999999999999999999999999", Some(300)),
            ("-1", None),
            ("+7", None),
            ("7s", None),
            ("7.5", None),
            ("7, 9", None),
            ("", None),
            ("soon", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(read(&[value], None), expected, "{value:?}");
        }
    }

    #[test]
    fn a_date_is_compared_with_the_date_of_the_response() {
        let sent = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (value, expected) in [
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun Nov  6 08:50:07 1994", Some(30)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(300)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:00 GMT", None),
            ("Sun, 06 Nov 1994 25:61:61 GMT", None),
        ] {
            assert_eq!(read(&[value], sent), expected, "{value:?}");
        }
    }

    #[test]
    fn without_a_date_of_the_response_the_wall_clock_decides() {
        let now = MonotonicClock::new().wall();
        let soon = httpdate::fmt_http_date(now + Duration::from_secs(120));
        for date in [None, Some("yesterday")] {
            let left = read(&[&soon], date).unwrap();
            assert!((110..=120).contains(&left), "{left} s are left, by the date {date:?}");
        }
        assert_eq!(read(&[&httpdate::fmt_http_date(now - Duration::from_secs(120))], None), None);
    }

    proptest::proptest! {
        #[test]
        fn any_retry_after_is_parsed_without_panic_and_at_most_five_minutes(
            value in "[ -~]{0,40}|[0-9]{1,40}|[A-Z][a-z]{2,8}, [0-9]{2}[ -][JFMASOND][a-z]{2}[ -][0-9]{2,4} [0-9:]{8} GMT",
            date in "[A-Z][a-z]{2}, [0-9]{2} [JFMASOND][a-z]{2} [0-9]{4} [0-9:]{8} GMT",
        ) {
            for date in [None, Some(date.as_str()), Some(value.as_str())] {
                let after = read(&[&value], date);
                proptest::prop_assert!(after.is_none_or(|after| after <= 300), "{after:?}");
            }
        }
    }

    #[test]
    fn of_several_values_the_longest_that_can_be_read_counts() {
        assert_eq!(read(&["5", "20", "-1", "later"], None), Some(20));
    }
}
