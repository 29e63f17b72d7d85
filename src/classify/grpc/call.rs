//! The part of a gRPC request and response that says which protocol it is, and the deadline of the caller.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::GrpcCode;
#[cfg(feature = "tonic")]
use crate::outcome::Failure;
use crate::outcome::{CallerDeadline, Outcome};

/// The data of a request that [`GrpcClassifier`](super::GrpcClassifier) needs: its protocol and the deadline of its caller.
#[derive(Debug, Clone, Copy)]
pub struct GrpcCall {
    /// True if the request was gRPC.
    pub(super) is_grpc: bool,
    deadline: CallerDeadline,
}

impl GrpcCall {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let deadline = headers.get(TIMEOUT).and_then(timeout_of).map_or(CallerDeadline::NONE, CallerDeadline::new);
        Self { is_grpc: is_grpc_message(headers), deadline }
    }

    /// Returns the outcome of a call that the deadline of its caller ended, if the caller set one and the code says so.
    pub(super) fn deadline_passed(self, code: GrpcCode) -> Option<Outcome> {
        let deadline = self.deadline.get()?;
        (code == GrpcCode::DeadlineExceeded).then_some(Outcome::deadline(deadline))
    }

    /// Returns the outcome of a timeout of the transport, which is the caller's or that of the stack's owner.
    #[cfg(feature = "tonic")]
    pub(super) fn timer_fired(self) -> Outcome {
        self.deadline.get().map_or(Outcome::timeout(), |deadline| Failure::deadline(deadline).by_timer().into())
    }
}

/// Returns true for `application/grpc`, also with a codec such as `+proto`. `application/grpc-web` is another type.
pub(crate) fn is_grpc_message(headers: &HeaderMap) -> bool {
    is_of_type(GRPC, headers)
}

fn is_of_type(name: &[u8], headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content_type.and_then(|value| {
        let (start, rest) = value.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some(rest)
    });
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Returns true for `application/grpc-web` and `application/grpc-web-text`, also with a codec.
pub(crate) fn is_grpc_web(headers: &HeaderMap) -> bool {
    is_of_type(GRPC_WEB, headers) || is_of_type(GRPC_WEB_TEXT, headers)
}

/// Returns true if the response to a gRPC call has the type of one.
///
/// grpc-web counts as well. tonic-web's client, for example, translates grpc-web below the breaker: it turns the end of
/// the body into trailers, and does not change the head.
pub(super) fn is_grpc_answer(headers: &HeaderMap) -> bool {
    !headers.contains_key(CONTENT_TYPE) || is_grpc_message(headers) || is_grpc_web(headers)
}

/// Parses a `grpc-timeout`: at most eight digits and a unit. Any other value sets no deadline, as in tonic.
fn timeout_of(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3_600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

const TIMEOUT: &str = "grpc-timeout";

const GRPC: &[u8] = b"application/grpc";
const GRPC_WEB: &[u8] = b"application/grpc-web";
const GRPC_WEB_TEXT: &[u8] = b"application/grpc-web-text";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_of_the_caller_is_parsed_as_the_protocol_says() {
        for (value, expected) in [
            ("0m", Some(Duration::ZERO)),
            ("1m", Some(Duration::from_millis(1))),
            ("250u", Some(Duration::from_micros(250))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("2S", Some(Duration::from_secs(2))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("100000000n", None),
            ("m", None),
            ("", None),
            ("5", None),
            ("5s", None),
            ("-5m", None),
            ("+5m", None),
            ("5 m", None),
        ] {
            assert_eq!(timeout_of(&HeaderValue::from_static(value)), expected, "{value:?}");
        }
    }
}
