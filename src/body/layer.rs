//! The layer that creates services with tracked bodies. [`CircuitBreakerLayer::tracked_bodies`] creates the layer.

use std::fmt;

use tower_layer::Layer;

use super::TrackedBodies;
use crate::classify::DefaultClassifier;
use crate::keyed::OneCircuit;
use crate::layer::CircuitBreakerLayer;
use crate::rejection::BoxedErrors;

/// A layer that puts services behind a circuit and keeps the permit of each call until the end of the response body.
///
/// Created by [`CircuitBreakerLayer::tracked_bodies`].
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct TrackedBodiesLayer<C = DefaultClassifier, R = BoxedErrors, K = OneCircuit>(CircuitBreakerLayer<C, R, K>);

impl<C, R, K> CircuitBreakerLayer<C, R, K> {
    /// Judges each call at the end of the response body, unless the classifier's
    /// [`head`](crate::classify::BodyClassifier::head) decides before. Call all other methods of the layer before
    /// `tracked_bodies`, except [`fallback_async`](TrackedBodiesLayer::fallback_async), which comes after.
    ///
    /// The layer is for services that take an `http::Request` and return an `http::Response`. A body that ends with an
    /// error is a failure. The classifier sees the trailers, and the duration of the call includes the body. A call
    /// does not count as [hanging](crate::Status::hanging) after the head of the response has arrived, because a slow
    /// reader or a long stream is not a fault of the service. A probe keeps its slot until the end of the body, but at
    /// most for [`probe_deadline`](crate::config::ConfigBuilder::probe_deadline).
    ///
    /// The call has no outcome until the caller has read the body. If callers often drop bodies, or if streams never
    /// end (events, watches), do not track the bodies, and judge calls by the head.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Full};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// let circuit = Circuit::new(Config::new("downloads")?);
    /// let client = ServiceBuilder::new()
    ///     .layer(CircuitBreakerLayer::new(&circuit).tracked_bodies())
    ///     .service(service_fn(|_: Request<()>| async { Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("all of it"))) }));
    ///
    /// let response = client.oneshot(Request::new(())).await?;
    /// assert_eq!(circuit.totals().successes, 0, "it has only begun");
    /// assert_eq!(response.into_body().collect().await?.to_bytes(), "all of it");
    /// assert_eq!(circuit.totals().successes, 1);
    /// # Ok(()) }
    /// ```
    pub fn tracked_bodies(self) -> TrackedBodiesLayer<C, R, K> {
        TrackedBodiesLayer(self)
    }
}

impl<C, R, K> TrackedBodiesLayer<C, R, K> {
    pub(crate) fn map_rejection<R2>(self, map: impl FnOnce(R) -> R2) -> TrackedBodiesLayer<C, R2, K> {
        TrackedBodiesLayer(self.0.map_rejection(map))
    }
}

impl<S, C: Clone, R: Clone, K: Clone> Layer<S> for TrackedBodiesLayer<C, R, K> {
    type Service = TrackedBodies<S, C, R, K>;

    fn layer(&self, inner: S) -> Self::Service {
        TrackedBodies(self.0.layer(inner))
    }
}

impl<C, R, K: fmt::Debug> fmt::Debug for TrackedBodiesLayer<C, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrackedBodiesLayer").field(&self.0).finish()
    }
}
