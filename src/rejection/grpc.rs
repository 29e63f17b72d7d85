//! Rejections as gRPC responses, which need no gRPC library. With the feature `tonic`, `tonic.rs` answers with a
//! `tonic::Status` if the error or the body of the service can contain a status.
//!
//! Otherwise a rejection is a trailers-only response, as a gRPC server sends it. A generated client then reads the
//! status UNAVAILABLE, or `RESOURCE_EXHAUSTED` if load was shed. If the rejection were an error of this crate, the
//! client would read UNKNOWN. Because a rejection is a response, the service keeps its error type, as a server of tonic
//! requires.

#[cfg(feature = "tonic")]
mod tonic;

use std::fmt::Write as _;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::Rejection;
use super::sentence::{Detail, sentence};
use crate::error::Rejected;
use crate::state::RejectReason;

/// Rejections as gRPC responses with status 14 UNAVAILABLE, or with status 8 `RESOURCE_EXHAUSTED` if load was
/// shed. The errors of the service stay unchanged.
///
/// The response has HTTP status 200, `content-type: application/grpc`, `grpc-status: 14`, a sentence as
/// `grpc-message`, and an empty body. [`Rejected`] is in the extensions of the response, so that outer layers
/// can distinguish the rejection from a response of the service.
///
/// By default the sentence discloses the name and the state of the circuit. [`explained`](Self::explained)
/// discloses more, and [`anonymous`](Self::anonymous) discloses less. All headers together stay below 4 KiB,
/// because many clients limit the size of headers. A sentence that is too long is cut.
///
/// `grpc-retry-pushback-ms` is the time to wait in whole milliseconds, rounded up ([gRFC A6]). The value is -1, which
/// forbids a retry, if the circuit stays open until an operator acts or a required health probe succeeds. If the time
/// is unknown for a different reason, such as a half-open circuit, the header is absent. The next attempt may succeed,
/// so the caller should use its own backoff.
///
/// Every rejected request gets such a response. If a server has routes that are not gRPC, give these routes a
/// layer of their own.
///
/// # In a client of tonic
///
/// With the feature `tonic`, the stub returns a `tonic::Status` with the rejection as its source. [`Rejected::find`]
/// finds the rejection in this status. A caller with several endpoints can then try the next endpoint:
///
/// ```
/// # #[cfg(feature = "tonic")]
/// fn should_try_the_next_endpoint(status: &tonic::Status) -> bool {
///     tower_circuit_breaker::Rejected::find(status).is_some()
/// }
/// ```
///
/// A status that the client reads from headers has no source. Therefore the rejection puts its status into the error or
/// the body, if the error type and the body type of the inner service permit this:
///
/// | error of the inner service | rejection |
/// |---|---|
/// | `tonic::transport::Error`, such as the error of a `Channel`, with tonic's body | a response whose body fails with the status. A unary call fails immediately, and a streaming call fails when it reads the first message. |
/// | [`BoxError`](crate::BoxError), such as the error of a `TimeoutLayer`, with tonic's body | the status as the error. A server of tonic turns the status into a response. |
/// | `tonic::Status` | the status as the error |
/// | any other, such as `Infallible` in a server | the status in the headers of a response, without a source |
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
pub struct GrpcRejection {
    detail: Detail,
    #[cfg(feature = "tonic")]
    with_details: bool,
}

