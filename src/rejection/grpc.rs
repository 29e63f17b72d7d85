//! Rejections as a gRPC server would send them: a trailers-only response, made without any gRPC library.
//!
//! The error of the service stays as it is, so it goes into tonic's servers, and a generated client behind it reads
//! UNAVAILABLE, where an error of ours would reach it as UNKNOWN.

#[cfg(feature = "tonic")]
mod tonic;

use std::fmt::Write as _;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::Rejection;
use crate::error::Rejected;
use crate::state::RejectReason;

/// Rejections as a gRPC response with status 14 UNAVAILABLE, or 8 `RESOURCE_EXHAUSTED` for load that was shed; the service's errors
/// stay as they are.
///
/// The response has HTTP status 200, `content-type: application/grpc`, `grpc-status: 14`, the sentence of the rejection as
/// `grpc-message`, an empty body, and [`Rejected`] in its extensions, by which layers outside know it from a response of the
/// service.
///
/// `grpc-retry-pushback-ms` is the time to wait, in whole milliseconds rounded up ([gRFC A6]). Without a known time it depends:
/// -1, which forbids the retry, if the circuit is open until somebody resets it; nothing while it is half-open, as it may
/// close at any moment and the caller's own backoff is right.
///
/// It answers every request so. Where a server has routes that are not gRPC, give those a layer of their own.
///
/// ```
/// use tower_circuit_breaker::classify::GrpcClassifier;
/// use tower_circuit_breaker::rejection::GrpcRejection;
/// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config};
///
/// let circuit = Circuit::new(Config::new("inventory")?);
/// let layer = CircuitBreakerLayer::new(&circuit).classifier(GrpcClassifier::new()).rejection(GrpcRejection::new());
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
///
/// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct GrpcRejection {
    #[cfg(feature = "tonic")]
    details: bool,
}

impl GrpcRejection {
    /// Returns a rejection that needs headers only.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            #[cfg(feature = "tonic")]
            details: false,
        }
    }

    /// Adds error details, which tonic's `StatusExt` reads, and whatever else knows Google's error model.
    ///
    /// `google.rpc.ErrorInfo` has the reason `CIRCUIT_OPEN`, `CIRCUIT_HALF_OPEN` or `LOAD_SHED`, the domain `tower-circuit-breaker`, and the
    /// circuit's name as `service` in its metadata; `google.rpc.RetryInfo` has the time to wait, and is not there without one.
    #[cfg(feature = "tonic")]
    #[must_use]
    pub const fn with_details(mut self) -> Self {
        self.details = true;
        self
    }
}

impl<Req, B: Default, E> Rejection<Req, Response<B>, E> for GrpcRejection {
    type Error = E;

    fn reject(&self, rejected: Rejected, _: Req) -> Result<Response<B>, E> {
        let sentence = rejected.to_string();
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        // The system is full, not the service away: gRPC has a status of its own for that.
        let shed = rejected.reason() == RejectReason::LoadShed;
        headers.insert("grpc-status", HeaderValue::from_static(if shed { "8" } else { "14" }));
        headers.insert("grpc-message", percent_encoded(&sentence));
        if let Some(pushback) = pushback(&rejected) {
            headers.insert("grpc-retry-pushback-ms", pushback.into());
        }
        #[cfg(feature = "tonic")]
        if self.details
            && let Some(details) = tonic::details(&rejected, sentence)
        {
            headers.insert("grpc-status-details-bin", details);
        }
        response.extensions_mut().insert(rejected);
        Ok(response)
    }

    fn map_err(error: E) -> E {
        error
    }
}

fn pushback(rejected: &Rejected) -> Option<i32> {
    match (rejected.retry_after(), rejected.reason()) {
        (Some(wait), _) => Some(milliseconds(wait)),
        (None, RejectReason::Tripped) => Some(-1),
        (None, RejectReason::HalfOpen | RejectReason::LoadShed) => None,
    }
}

/// Rounded up: a retry a fraction too early would be rejected again.
fn milliseconds(wait: Duration) -> i32 {
    i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

/// Encodes as the protocol says: all bytes but printable ASCII, and the percent sign itself.
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>)
fn percent_encoded(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => write!(encoded, "%{byte:02X}").expect("a string takes everything"),
            printable => encoded.push(char::from(printable)),
        }
    }
    HeaderValue::try_from(encoded).expect("printable ASCII is a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_percent_encoded_as_the_protocol_says() {
        assert_eq!(percent_encoded("`a` is 50 % ü\n~\u{7f}"), "`a` is 50 %25 %C3%BC%0A~%7F");
    }

    #[test]
    fn a_wait_is_rounded_up_to_milliseconds_and_fits_the_protocol() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(30)), 30);
        assert_eq!(milliseconds(Duration::MAX), i32::MAX);
    }
}
