//! The classifier of gRPC calls, which judges a call by the `grpc-status` in its headers or trailers.
//!
//! A failed gRPC call is an HTTP response with status 200, whose `grpc-status` contains the result. The
//! `grpc-status` is in the headers if the response has no message (a trailers-only response), and in the
//! trailers otherwise. A classifier that sees only heads would count every stream as a success. Therefore
//! [`GrpcClassifier`] is also a [`BodyClassifier`].
//!
//! The classifier parses the status and judges it by its own rules, because a stream that ends without a status must
//! not count as OK, and because the status of an exceeded deadline must weigh less than that of an outage. In grpc-web
//! the trailers are a part of the body. The classifier does not parse the data of a body. Therefore a grpc-web call is
//! judged by the head of its response.

mod call;
mod code;
mod origin;
#[cfg(feature = "tonic")]
mod tonic;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;

use super::http::not_processed::not_processed;
use super::http::retry_after::{after_delay, retry_after};
use super::timeout::{as_error, known, not_ready, opaque, text_of_any};
use super::{BodyClassifier, Classifier};
use crate::error::Rejected;
use crate::outcome::{Failure, FailureKind, Outcome};
pub use call::GrpcCall;
use call::is_grpc_answer;
pub(crate) use call::{is_grpc_message, is_grpc_web};
pub use code::GrpcCode;
use origin::{Origin, broken};

/// Judges gRPC calls by their status. For the services of a server, use [`for_handlers`](Self::for_handlers).
///
/// | status | outcome |
/// |---|---|
/// | 0 OK | success |
/// | 4 `DEADLINE_EXCEEDED` | timeout, weight 0.5, or, if the request has a `grpc-timeout`, less in proportion to the time that the call waited |
/// | 2 UNKNOWN, 8 `RESOURCE_EXHAUSTED`, 13 INTERNAL, 14 UNAVAILABLE, 15 `DATA_LOSS` | failure, weight 1.0 |
/// | 1 CANCELLED with the message `Timeout expired` of tonic's server | the same as 4 `DEADLINE_EXCEEDED` |
/// | 1 CANCELLED, and the call lasted about as long as its `grpc-timeout` | the same as 4 `DEADLINE_EXCEEDED` |
/// | 1 CANCELLED otherwise | ignored |
/// | 3, 5, 6, 7, 9, 10, 11, 12, 16 | success, because the service did its job and the fault was the caller's |
/// | a value that is no status, such as text or a number above 16 | the same as 2 UNKNOWN |
/// | the rejection of an inner breaker, with [`Rejected`] in the extensions of the response | ignored |
///
/// [`status`](Self::status) sets another outcome for a status. The status can come from headers, trailers or an error.
/// A call can also end without a status. A timeout of a layer or of the transport is then judged like
/// `DEADLINE_EXCEEDED`, and a body that ends without a status like UNKNOWN. HTTP/2 `REFUSED_STREAM`, and GOAWAY before
/// the request was processed, weigh 0.5 with the kind `not_processed`, unless [`status`](Self::status) changes the
/// outcome of UNAVAILABLE.
///
/// If a caller sets a short `grpc-timeout`, a call that exceeds this deadline says little about the service. Therefore,
/// if the request has a `grpc-timeout`, `DEADLINE_EXCEEDED`, HTTP status 408 or 504 and tonic's own timeout weigh in
/// proportion to the time that the call waited, see [`Failure::deadline`]. CANCELLED and an HTTP/2 reset with CANCEL
/// weigh in proportion to this time, too, if the call ended after the deadline or shortly before the deadline. Shortly
/// means at most a tenth of the deadline plus 20 ms.
///
/// The server can ask for a delay with `grpc-retry-pushback-ms`, in milliseconds ([gRFC A6]). The failure keeps the
/// delay. A negative or malformed value forbids a retry, so the failure has no delay. Without that header, the delay is
/// the `Retry-After` of a proxy, if there is one. [`trips_on_retry_after`](Self::trips_on_retry_after) lets a delay
/// open the circuit.
///
/// If a request has the `content-type` of gRPC and its response has no `grpc-status`, the [specification]
/// translates the HTTP status. 400 is INTERNAL, 401 is UNAUTHENTICATED, 403 is `PERMISSION_DENIED`, 404 is
/// UNIMPLEMENTED, and 429, 502, 503 and 504 are UNAVAILABLE. Every other status is UNKNOWN, and so is 200
/// with a `content-type` other than that of gRPC.
///
/// Status 200 without `grpc-status` leaves the result to the trailers if the `content-type` is missing or
/// belongs to gRPC or grpc-web. grpc-web is included because tonic-web's client translates grpc-web below the
/// breaker. A layer without tracked bodies sees only heads and counts such a response as a success. A layer
/// with `.tracked_bodies()` waits for the trailers. A body that ends without a status is a failure, and so is
/// an error of the body.
///
/// A request that is not `application/grpc`, such as a grpc-web request or a web page on the same server, is judged by
/// its head. If the head has a `grpc-status`, the `grpc-status` decides. Otherwise an HTTP status of 5xx is a failure,
/// and every other HTTP status is a success.
///
/// Errors are judged by the table of [`outcome_of`](super::outcome_of), except the rows for the features `tonic` and
/// `reqwest`. Only `GrpcClassifier::tonic`, which needs the feature `tonic`, judges a `tonic::Status` among the sources
/// by its code. Only `GrpcClassifier::tonic` lets tonic's own timeouts weigh in proportion to the time that the call
/// waited. A status that tonic created from a transport error has the kind of that error, such as `connect` instead of
/// `grpc_unavailable`.
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
    /// The outcomes that [`status`](GrpcClassifier::status) changed, indexed by the status code.
    ///
    /// The table is behind an `Arc`, because each call clones the classifier. The field is `None` until an outcome is
    /// changed, so that a clone updates no reference count if no outcome was changed.
    changed: Option<Arc<[Option<Outcome>; GrpcCode::COUNT]>>,
    /// True if the classifier judges the handlers of a server.
    of_handlers: bool,
    /// True if the circuit opens at once when the server asks for a delay before the next call.
    trips_on_retry_after: bool,
    #[cfg(feature = "tonic")]
    knows_tonic: bool,
}

