//! Tracked bodies, which keep the permit of a call until the stream of a response ends.
//!
//! Without tracked bodies, a layer judges a response by the head, and the call ends with the head. The layer then
//! misses failures in the body: a connection that breaks, a gRPC status in the trailers, or a download that hangs. With
//! [`tracked_bodies`](crate::CircuitBreakerLayer::tracked_bodies) the body keeps the permit, and a [`BodyClassifier`]
//! judges the call at the end of the body. [`TrackedBodies`] is a separate service type, because tracking changes the
//! type of the response. A layer without tracked bodies has no additional cost.
//!
//! The tracked body passes on the frames, the size hint and the end of the inner body unchanged, and allocates nothing.
//!
//! ```text
//!         head ──▶ BodyClassifier::head ─┬─ Some ──▶ recorded; the body passes through
//!                                        └─ None ──▶ no content follows? ─┬─ yes ──▶ end
//!                                                                         └─ no ───▶ TrackedBody ─┬─ last frame, trailers ──▶ end
//!                                                                                                 ├─ error ──▶ body_error
//!                                                                                                 ├─ panic ──▶ panicked
//!                                                                                                 └─ dropped ──▶ cancelled
//! ```

mod future;
mod layer;
mod stream;

use std::fmt;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::circuit::Circuit;
use crate::classify::{BodyClassifier, DefaultClassifier};
use crate::keyed::{OneCircuit, Select};
use crate::rejection::{BoxedErrors, Rejection};
use crate::service::CircuitBreaker;
pub use future::TrackedFuture;
pub use layer::TrackedBodiesLayer;
pub use stream::TrackedBody;

/// A service behind a circuit. Each call ends with the body of the response.
///
/// The inner [`CircuitBreaker`] decides about readiness, admission and rejections.
pub struct TrackedBodies<S, C = DefaultClassifier, R = BoxedErrors, K = OneCircuit>(CircuitBreaker<S, C, R, K>);

impl<S, C, R> TrackedBodies<S, C, R> {
    /// Returns the circuit.
    #[must_use]
    pub const fn circuit(&self) -> &Circuit {
        self.0.circuit()
    }
}

impl<S, C, R, K> TrackedBodies<S, C, R, K> {
    /// Returns the inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        self.0.get_ref()
    }

    /// Returns a mutable reference to the inner service. A call through the reference bypasses the circuit.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        self.0.get_mut()
    }

    /// Returns the inner service without the circuit breaker around it.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.0.into_inner()
    }
}

impl<S, C, R, K, A, B> Service<Request<A>> for TrackedBodies<S, C, R, K>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body,
    C: BodyClassifier<Request<A>, B, S::Error> + Clone,
    R: Rejection<Request<A>, Response<B>, S::Error>,
    K: Select<Request<A>>,
{
    type Response = Response<TrackedBody<B, C, Request<A>, S::Error>>;
    type Error = R::Error;
    type Future = TrackedFuture<S::Future, C, R, Request<A>, B, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<A>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let method = request.method().into();
        TrackedFuture::new(self.0.call(request), method)
    }
}

/// Uses the name of the inner service, so that a tonic server routes requests to this service.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, C, R, K> tonic::server::NamedService for TrackedBodies<S, C, R, K> {
    const NAME: &'static str = S::NAME;
}

impl<S: Clone, C: Clone, R: Clone, K: Clone> Clone for TrackedBodies<S, C, R, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: fmt::Debug, C, R, K: fmt::Debug> fmt::Debug for TrackedBodies<S, C, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrackedBodies").field(&self.0).finish()
    }
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use http_body_util::{BodyExt, Full};
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::service::WhenOpen;

    /// Selects no circuit for any request.
    #[derive(Debug)]
    struct NoCircuit;

    impl<Req> Select<Req> for NoCircuit {
        fn shared(&self) -> Option<&Circuit> {
            None
        }

        fn with<T>(&self, _: &Req, act: impl FnOnce(Option<&Circuit>) -> T) -> T {
            act(None)
        }
    }

    #[tokio::test]
    async fn a_call_that_no_circuit_guards_passes_with_its_body() {
        let answer = |_: Request<()>| ready(Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::from("whole"))));
        let inner = service_fn(answer);
        let breaker = CircuitBreaker::new(inner, NoCircuit, DefaultClassifier, BoxedErrors, WhenOpen::Reject);
        let response = TrackedBodies(breaker).oneshot(Request::new(())).await.expect("it is not rejected");
        let debug = format!("{:?}", response.body());
        assert!(debug.ends_with("tracked: false }"), "{debug}");
        assert_eq!(response.into_body().collect().await.expect("it has no errors").to_bytes(), "whole");
    }
}
