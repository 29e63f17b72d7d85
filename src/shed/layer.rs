//! The load-shedding layer and its service. Before each call, the service queries the shedder, which has the circuit,
//! the load probe and the limits.
//!
//! The builder creates the shedder once. axum may apply a layer again for every request. Therefore applying the layer
//! creates no state.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::builder::LoadSheddingBuilder;
use super::future::SheddingFuture;
use super::shedder::Shedder;
use super::{Estimate, LoadProbe, NoEstimate};
use crate::circuit::Circuit;
use crate::rejection::{BoxedErrors, Rejection};

/// Refuses heavy operations while the machine is busy. Clones share the last reading of the load.
///
/// Place the layer outside the breaker of the same circuit. Like the breaker, this layer belongs inside layers that
/// reserve capacity for each call, such as a concurrency limit or a buffer. It also belongs inside layers that wait,
/// such as retries.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct LoadSheddingLayer<O = NoEstimate, R = BoxedErrors> {
    shedder: Arc<Shedder>,
    operation: O,
    rejection: R,
}

impl LoadSheddingLayer {
    /// Starts the builder of a layer that reports its events on `circuit` and polls the load from `probe`.
    #[expect(clippy::new_ret_no_self, reason = "limits are checked by the builder's `build`")]
    pub fn new(circuit: &Circuit, probe: impl LoadProbe) -> LoadSheddingBuilder {
        LoadSheddingBuilder::new(circuit, probe)
    }
}

impl<O, R> LoadSheddingLayer<O, R> {
    pub(super) fn of(shedder: Shedder, operation: O, rejection: R) -> Self {
        Self { shedder: Arc::new(shedder), operation, rejection }
    }
}

impl<S, O: Clone, R: Clone> Layer<S> for LoadSheddingLayer<O, R> {
    type Service = LoadShedding<S, O, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { shedder, operation, rejection } = self.clone();
        LoadShedding { inner, shedder, operation, rejection }
    }
}

impl<O, R> fmt::Debug for LoadSheddingLayer<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadSheddingLayer").field("shedder", &self.shedder).finish_non_exhaustive()
    }
}

/// A service whose heavy operations are refused while the machine is busy.
///
/// A clone shares the last reading of the load, but not the readiness of the inner service. The inner service stays
/// ready after a call is shed.
#[derive(Clone)]
pub struct LoadShedding<S, O = NoEstimate, R = BoxedErrors> {
    inner: S,
    shedder: Arc<Shedder>,
    operation: O,
    rejection: R,
}

impl<S, O, R> LoadShedding<S, O, R> {
    /// Returns the inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service. A call through the reference is never shed.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the inner service out.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, O, R, Req> Service<Req> for LoadShedding<S, O, R>
where
    S: Service<Req>,
    O: Estimate<Req>,
    R: Rejection<Req, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = SheddingFuture<S::Future, R, Req, S::Response, S::Error>;

    /// Is ready when the inner service is ready, because the load of the operation is unknown before the request.
    #[inline]
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(R::map_err)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.shedder.refuse(|| self.operation.estimate(&request)) {
            None => SheddingFuture::called(self.inner.call(request)),
            Some(rejected) => SheddingFuture::shed(self.rejection.reject(rejected, request)),
        }
    }
}

impl<S: fmt::Debug, O, R> fmt::Debug for LoadShedding<S, O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShedding")
            .field("inner", &self.inner)
            .field("shedder", &self.shedder)
            .finish_non_exhaustive()
    }
}