impl GrpcClassifier {
    /// Returns a classifier with the outcomes in the table of [`GrpcClassifier`].
    #[must_use]
    pub const fn new() -> Self {
        Self {
            changed: None,
            of_handlers: false,
            trips_on_retry_after: false,
            #[cfg(feature = "tonic")]
            knows_tonic: false,
        }
    }

    /// Returns a classifier like [`new`](Self::new), but for a layer around the services of a server. A call
    /// that is dropped because its client disconnected never counts.
    ///
    /// The server drops a call if the client resets the stream or the deadline of the call passes. Such a drop says
    /// nothing about the handler. A `DEADLINE_EXCEEDED` for a request with a `grpc-timeout` says nothing about the
    /// handler either, and is ignored. Therefore only a timeout below the breaker detects a handler that hangs.
    #[must_use]
    pub const fn for_handlers() -> Self {
        let mut classifier = Self::new();
        classifier.of_handlers = true;
        classifier
    }

    /// Returns a classifier that also knows tonic's errors and error details, for a client's `Channel`.
    ///
    /// A `tonic::TimeoutExpired` in the sources of an error weighs 0.5. If the request has a short `grpc-timeout`, the
    /// failure weighs less (see [`Failure::deadline`]). The code of a `tonic::Status` in the sources is judged like a
    /// code in the headers. A cause in this process, such as a timeout or a rejection, decides before the code, because
    /// tonic chose the code only to wrap that cause. A failure without `grpc-retry-pushback-ms` takes its delay from
    /// `google.rpc.RetryInfo`, if `grpc-status-details-bin` contains that message.
    ///
    /// [`new`](Self::new) judges the same with and without the feature `tonic`.
    #[cfg(feature = "tonic")]
    #[must_use]
    pub const fn tonic() -> Self {
        let mut classifier = Self::new();
        classifier.knows_tonic = true;
        classifier
    }

