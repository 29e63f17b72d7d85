//! The request data that the gRPC classifier needs. The `content-type` shows if the request is gRPC, and `grpc-timeout`
//! contains the deadline of the caller.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::GrpcCode;
use crate::outcome::{CallerDeadline, Failure, Outcome};

/// The request data that [`GrpcClassifier`](super::GrpcClassifier) needs.
#[derive(Debug, Clone, Copy)]
pub struct GrpcCall {
    /// True if the request was gRPC.
    pub(super) is_grpc: bool,
    deadline: CallerDeadline,
}

impl GrpcCall {
    /// The data of a call whose request is not known.
    pub(super) const UNKNOWN: Self = Self { is_grpc: false, deadline: CallerDeadline::NONE };

    pub(super) fn of(headers: &HeaderMap) -> Self {
        let deadline = headers.get(TIMEOUT).and_then(timeout_of).map_or(CallerDeadline::NONE, CallerDeadline::new);
        Self { is_grpc: is_grpc_message(headers), deadline }
    }

    /// Returns true if the caller set a deadline.
    pub(super) fn has_deadline(self) -> bool {
        self.deadline.get().is_some()
    }

    /// Returns the outcome of a call that ended with this status code. The function `message` returns the message of
    /// the status.
    ///
    /// tonic's server answers CANCELLED when the `grpc-timeout` of a call or the timeout of the server has passed, and
    /// mentions the timeout only in the message. Other servers cancel without a message. Then only the duration of the
    /// call shows that the deadline was the cause.
    pub(super) fn meaning<'a>(self, code: GrpcCode, message: impl FnOnce() -> &'a [u8]) -> Outcome {
        match (code, self.deadline.get()) {
            (GrpcCode::DeadlineExceeded, _) => self.time_is_over(),
            (GrpcCode::Cancelled, _) if TIMER_OF_TONIC.contains(&message()) => self.time_is_over(),
            (GrpcCode::Cancelled, Some(deadline)) => Failure::cancelled_by(deadline).into(),
            _ => code.outcome(),
        }
    }

    /// Returns the outcome of a call that took too long. If the caller set a deadline, the outcome is an exceeded
    /// deadline, which weighs in proportion to the wait. Otherwise the outcome is a timeout.
    pub(super) fn time_is_over(self) -> Outcome {
        self.deadline.get().map_or(Outcome::timeout(), Outcome::deadline)
    }

    /// Returns the outcome of a call whose stream the server cancelled. The outcome is `outcome`, unless the call
    /// lasted about as long as the deadline of the caller, or longer. In that case the server probably cancelled the
    /// stream because the deadline had passed, and the outcome is an exceeded deadline.
    pub(super) fn broken_off(self, outcome: Outcome) -> Outcome {
        match (outcome, self.deadline.get()) {
            (Outcome::Failure(failure), Some(deadline)) => failure.or_deadline(deadline).into(),
            (outcome, _) => outcome,
        }
    }

    /// Returns the outcome of a call that ended by a timeout of the transport. If the caller set a deadline, the
    /// outcome is an exceeded deadline, unless the call ended clearly earlier than the deadline. In this case, and
    /// without a deadline, the outcome is a timeout.
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

/// Returns true if the `content-type` of a response can belong to a gRPC call. A missing `content-type` counts as gRPC.
///
/// grpc-web counts as gRPC, because the client of tonic-web translates grpc-web to gRPC below the breaker. The client
/// translates only the body and keeps the `content-type` of the response.
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
/// The message of tonic's server for a call that took too long, as plain text and in the encoding of `grpc-message`.
const TIMER_OF_TONIC: [&[u8]; 2] = [b"Timeout expired", b"Timeout%20expired"];

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
