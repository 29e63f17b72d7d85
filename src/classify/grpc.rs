//! What gRPC statuses mean, in headers and in trailers.
//!
//! A gRPC call that failed is an HTTP response with status 200: what became of it is its `grpc-status`, in the headers if there
//! is no message (a trailers-only response), in the trailers otherwise. A classifier that sees heads only takes every stream
//! for a success; hence this one is a [`BodyClassifier`] as well. It parses the status itself: "no status" must not pass for
//! "OK", and a deadline weighs less than an outage. grpc-web, whose trailers are part of the body, is not looked into.

mod code;
#[cfg(feature = "tonic")]
mod tonic;

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;

use super::timeout::{outcome_of_any, readiness_outcome_of_any};
use super::{BodyClassifier, Classifier};
use crate::error::Rejected;
use crate::outcome::{Failure, FailureKind, Outcome};
pub use code::GrpcCode;

/// Judges gRPC calls by their status.
///
/// | status | outcome |
/// |---|---|
/// | 0 OK | success |
/// | 4 `DEADLINE_EXCEEDED` | timeout, weight 0.5 |
/// | 2 UNKNOWN, 8 `RESOURCE_EXHAUSTED`, 13 INTERNAL, 14 UNAVAILABLE, 15 `DATA_LOSS` | failure, weight 1.0 |
/// | 1 CANCELLED | ignored |
/// | 3, 5, 6, 7, 9, 10, 11, 12, 16 | success: the service did its job, the fault was the caller's |
/// | not a status: garbage, or above 16 | as 2 UNKNOWN |
/// | what a breaker inside answered, with [`Rejected`] in its extensions | ignored |
///
/// [`status`](Self::status) changes that per status. A failure keeps how long the server asked to be left alone:
/// `grpc-retry-pushback-ms` in milliseconds ([gRFC A6]; negative or garbage asks for no retry at all, so it is no time).
///
/// Without a `grpc-status`, the HTTP status of a call that was gRPC (by its request's `content-type`) is translated as the
/// [specification] says: 400 is INTERNAL, 401 UNAUTHENTICATED, 403 `PERMISSION_DENIED`, 404 UNIMPLEMENTED, 429, 502, 503 and
/// 504 UNAVAILABLE, others UNKNOWN; and so is 200 with a `content-type` that is not gRPC's. 200 with gRPC's, grpc-web's (it was
/// translated below, as by tonic-web's client) or none is a success to a plain layer, which sees heads only. A layer with `.tracked_bodies()` waits for the trailers: a body that ends
/// without a status is a failure, and so is an error of the body.
///
/// A request that is not `application/grpc`, such as one for grpc-web or a web page on the same server, is judged by the head:
/// by a `grpc-status` if there is one, otherwise 5xx is a failure and the rest success.
///
/// Errors are judged as [`DefaultClassifier`](super::DefaultClassifier) does; those of tonic are only known to
/// `GrpcClassifier::tonic`, which comes with the feature `tonic`.
///
/// ```
/// use tower_circuit_breaker::classify::{GrpcClassifier, GrpcCode};
/// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Outcome};
///
/// let circuit = Circuit::new(Config::new("inventory")?);
/// let layer = CircuitBreakerLayer::new(&circuit)
///     .classifier(GrpcClassifier::new().status(GrpcCode::ResourceExhausted, Outcome::Ignored)); // our own quota
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
///
/// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
/// [specification]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
#[derive(Debug, Clone, Default)]
pub struct GrpcClassifier {
    /// Behind a pointer, as each call takes a clone along, and none for the defaults, as threads would contend for its count.
    changed: Option<Arc<[Option<Outcome>; GrpcCode::COUNT]>>,
    #[cfg(feature = "tonic")]
    knows_tonic: bool,
}