    /// Sets the outcome of a status in headers, in trailers or in an error. The code is a [`GrpcCode`], or
    /// with the feature `tonic` a `tonic::Code`.
    ///
    /// If `outcome` is a failure without a `retry_after`, the failure takes the delay in the response, if any.
    #[must_use]
    pub fn status(mut self, code: impl Into<GrpcCode>, outcome: impl Into<Outcome>) -> Self {
        let changed = self.changed.get_or_insert_default();
        Arc::make_mut(changed)[code.into().index()] = Some(outcome.into());
        self
    }

    /// Lets a single response open the circuit, if the status is `RESOURCE_EXHAUSTED` or UNAVAILABLE and the server
    /// asks for a delay.
    ///
    /// The delay comes from `grpc-retry-pushback-ms`, from `google.rpc.RetryInfo` (only with [`tonic`](Self::tonic)),
    /// or from the `Retry-After` of a proxy. A delay that is zero, malformed or negative does not open the circuit.
    /// [`HttpClassifier::trips_on_retry_after`](super::HttpClassifier::trips_on_retry_after) describes the other rules
    /// of this setting, and explains why the setting is off by default.
    ///
    /// ```
    /// use tower_circuit_breaker::classify::GrpcClassifier;
    ///
    /// let classifier = GrpcClassifier::new().trips_on_retry_after();
    /// ```
    #[must_use]
    pub fn trips_on_retry_after(self) -> Self {
        Self { trips_on_retry_after: true, ..self }
    }

    /// Returns the outcome that [`status`](Self::status) set for the code, or `None` if the code has its default
    /// outcome.
    fn changed(&self, code: GrpcCode) -> Option<Outcome> {
        self.changed.as_ref().and_then(|changed| changed[code.index()])
    }

    /// Returns the outcome of a status. `beside` holds the headers or trailers that contain the status. These headers
    /// or trailers can also contain a message and a delay before the next call.
    fn judge(&self, call: GrpcCall, code: GrpcCode, beside: &HeaderMap) -> Outcome {
        let message = || beside.get(MESSAGE).map_or(&[][..], HeaderValue::as_bytes);
        self.judge_as(code, call.meaning(code, message), beside)
    }

    /// Returns the outcome that [`status`](Self::status) set for the code, or `otherwise` if there is none. A failure
    /// takes the delay from `beside`, which holds the headers or trailers that contain the status.
    fn judge_as(&self, code: GrpcCode, otherwise: Outcome, beside: &HeaderMap) -> Outcome {
        let trips = self.trips_on_retry_after && matches!(code, GrpcCode::ResourceExhausted | GrpcCode::Unavailable);
        after_delay(self.changed(code).unwrap_or(otherwise), trips, || self.retry_after(beside))
    }

    /// Returns the delay that the server asks for, or `None` if the headers have no valid delay. The header
    /// `grpc-retry-pushback-ms` decides before the error details, because the header can forbid a retry. A
    /// `Retry-After`, which a proxy sets when it answers for the server, is read last.
    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        if let Some(pushback) = headers.get(PUSHBACK) {
            let milliseconds = pushback.to_str().ok()?.parse::<i32>().ok()?;
            return u64::try_from(milliseconds).ok().map(Duration::from_millis);
        }
        #[cfg(feature = "tonic")]
        if self.knows_tonic
            && let Some(delay) = tonic::retry_delay(headers)
        {
            return Some(delay);
        }
        retry_after(headers)
    }

    /// Judges the head of a response. Returns `None` if the trailers decide.
    fn head<B>(&self, call: GrpcCall, response: &Response<B>) -> Option<Outcome> {
        // An inner breaker rejected the call, so the response says nothing about the service.
        if response.extensions().get::<Rejected>().is_some() {
            return Some(Outcome::Ignored);
        }
        let headers = response.headers();
        if let Some(code) = GrpcCode::of(headers) {
            return Some(self.judge(call, code, headers));
        }
        let status = response.status();
        match (call.is_grpc, status) {
            (true, StatusCode::OK) if is_grpc_answer(headers) => None,
            (is_grpc, StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT) if call.has_deadline() => {
                let outcome = call.time_is_over();
                Some(if is_grpc { self.judge_as(GrpcCode::of_http(status), outcome, headers) } else { outcome })
            }
            (true, status) => Some(self.judge(call, GrpcCode::of_http(status), headers)),
            (false, status) if status.is_server_error() => Some(Outcome::failure()),
            (false, _) => Some(Outcome::Success),
        }
    }

    fn error<E: 'static>(&self, origin: Origin, error: &E) -> Outcome {
        #[cfg(feature = "tonic")]
        if self.knows_tonic {
            return tonic::outcome_of_any(self, origin, error);
        }
        let Some(error) = as_error(error) else { return opaque::<E>() };
        self.transport(known(error).or_else(|| not_processed(error)).unwrap_or_else(|| broken(origin.call(), error)))
    }

    /// Returns the final outcome of a transport error. `outcome` is the outcome without the changes by
    /// [`status`](Self::status). A timeout takes the outcome that was set for `DEADLINE_EXCEEDED`, if any, and a
    /// request that the server did not process takes the outcome that was set for UNAVAILABLE.
    fn transport(&self, outcome: Outcome) -> Outcome {
        let code = match outcome.as_failure().map(Failure::kind) {
            Some(FailureKind::Timeout | FailureKind::Deadline) => GrpcCode::DeadlineExceeded,
            Some(FailureKind::Named(_)) => GrpcCode::Unavailable,
            Some(_) | None => return outcome,
        };
        self.changed(code).unwrap_or(outcome)
    }
}

