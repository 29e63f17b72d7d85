//! Asynchronous fallbacks, such as another endpoint, a cache behind a network, or a default that has to be computed.
//!
//! The breaker itself answers a rejected call without a future, so that a rejection costs little in an outage.
//! Therefore an asynchronous fallback is a separate service around the breaker. The breaker returns the rejected
//! request to this service, so that requests need not be cloned before a call. For a fallback that answers without
//! waiting, use [`CircuitBreakerLayer::fallback`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

#[cfg(feature = "http")]
use crate::body::TrackedBodiesLayer;
use crate::error::Rejected;
use crate::layer::CircuitBreakerLayer;
use crate::rejection::{Fallback, Rejection};

impl<C, R, K> CircuitBreakerLayer<C, R, K> {
    /// Answers rejected calls with a closure, which gets the rejection and the request and returns a cached answer, a
    /// default, or an error.
    ///
    /// Call this method after the method that sets the kind of errors, because the closure returns errors of this kind.
    /// The closure gets only rejected calls. A call that failed keeps its error. The circuit counts each answer in
    /// `circuit_breaker_fallbacks_total`, as `answered` if the closure returns `Ok`. A rejection with a fallback counts
    /// like every other rejection.
    ///
    /// ```
    /// use std::{collections::HashMap, io, sync::Arc};
    /// use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// let cache = Arc::new(HashMap::from([(1, "one".to_owned())]));
    /// let circuit = Circuit::new(Config::new("catalogue")?);
    /// let mut service = ServiceBuilder::new()
    ///     .layer(CircuitBreakerLayer::new(&circuit).fallback(move |rejected, id: u32| match cache.get(&id) {
    ///         Some(text) => Ok(text.clone()),
    ///         None => Err(rejected.into()),
    ///     }))
    ///     .service(service_fn(async |_: u32| Err::<String, _>(io::Error::other("down"))));
    /// for _ in 0..5 {
    ///     assert!(service.ready().await?.call(1).await.is_err(), "the circuit is still closed");
    /// }
    /// assert_eq!(service.ready().await?.call(1).await?, "one");
    /// assert!(service.ready().await?.call(2).await.is_err(), "not in the cache, so rejected");
    /// # Ok(()) }
    /// ```
    pub fn fallback<F, Req, Res, E>(self, fallback: F) -> CircuitBreakerLayer<C, Fallback<F, R>, K>
    where
        // The bound is on this method, because the compiler infers the argument types of a closure from the method that
        // receives the closure.
        F: Fn(Rejected, Req) -> Result<Res, E>,
    {
        self.map_rejection(|rejection| Fallback::new(fallback, rejection))
    }

    /// Answers rejected calls with the future of a closure, which gets the rejection and the request. The future can
    /// call another endpoint, or a cache behind a network.
    ///
    /// Call this method last, because the returned layer has no methods for the settings of the breaker. With tracked
    /// bodies, call this method after [`tracked_bodies`](Self::tracked_bodies). The future has the same error type as
    /// the breaker without a fallback. Therefore the fallback can be a call through the breaker of another endpoint.
    /// The circuit counts each answer in `circuit_breaker_fallbacks_total`. A fallback that is dropped before its end
    /// is not counted.
    ///
    /// With [`WhenOpen::Pend`](crate::WhenOpen::Pend) the service is not ready while the circuit is open. The fallback
    /// is then used only if the circuit begins to reject calls between `poll_ready` and the call.
    ///
    /// ```
    /// # use std::io;
    /// # use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
    /// # use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// let [first, second] = ["eu", "us"].map(|name| Circuit::new(Config::new(name).expect("valid")));
    /// let us = ServiceBuilder::new()
    ///     .layer(CircuitBreakerLayer::new(&second))
    ///     .service(service_fn(async |id: u32| Ok::<_, io::Error>(format!("{id} from the second"))));
    /// let mut service = ServiceBuilder::new()
    ///     .layer(CircuitBreakerLayer::new(&first).fallback_async(move |_, id: u32| us.clone().oneshot(id)))
    ///     .service(service_fn(async |_: u32| Err::<String, _>(io::Error::other("down"))));
    /// # for _ in 0..5 { service.ready().await?.call(7).await.unwrap_err(); }
    /// assert_eq!(service.ready().await?.call(7).await?, "7 from the second");
    /// # Ok(()) }
    /// ```
    pub fn fallback_async<F, Fut, Req, Res, E>(
        self,
        fallback: F,
    ) -> FallbackLayer<F, CircuitBreakerLayer<C, Deferred<R>, K>>
    where
        F: Fn(Rejected, Req) -> Fut,
        Fut: Future<Output = Result<Res, E>>,
    {
        FallbackLayer { fallback, breaker: self.map_rejection(Deferred) }
    }
}

