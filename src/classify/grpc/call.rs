//! The protocol of a gRPC request or response, and the deadline of the caller.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::GrpcCode;
#[cfg(feature = "tonic")]
use crate::outcome::Failure;
use crate::outcome::{CallerDeadline, Outcome};

/// The data of a request that [`GrpcClassifier`](super::GrpcClassifier) needs.
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

    /// Returns the outcome of a call that the deadline of its caller ended. Returns `None` if the caller set
    /// no deadline or if the code is not `DeadlineExceeded`.
    pub(super) fn deadline_passed(self, code: GrpcCode) -> Option<Outcome> {
        let deadline = self.deadline.get()?;
        (code == GrpcCode::DeadlineExceeded).then_some(Outcome::deadline(deadline))
    }

    /// Returns the outcome of a timeout of the transport. The timeout counts as the deadline of the caller if
    /// the caller set a deadline.
    #[cfg(feature = "tonic")]
    pub(super) fn timer_fired(self) -> Outcome {
        self.deadline.get().map_or(Outcome::timeout(), |deadline| Failure::deadline(deadline).by_timer().into())
    }
}

/// Returns true for `application/grpc`, with or without a codec such as `+proto`. Returns false for
/// `application/grpc-web`.
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

/// Returns true for `application/grpc-web` and `application/grpc-web-text`, with or without a codec.
pub(crate) fn is_grpc_web(headers: &HeaderMap) -> bool {
    is_of_type(GRPC_WEB, headers) || is_of_type(GRPC_WEB_TEXT, headers)
}

/// Returns true if a response has a `content-type` that the response to a gRPC call can have. A missing type
/// counts as gRPC.
///
/// grpc-web counts as gRPC, because the client of tonic-web translates grpc-web below the breaker. That
/// client turns the end of the body into trailers, and does not change the head.
pub(super) fn is_grpc_answer(headers: &HeaderMap) -> bool {
    !headers.contains_key(CONTENT_TYPE) || is_grpc_message(headers) || is_grpc_web(headers)
}

/// Parses a `grpc-timeout`, which has at most eight digits and a unit. Any other value sets no deadline, as
/// in tonic.
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
