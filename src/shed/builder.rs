//! The settings of a load-shedding layer, checked once.

use std::fmt;

use super::layer::LoadSheddingLayer;
use super::shedder::{Limits, Shedder};
use super::{LoadProbe, NoEstimate};
use crate::circuit::Circuit;
use crate::config::ConfigError;
use crate::error::Rejected;
use crate::rejection::{BoxedErrors, Respond, TypedErrors};

/// Settings of a [`LoadSheddingLayer`] that are not checked yet. Each method says its range and default.
#[must_use = "settings do nothing until `build` makes a layer of them"]
pub struct LoadSheddingBuilder<O = NoEstimate, R = BoxedErrors> {
    circuit: Circuit,
    probe: Box<dyn LoadProbe>,
    above: f64,
    below: Option<f64>,
    operations_over: u64,
    operation: O,
    rejection: R,
}

impl LoadSheddingBuilder {
    pub(super) fn new(circuit: &Circuit, probe: impl LoadProbe) -> Self {
        Self {
            circuit: circuit.clone(),
            probe: Box::new(probe),
            above: 0.85,
            below: None,
            operations_over: 100,
            operation: NoEstimate,
            rejection: BoxedErrors,
        }
    }
}

impl<O, R> LoadSheddingBuilder<O, R> {
    /// Sets the load of the system above which heavy operations are shed; at the limit itself they are not yet.
    ///
    /// More than 0; above 1 for a probe that goes so far. Default: 0.85.
    pub fn above(mut self, load: f64) -> Self {
        self.above = load;
        self
    }

    /// Sets the load of the system below which shedding ends again; at the limit itself it does not yet.
    ///
    /// More than 0 and at most [`above`](Self::above), which switches the hysteresis off. Default: 0.05 less than that, or half of
    /// it if that is more: 0.80.
    ///
    /// Where what is shed makes most of the load, choose it below the load of the rest. Otherwise shedding ends as soon as it
    /// has helped, and begins again.
    pub fn until_below(mut self, load: f64) -> Self {
        self.below = Some(load);
        self
    }

    /// Sets what an operation may be estimated at and go through all the same. Any number. Default: 100.
    pub fn for_operations_over(mut self, load: u64) -> Self {
        self.operations_over = load;
        self
    }

    /// Sets how a request's operation is named, and how heavy it is estimated, in a unit of your own.
    ///
    /// The name goes into the error; the request may lend it. Without this, nothing is shed.
    ///
    /// ```
    /// # use tower_circuit_breaker::{Circuit, Config, shed::{CpuProbe, LoadSheddingLayer}};
    /// # let circuit = Circuit::new(Config::new("shop")?);
    /// let shedding = LoadSheddingLayer::new(&circuit, CpuProbe::new())
    ///     .operation(|request: &http::Request<String>| match request.uri().path() {
    ///         path @ "/report" => (path, 500),
    ///         path => (path, 1),
    ///     })
    ///     .build()?;
    /// # drop(shedding);
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    pub fn operation<Req, F>(self, operation: F) -> LoadSheddingBuilder<F, R>
    where
        // The bound stands here, so that a closure's references are taken as it is written.
        F: Fn(&Req) -> (&str, u64),
    {
        self.estimate(operation)
    }

    /// Sets an [`Estimate`](super::Estimate) of your own, where a closure cannot be named.
    pub fn estimate<O2>(self, operation: O2) -> LoadSheddingBuilder<O2, R> {
        let Self { circuit, probe, above, below, operations_over, rejection, .. } = self;
        LoadSheddingBuilder { circuit, probe, above, below, operations_over, operation, rejection }
    }

    /// Rejects with [`Error::Rejected`](crate::Error), as [`typed_errors`](crate::CircuitBreakerLayer::typed_errors) of the
    /// breaker.
    ///
    /// Around a breaker that has typed errors too, its rejections are an `Error` in an `Error`.
    pub fn typed_errors(self) -> LoadSheddingBuilder<O, TypedErrors> {
        self.rejection(TypedErrors)
    }

    /// Answers shed calls with a response that `respond` makes, and leaves the service's error type as it is.
    pub fn respond_with<Res, F>(self, respond: F) -> LoadSheddingBuilder<O, Respond<F>>
    where
        F: Fn(Rejected) -> Res,
    {
        self.rejection(Respond::new(respond))
    }

    /// Rejects in a way of your own, or in one that ships: see [`rejection`](crate::rejection). Default: [`BoxedErrors`].
    pub fn rejection<R2>(self, rejection: R2) -> LoadSheddingBuilder<O, R2> {
        let Self { circuit, probe, above, below, operations_over, operation, .. } = self;
        LoadSheddingBuilder { circuit, probe, above, below, operations_over, operation, rejection }
    }

    /// Checks the settings, and makes the layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that can never work, its value and what is allowed.
    pub fn build(self) -> Result<LoadSheddingLayer<O, R>, ConfigError> {
        let Self { circuit, probe, above, below, operations_over, operation, rejection } = self;
        if !(above > 0.0 && above.is_finite()) {
            return Err(ConfigError::new("above", above, "more than 0"));
        }
        let below = below.unwrap_or_else(|| (above - HYSTERESIS).max(above / 2.0));
        if !(below > 0.0 && below <= above) {
            return Err(ConfigError::new("until_below", below, format!("more than 0 and at most `above`, {above}")));
        }
        let limits = Limits { above, below, operations_over };
        Ok(LoadSheddingLayer::of(Shedder::new(circuit, probe, limits), operation, rejection))
    }
}

impl<O, R> fmt::Debug for LoadSheddingBuilder<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadSheddingBuilder")
            .field("circuit", &self.circuit)
            .field("above", &self.above)
            .field("below", &self.below)
            .field("operations_over", &self.operations_over)
            .finish_non_exhaustive()
    }
}

/// How far the load has to fall below the limit.
const HYSTERESIS: f64 = 0.05;