#[cfg(feature = "http")]
impl<C, R, K> TrackedBodiesLayer<C, R, K> {
    /// Answers rejected calls with the future of a closure, as [`CircuitBreakerLayer::fallback_async`] does.
    ///
    /// The fallback returns a response with a [`TrackedBody`](crate::body::TrackedBody), as the breaker does. The
    /// breaker of another endpoint returns the same type of body if its classifier and its client have the same types.
    /// `TrackedBody::from` converts any other body into an untracked body.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http::{Request, Response};
    /// # use http_body_util::{BodyExt, Full};
    /// # use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_circuit_breaker::body::TrackedBody;
    /// # use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, classify::HttpClassifier};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// # let circuit = Circuit::new(Config::new("downloads")?);
    /// let layer = CircuitBreakerLayer::new(&circuit)
    ///     .classifier(HttpClassifier::new().until_end_of_body())
    ///     .tracked_bodies()
    ///     .fallback_async(async |_, _: Request<()>| Ok(Response::new(TrackedBody::from(Full::from("an older copy")))));
    /// # let client = service_fn(async |_: Request<()>| Err::<Response<Full<Bytes>>, _>(std::io::Error::other("down")));
    /// let mut service = ServiceBuilder::new().layer(layer).map_err(BoxError::from).service(client);
    /// # for _ in 0..5 { service.ready().await?.call(Request::new(())).await.unwrap_err(); }
    /// let response = service.ready().await?.call(Request::new(())).await?;
    /// assert_eq!(response.into_body().collect().await?.to_bytes(), "an older copy");
    /// # Ok(()) }
    /// ```
    pub fn fallback_async<F, Fut, Req, Res, E>(
        self,
        fallback: F,
    ) -> FallbackLayer<F, TrackedBodiesLayer<C, Deferred<R>, K>>
    where
        F: Fn(Rejected, Req) -> Fut,
        Fut: Future<Output = Result<Res, E>>,
    {
        FallbackLayer { fallback, breaker: self.map_rejection(Deferred) }
    }
}

/// A layer of a breaker with an asynchronous fallback. Created by [`CircuitBreakerLayer::fallback_async`].
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct FallbackLayer<F, L> {
    fallback: F,
    breaker: L,
}

impl<S, F: Clone, L: Layer<S>> Layer<S> for FallbackLayer<F, L> {
    type Service = WithFallback<F, L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        WithFallback { fallback: self.fallback.clone(), breaker: self.breaker.layer(inner) }
    }
}

/// A breaker with an asynchronous fallback around it.
#[derive(Clone)]
pub struct WithFallback<F, S> {
    fallback: F,
    breaker: S,
}

impl<F, S> WithFallback<F, S> {
    /// Returns the breaker.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.breaker
    }

    /// Returns a mutable reference to the breaker.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.breaker
    }

    /// Returns the breaker without the fallback.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.breaker
    }
}

impl<F, S, Fut, Req, E> Service<Req> for WithFallback<F, S>
where
    S: Service<Req, Error = Unanswered<Req, E>>,
    F: Fn(Rejected, Req) -> Fut + Clone,
    Fut: Future<Output = Result<S::Response, E>>,
{
    type Response = S::Response;
    type Error = E;
    type Future = FallbackFuture<F, S::Future, Fut>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.breaker.poll_ready(context).map_err(|error| match error {
            Unanswered::Failed(error) => error,
            Unanswered::Rejected(..) => unreachable!("a breaker rejects calls only, and no call was made"),
        })
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let state = State::Calling { future: self.breaker.call(request) };
        FallbackFuture { fallback: self.fallback.clone(), state }
    }
}

pin_project! {
    /// The future of a call through [`WithFallback`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the call, the call is cancelled, as for
    /// [`ResponseFuture`](crate::ResponseFuture). If the future is dropped during the fallback, the future of the
    /// fallback is dropped and no fallback is counted.
    #[must_use = "futures do nothing unless polled"]
    pub struct FallbackFuture<F, Call, Fut> {
        fallback: F,
        #[pin]
        state: State<Call, Fut>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<Call, Fut> {
        Calling { #[pin] future: Call },
        Answering { #[pin] future: Fut, rejected: Rejected },
    }
}

impl<F, Call, Fut, Req, Res, E> Future for FallbackFuture<F, Call, Fut>
where
    Call: Future<Output = Result<Res, Unanswered<Req, E>>>,
    F: Fn(Rejected, Req) -> Fut,
    Fut: Future<Output = Result<Res, E>>,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let (rejected, request) = match this.state.as_mut().project() {
                StateProjection::Calling { future } => match ready!(future.poll(context)) {
                    Ok(response) => return Poll::Ready(Ok(response)),
                    Err(Unanswered::Failed(error)) => return Poll::Ready(Err(error)),
                    Err(Unanswered::Rejected(rejected, request)) => (rejected, request),
                },
                StateProjection::Answering { future, rejected } => {
                    let answer = ready!(future.poll(context));
                    rejected.report_fallback(answer.is_ok());
                    return Poll::Ready(answer);
                }
            };
            let future = (this.fallback)(rejected.clone(), request);
            this.state.set(State::Answering { future, rejected });
        }
    }
}

/// The [`Rejection`] of a breaker with an asynchronous fallback. Passes the rejection and the request to the fallback.
/// `R` converts the errors of calls that failed.
#[derive(Debug, Clone, Copy)]
pub struct Deferred<R>(R);

impl<R, Req, Res, E> Rejection<Req, Res, E> for Deferred<R>
where
    R: Rejection<Req, Res, E>,
{
    type Error = Unanswered<Req, R::Error>;

    fn reject(&self, rejected: Rejected, request: Req) -> Result<Res, Self::Error> {
        Err(Unanswered::Rejected(rejected, request))
    }

    fn map_err(error: E) -> Self::Error {
        Unanswered::Failed(R::map_err(error))
    }
}

/// The error that a breaker passes to its fallback. This is a rejection with its request, or an error of the call.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a call was made or it was not")]
pub enum Unanswered<Req, E> {
    /// The call was rejected and not made.
    Rejected(Rejected, Req),
    /// The call was made and failed.
    Failed(E),
}

impl<F, L: fmt::Debug> fmt::Debug for FallbackLayer<F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<F, S: fmt::Debug> fmt::Debug for WithFallback<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithFallback").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<F, Call, Fut> fmt::Debug for FallbackFuture<F, Call, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling { .. } => "Calling",
            State::Answering { .. } => "Answering",
        };
        f.debug_tuple("FallbackFuture").field(&format_args!("{state}")).finish()
    }
}