impl<ReqB, B, Err: 'static> Classifier<Request<ReqB>, Response<B>, Err> for GrpcClassifier {
    type Call = GrpcCall;

    fn start(&self, request: &Request<ReqB>) -> GrpcCall {
        GrpcCall::of(request.headers())
    }

    fn finish(&self, call: GrpcCall, result: Result<&Response<B>, &Err>, _: Duration) -> Outcome {
        match result {
            Ok(response) => self.head(call, response).unwrap_or(Outcome::Success),
            Err(error) => self.error(Origin::Call(call), error),
        }
    }

    /// Returns the message of a failed response, which the server sends as `grpc-message`. Only encoded
    /// spaces are decoded.
    fn describe(&self, result: Result<&Response<B>, &Err>) -> Option<String> {
        match result {
            Ok(response) => Some(response.headers().get(MESSAGE)?.to_str().ok()?.replace("%20", " ")),
            Err(error) => text_of_any(error),
        }
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        not_ready(self.error(Origin::Readiness, error))
    }

    fn cancelled_never_counts(&self) -> bool {
        self.of_handlers
    }
}

impl<ReqB, B, Err> BodyClassifier<Request<ReqB>, B, Err> for GrpcClassifier
where
    B: Body<Error: 'static>,
    Err: 'static,
{
    fn head(&self, call: &mut GrpcCall, response: &Response<B>, _: Duration) -> Option<Outcome> {
        Self::head(self, *call, response)
    }

    fn end(&self, call: GrpcCall, trailers: Option<&HeaderMap>, _: Duration) -> Outcome {
        let status = trailers.and_then(|trailers| Some((GrpcCode::of(trailers)?, trailers)));
        let no_status = || self.changed(GrpcCode::Unknown).unwrap_or(NO_STATUS);
        status.map_or_else(no_status, |(code, trailers)| self.judge(call, code, trailers))
    }

    /// Judges an error of the body. A status in the error is a failure, even CANCELLED, unless the user has changed the
    /// outcome of the status. A caller who cancels the stream reads no further and sees no error. Therefore the caller
    /// is not the cause of an error here.
    fn body_error(&self, call: GrpcCall, error: &B::Error, _: Duration) -> Outcome {
        self.error(Origin::Body(call), error)
    }

    fn describe_body_error(&self, error: &B::Error) -> Option<String> {
        text_of_any(error)
    }
}

const PUSHBACK: &str = "grpc-retry-pushback-ms";

const MESSAGE: &str = "grpc-message";
/// The outcome of a body that ended without a `grpc-status`.
const NO_STATUS: Outcome = Outcome::Failure(Failure::hard().with_kind(FailureKind::Named("grpc_no_status")));
