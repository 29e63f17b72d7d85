//! The rejection as a `tonic::Status`, with its details in Google's error model. The rejection is the source of the
//! status, so that the caller of a stub can find the rejection.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::tonic::metadata::MetadataMap;
use ::tonic::{Code, Status, body, transport};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame};
use tonic_types::{ErrorDetails, StatusExt};

use super::{GrpcRejection, pushback};
use crate::error::{BoxError, Rejected};
use crate::rejection::sentence::Detail;
use crate::state::RejectReason;

impl GrpcRejection {
    /// Returns the status of a rejection, with the rejection as its source.
    ///
    /// Use this method in a handler that guards a call with a permit and answers like the layer.
    ///
    /// ```
    /// use tower_circuit_breaker::{Circuit, Config, Rejected, rejection::GrpcRejection};
    ///
    /// async fn get(circuit: &Circuit) -> Result<tonic::Response<()>, tonic::Status> {
    ///     let permit = circuit.try_acquire().map_err(|rejected| GrpcRejection::new().status(&rejected))?;
    ///     permit.success();
    ///     Ok(tonic::Response::new(()))
    /// }
    /// ```
    #[must_use]
    pub fn status(self, rejected: &Rejected) -> Status {
        let mut metadata = MetadataMap::new();
        if let Some(pushback) = pushback(rejected) {
            metadata.insert("grpc-retry-pushback-ms", pushback.into());
        }
        let shed = rejected.reason() == RejectReason::LoadShed;
        let code = if shed { Code::ResourceExhausted } else { Code::Unavailable };
        let message = self.message(rejected);
        let mut status = if self.with_details {
            Status::with_error_details_and_metadata(code, message, self.error_details(rejected), metadata)
        } else {
            Status::with_metadata(code, message, metadata)
        };
        status.set_source(Arc::new(rejected.clone()));
        status
    }

    fn error_details(self, rejected: &Rejected) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        if self.detail != Detail::Nothing {
            let reason = match rejected.reason() {
                RejectReason::Tripped => "CIRCUIT_OPEN",
                RejectReason::HalfOpen => "CIRCUIT_HALF_OPEN",
                RejectReason::LoadShed => "LOAD_SHED",
                RejectReason::Ramp => "CIRCUIT_RAMP",
                RejectReason::Throttled => "CIRCUIT_THROTTLED",
            };
            let metadata = [("service".to_owned(), rejected.circuit().to_owned())];
            details.set_error_info(reason, "tower-circuit-breaker", metadata);
        }
        if let Some(wait) = rejected.retry_after() {
            details.set_retry_info(Some(wait));
        }
        details
    }

    /// Returns the value of `grpc-status-details-bin`. Returns `None` if tonic cannot encode the details.
    pub(super) fn details(self, rejected: &Rejected) -> Option<HeaderValue> {
        let mut headers = HeaderMap::new();
        self.status(rejected).add_header(&mut headers).ok()?;
        headers.remove(Status::GRPC_STATUS_DETAILS)
    }

    /// Returns an answer that keeps the rejection as the source of a status. Returns `Err` with the
    /// rejection if neither the error type nor the body type of the inner service can contain such a status.
    pub(super) fn with_source<B: 'static, E: 'static>(
        self,
        rejected: Rejected,
    ) -> Result<Result<Response<B>, E>, Rejected> {
        if is::<E, Status>() {
            return cast(self.status(&rejected)).map(Err).ok_or(rejected);
        }
        if !is::<B, body::Body>() {
            return Err(rejected);
        }
        if is::<E, BoxError>() {
            let status: BoxError = self.status(&rejected).into();
            return cast(status).map(Err).ok_or(rejected);
        }
        if !is::<E, transport::Error>() {
            return Err(rejected);
        }
        let body = body::Body::new(Failing(Some(self.status(&rejected))));
        let Some(body) = cast(body) else { return Err(rejected) };
        let mut response = self.response(rejected, body);
        // A stub that finds a status in the headers does not read the body. Only the status in the body has the
        // rejection as its source, so the status is removed from the headers.
        for name in ["grpc-status", "grpc-message", "grpc-retry-pushback-ms", "grpc-status-details-bin"] {
            response.headers_mut().remove(name);
        }
        Ok(Ok(response))
    }
}

/// A body that fails at the first poll with a status.
struct Failing(Option<Status>);

impl Body for Failing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

fn is<T: 'static, U: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<U>()
}

/// Returns the value as a `U`, if its type is `U`.
fn cast<T: 'static, U: 'static>(value: T) -> Option<U> {
    let mut value = Some(value);
    let value: &mut dyn Any = &mut value;
    value.downcast_mut::<Option<U>>()?.take()
}
