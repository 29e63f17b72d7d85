//! The builder of a load-shedding layer, which checks the settings once.

use std::fmt;

use super::layer::LoadSheddingLayer;
use super::shedder::{Limits, Shedder};
use super::{LoadProbe, NoEstimate};
use crate::circuit::Circuit;
use crate::config::ConfigError;
use crate::error::Rejected;
use crate::rejection::{BoxedErrors, Respond, TypedErrors};

/// Unchecked settings of a [`LoadSheddingLayer`]. Each method states its range and default.
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
    /// Sets the load of the system above which heavy operations are shed. At exactly this load heavy operations still
    /// go through.
    ///
    /// Range: more than 0. Use a value above 1 only with a probe that returns loads above 1. Default: 0.85.
    pub fn above(mut self, load: f64) -> Self {
        self.above = load;
        self
    }

    /// Sets the load of the system below which shedding ends. At exactly this load shedding continues.
    ///
    /// Range: more than 0 and at most [`above`](Self::above). A value equal to `above` switches the hysteresis off.
    /// Default: 0.05 less than `above`, or half of `above` if this half is larger. For the default of `above`, which is
    /// 0.85, the default is 0.80.
    ///
    /// While heavy operations are shed, only light operations load the system. If heavy operations cause most of the
    /// load, choose a limit below the load of the light operations alone. Shedding then lasts until the light load
    /// falls too. With a higher limit, shedding ends as soon as the heavy operations are gone, and begins again when
    /// they return.
    pub fn until_below(mut self, load: f64) -> Self {
        self.below = Some(load);
        self
    }

    /// Sets the estimated load up to which an operation is never shed. Range: any number. Default: 100.
    ///
    /// With 0, a busy system sheds each operation with an estimate of 1 or more. The estimate is then a priority: 0 for
    /// the operations that are never shed, and 1 for all other operations. The text of the rejection then omits the
    /// estimate and this limit.
    pub fn for_operations_over(mut self, load: u64) -> Self {
        self.operations_over = load;
        self
    }

    /// Sets the function that returns the name of a request's operation and its estimated load, in a unit of your own.
    ///
    /// The name appears in the rejection, and may be borrowed from the request. Without this setting nothing is shed.
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
        // The bound must be on this method. From this bound, the compiler infers the reference lifetimes of the
        // closure.
        F: Fn(&Req) -> (&str, u64),
    {
        self.estimate(operation)
    }

    /// Sets an [`Estimate`](super::Estimate) of your own. Use this method instead of [`operation`](Self::operation) if
    /// a field or a function must name the type of the estimate.
    pub fn estimate<O2>(self, operation: O2) -> LoadSheddingBuilder<O2, R> {
        let Self { circuit, probe, above, below, operations_over, rejection, .. } = self;
        LoadSheddingBuilder { circuit, probe, above, below, operations_over, operation, rejection }
    }

    /// Rejects calls with [`Error::Rejected`](crate::Error), like
    /// [`typed_errors`](crate::CircuitBreakerLayer::typed_errors) of the breaker.
    ///
    /// If the inner service is a breaker with typed errors, the rejections of the breaker are an `Error` inside an
    /// `Error`.
    pub fn typed_errors(self) -> LoadSheddingBuilder<O, TypedErrors> {
        self.rejection(TypedErrors)
    }

    /// Answers shed calls with a response that `respond` makes, and does not change the error type of the service.
    pub fn respond_with<Res, F>(self, respond: F) -> LoadSheddingBuilder<O, Respond<F>>
    where
        F: Fn(Rejected) -> Res,
    {
        self.rejection(Respond::new(respond))
    }

    /// Rejects calls with a [`rejection`](crate::rejection) of your own or of a protocol. Default: [`BoxedErrors`].
    pub fn rejection<R2>(self, rejection: R2) -> LoadSheddingBuilder<O, R2> {
        let Self { circuit, probe, above, below, operations_over, operation, .. } = self;
        LoadSheddingBuilder { circuit, probe, above, below, operations_over, operation, rejection }
    }

    /// Checks the settings and creates the layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first invalid field, its value and the allowed range.
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

/// The default distance between the limit where shedding begins and the limit where shedding ends.
const HYSTERESIS: f64 = 0.05;