impl GrpcClassifier {
    /// Returns a classifier with the weights above.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            changed: None,
            #[cfg(feature = "tonic")]
            knows_tonic: false,
        }
    }

    /// Returns a classifier that also knows tonic's errors and error details, for a client's `Channel`.
    ///
    /// Of an `Err`, `tonic::TimeoutExpired` weighs 0.5, and the code of a `tonic::Status` decides as if it had come in headers,
    /// wherever they stand in the chain of sources. A local cause that is known, such as a timeout or a rejection, goes before
    /// the code that tonic gave it. A failure without pushback takes its time from `google.rpc.RetryInfo`, where
    /// `grpc-status-details-bin` has it.
    ///
    /// It is a constructor of its own, because a feature must not change what [`new`](Self::new) decides.
    #[cfg(feature = "tonic")]
    #[must_use]
    pub const fn tonic() -> Self {
        Self { changed: None, knows_tonic: true }
    }

    /// Sets what a status means, wherever it came from: a [`GrpcCode`], or with the feature `tonic` its `Code`.
    ///
    /// A failure without a time of its own keeps that of the pushback, if there was one.
    #[must_use]
    pub fn status(mut self, code: impl Into<GrpcCode>, outcome: impl Into<Outcome>) -> Self {
        let changed = self.changed.get_or_insert_default();
        Arc::make_mut(changed)[code.into().index()] = Some(outcome.into());
        self
    }

    /// Judges a status and what stands beside it.
    fn judge(&self, code: GrpcCode, beside: &HeaderMap) -> Outcome {
        let changed = self.changed.as_ref().and_then(|changed| changed[code.index()]);
        match changed.unwrap_or_else(|| code.outcome()) {
            Outcome::Failure(failure) if failure.retry_after().is_none() => {
                self.retry_after(beside).map_or(failure, |after| failure.with_retry_after(after)).into()
            }
            outcome @ (Outcome::Success | Outcome::Ignored | Outcome::Failure(_)) => outcome,
        }
    }

    /// Reads how long the server asked to be left alone. Pushback goes first: it is the protocol's own, and may forbid a retry.
    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        if let Some(pushback) = headers.get(PUSHBACK) {
            let milliseconds = pushback.to_str().ok()?.parse::<i32>().ok()?;
            return u64::try_from(milliseconds).ok().map(Duration::from_millis);
        }
        #[cfg(feature = "tonic")]
        if self.knows_tonic {
            return tonic::retry_delay(headers);
        }
        None
    }

    /// Judges a head, unless the trailers are to decide.
    fn head<B>(&self, is_grpc: bool, response: &Response<B>) -> Option<Outcome> {
        // A breaker inside answered; the service did not.
        if response.extensions().get::<Rejected>().is_some() {
            return Some(Outcome::Ignored);
        }
        let headers = response.headers();
        if let Some(code) = GrpcCode::of(headers) {
            return Some(self.judge(code, headers));
        }
        let status = response.status();
        match (is_grpc, status) {
            (true, StatusCode::OK) if is_grpc_answer(headers) => None,
            (true, status) => Some(self.judge(GrpcCode::of_http(status), headers)),
            (false, status) if status.is_server_error() => Some(Outcome::failure()),
            (false, _) => Some(Outcome::Success),
        }
    }

    fn error<E: 'static>(&self, error: &E) -> Outcome {
        #[cfg(feature = "tonic")]
        if self.knows_tonic {
            return tonic::outcome_of_any(self, error);
        }
        outcome_of_any(error)
    }
}

impl<ReqB, B, Err: 'static> Classifier<Request<ReqB>, Response<B>, Err> for GrpcClassifier {
    /// Whether the request was gRPC.
    type Call = bool;

    fn start(&self, request: &Request<ReqB>) -> bool {
        is_grpc_message(request.headers())
    }

    fn finish(&self, is_grpc: bool, result: Result<&Response<B>, &Err>, _: Duration) -> Outcome {
        match result {
            Ok(response) => self.head(is_grpc, response).unwrap_or(Outcome::Success),
            Err(error) => self.error(error),
        }
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        #[cfg(feature = "tonic")]
        if self.knows_tonic {
            return super::timeout::not_ready(tonic::outcome_of_any(self, error));
        }
        readiness_outcome_of_any(error)
    }
}

impl<ReqB, B, Err> BodyClassifier<Request<ReqB>, B, Err> for GrpcClassifier
where
    B: Body<Error: 'static>,
    Err: 'static,
{
    fn head(&self, is_grpc: &mut bool, response: &Response<B>, _: Duration) -> Option<Outcome> {
        Self::head(self, *is_grpc, response)
    }

    fn end(&self, _: bool, trailers: Option<&HeaderMap>, _: Duration) -> Outcome {
        let status = trailers.and_then(|trailers| Some((GrpcCode::of(trailers)?, trailers)));
        status.map_or(NO_STATUS, |(code, trailers)| self.judge(code, trailers))
    }

    /// Every error of a body is a failure: nobody cancels a stream and then reads on.
    fn body_error(&self, _: bool, error: &B::Error, _: Duration) -> Outcome {
        let outcome = self.error(error);
        if outcome.as_failure().is_some() { outcome } else { Outcome::failure() }
    }
}

/// Says whether it is `application/grpc`, alone or with a codec: not `application/grpc-web`.
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

/// Says whether it is `application/grpc-web` or `application/grpc-web-text`, alone or with a codec.
pub(crate) fn is_grpc_web(headers: &HeaderMap) -> bool {
    is_of_type(GRPC_WEB, headers) || is_of_type(GRPC_WEB_TEXT, headers)
}

/// Says whether the answer to a gRPC call is one. As grpc-web it was translated below, by tonic-web's client for one, which
/// makes trailers of the end of the body and leaves the head as it came.
fn is_grpc_answer(headers: &HeaderMap) -> bool {
    !headers.contains_key(CONTENT_TYPE) || is_grpc_message(headers) || is_grpc_web(headers)
}

const GRPC: &[u8] = b"application/grpc";
const GRPC_WEB: &[u8] = b"application/grpc-web";
const GRPC_WEB_TEXT: &[u8] = b"application/grpc-web-text";

const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The body ended, and nobody said how the call went.
const NO_STATUS: Outcome = Outcome::Failure(Failure::hard().with_kind(FailureKind::Named("grpc_no_status")));