impl GrpcRejection {
    /// Returns a rejection that discloses the name and the state of the circuit.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            detail: Detail::Name,
            #[cfg(feature = "tonic")]
            with_details: false,
        }
    }

    /// Discloses neither the name nor the state of the circuit. The response says only that the service is
    /// unavailable, and how long to wait. Use this setting if callers should not learn about the services
    /// behind the server.
    #[must_use]
    pub const fn anonymous(mut self) -> Self {
        self.detail = Detail::Nothing;
        self
    }

    /// Discloses the whole sentence of [`Rejected`]. The sentence contains the rule with its numbers, and the kind and
    /// the text of the last failure. If this instance follows the opening of another instance, the sentence names that
    /// instance. For a hold, the sentence contains the user and the reason. Use this setting only for callers of the
    /// same organisation, because the text of a failure can contain details of an error. Each address with `://` in the
    /// text is cut to its scheme and host.
    ///
    /// For each rejection, the circuit looks up the sentence under a mutex.
    #[must_use]
    pub const fn explained(mut self) -> Self {
        self.detail = Detail::Everything;
        self
    }

    /// Adds error details of Google's error model, which tonic's `StatusExt` and other clients decode.
    ///
    /// `google.rpc.ErrorInfo` has the domain `tower-circuit-breaker`, and the name of the circuit as `service` in its
    /// metadata. Its reason is `CIRCUIT_OPEN`, `CIRCUIT_HALF_OPEN`, `CIRCUIT_RAMP`, `CIRCUIT_THROTTLED` or `LOAD_SHED`.
    /// An [`anonymous`](Self::anonymous) rejection has no `ErrorInfo`. `google.rpc.RetryInfo` has the time to wait, and
    /// is absent if the time is unknown.
    #[cfg(feature = "tonic")]
    #[must_use]
    pub const fn with_details(mut self) -> Self {
        self.with_details = true;
        self
    }

    /// Returns the message, cut to a length that fits into a header.
    fn message(self, rejected: &Rejected) -> String {
        let mut message = sentence(rejected, self.detail);
        if message.len() > LONGEST_MESSAGE {
            let end = (0..=LONGEST_MESSAGE - MORE.len()).rfind(|&at| message.is_char_boundary(at));
            message.truncate(end.unwrap_or(0));
            message.push_str(MORE);
        }
        message
    }

    fn response<B>(self, rejected: Rejected, body: B) -> Response<B> {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        // Shed load is `RESOURCE_EXHAUSTED`, because this process is full although the service is available.
        let shed = rejected.reason() == RejectReason::LoadShed;
        headers.insert("grpc-status", HeaderValue::from_static(if shed { "8" } else { "14" }));
        headers.insert("grpc-message", percent_encoded(&self.message(&rejected)));
        if let Some(pushback) = pushback(&rejected) {
            headers.insert("grpc-retry-pushback-ms", pushback.into());
        }
        #[cfg(feature = "tonic")]
        if self.with_details
            && let Some(details) = self.details(&rejected)
        {
            headers.insert("grpc-status-details-bin", details);
        }
        response.extensions_mut().insert(rejected);
        response
    }
}

impl<Req, B: Default + 'static, E: 'static> Rejection<Req, Response<B>, E> for GrpcRejection {
    type Error = E;

    fn reject(&self, rejected: Rejected, _: Req) -> Result<Response<B>, E> {
        #[cfg(feature = "tonic")]
        let rejected = match self.with_source(rejected) {
            Ok(answer) => return answer,
            Err(rejected) => rejected,
        };
        Ok(self.response(rejected, B::default()))
    }

    fn map_err(error: E) -> E {
        error
    }
}

fn pushback(rejected: &Rejected) -> Option<i32> {
    match (rejected.retry_after(), rejected.reason()) {
        (Some(wait), _) => Some(milliseconds(wait)),
        (None, RejectReason::Tripped) => Some(-1),
        (None, RejectReason::HalfOpen | RejectReason::LoadShed | RejectReason::Ramp | RejectReason::Throttled) => None,
    }
}

/// Converts a wait to milliseconds. The wait is rounded up, because an earlier retry would be rejected again.
fn milliseconds(wait: Duration) -> i32 {
    i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

/// Encodes the percent sign and every byte that is not printable ASCII, as the protocol requires
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>).
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

/// The longest message in bytes. The encoded message can have three times as many bytes, and the details contain the
/// message again in base64. With this limit, all headers together stay below 4 KiB.
const LONGEST_MESSAGE: usize = 640;

/// The end of a message that was cut.
const MORE: &str = "…";

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
