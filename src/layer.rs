//! The layer: puts services behind a circuit, and says how calls are judged and rejected.
//!
//! All state lives in the circuit, which is built once. Applying the layer makes nothing: axum applies it anew for every
//! request.

use std::fmt;

use tower_layer::Layer;

use crate::circuit::Circuit;
use crate::classify::{DefaultClassifier, ErrorClassifier, FnClassifier, ResponseClassifier};
use crate::error::Rejected;
#[cfg(feature = "keyed")]
use crate::keyed::Keyed;
use crate::keyed::OneCircuit;
use crate::outcome::Outcome;
use crate::rejection::{BoxedErrors, Respond, TypedErrors};
use crate::service::{CircuitBreaker, WhenOpen};

/// Puts services behind a [`Circuit`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower::{ServiceBuilder, timeout::TimeoutLayer};
/// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config};
///
/// # let client = tower::service_fn(|_: u32| async { Ok::<_, std::io::Error>(1) });
/// let circuit = Circuit::new(Config::new("payments")?);
/// let service = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(&circuit))
///     .layer(TimeoutLayer::new(Duration::from_secs(2)))
///     .service(client);
/// # fn usable<S: tower::Service<u32>>(_: S) {} usable(service);
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct CircuitBreakerLayer<C = DefaultClassifier, R = BoxedErrors, K = OneCircuit> {
    circuits: K,
    classifier: C,
    rejection: R,
    when_open: WhenOpen,
}

impl CircuitBreakerLayer {
    /// Returns a layer for that circuit, with the default classifier and boxed errors.
    pub fn new(circuit: &Circuit) -> Self {
        Self {
            circuits: OneCircuit(circuit.clone()),
            classifier: DefaultClassifier,
            rejection: BoxedErrors,
            when_open: WhenOpen::Reject,
        }
    }
}

#[cfg(feature = "keyed")]
impl<F> CircuitBreakerLayer<DefaultClassifier, BoxedErrors, Keyed<F>> {
    /// Returns a layer with a circuit for each key of a request, with the default classifier and boxed errors.
    ///
    /// Its services are ready whenever the inner one is: which circuit it will be, only the request says. A rejected call then
    /// leaves the inner service ready, with what it has reserved for that, until the next call or until it is dropped.
    pub fn keyed(circuits: Keyed<F>) -> Self {
        let (classifier, rejection) = (DefaultClassifier, BoxedErrors);
        Self { circuits, classifier, rejection, when_open: WhenOpen::Reject }
    }
}

impl<C, R, K> CircuitBreakerLayer<C, R, K> {
    /// Judges calls by a closure over the result.
    ///
    /// ```
    /// # use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Outcome, classify::outcome_of};
    /// # struct Response { status: u16 }
    /// # let circuit = Circuit::new(Config::new("payments").unwrap());
    /// let layer = CircuitBreakerLayer::new(&circuit).classify(|result: Result<&Response, &BoxError>| match result {
    ///     Ok(response) if response.status >= 500 => Outcome::failure(),
    ///     Ok(_) => Outcome::Success,
    ///     Err(error) => outcome_of(error.as_ref()),
    /// });
    /// ```
    pub fn classify<Res, Err, F>(self, f: F) -> CircuitBreakerLayer<FnClassifier<F, Res, Err>, R, K>
    where
        // The bound stands here, so that a closure's references are taken as it is written.
        F: Fn(Result<&Res, &Err>) -> Outcome,
    {
        self.classifier(FnClassifier::new(f))
    }

    /// Judges calls by a closure over the error; every response is a success.
    pub fn classify_error<Err, F>(self, f: F) -> CircuitBreakerLayer<ErrorClassifier<F, Err>, R, K>
    where
        F: Fn(&Err) -> Outcome,
    {
        self.classifier(ErrorClassifier::new(f))
    }

    /// Judges calls by a closure over the response; errors are judged by default.
    pub fn classify_response<Res, F>(self, f: F) -> CircuitBreakerLayer<ResponseClassifier<F, Res>, R, K>
    where
        F: Fn(&Res) -> Outcome,
    {
        self.classifier(ResponseClassifier::new(f))
    }

    /// Judges calls by a classifier of your own.
    pub fn classifier<C2>(self, classifier: C2) -> CircuitBreakerLayer<C2, R, K> {
        let Self { circuits, rejection, when_open, .. } = self;
        CircuitBreakerLayer { circuits, classifier, rejection, when_open }
    }

    /// Rejects with [`Error::Rejected`](crate::Error): an error to match on, without an allocation.
    ///
    /// With another layer's `BoxError` inside, `Error<BoxError>` is not a `std::error::Error`; then keep the default.
    pub fn typed_errors(self) -> CircuitBreakerLayer<C, TypedErrors, K> {
        self.rejection(TypedErrors)
    }

    /// Answers rejected calls with a response that `respond` makes, and leaves the service's error type as it is: for axum's
    /// `Router::layer`, `option_layer` and tonic servers.
    pub fn respond_with<Res, F>(self, respond: F) -> CircuitBreakerLayer<C, Respond<F>, K>
    where
        F: Fn(Rejected) -> Res,
    {
        self.rejection(Respond::new(respond))
    }

    /// Rejects in a way of your own.
    pub fn rejection<R2>(self, rejection: R2) -> CircuitBreakerLayer<C, R2, K> {
        let Self { circuits, classifier, when_open, .. } = self;
        CircuitBreakerLayer { circuits, classifier, rejection, when_open }
    }
}

impl<C, R> CircuitBreakerLayer<C, R> {
    /// Sets what `poll_ready` does while the circuit rejects every call. Default: [`WhenOpen::Reject`].
    pub fn when_open(mut self, when_open: WhenOpen) -> Self {
        self.when_open = when_open;
        self
    }
}

impl<S, C: Clone, R: Clone, K: Clone> Layer<S> for CircuitBreakerLayer<C, R, K> {
    type Service = CircuitBreaker<S, C, R, K>;

    fn layer(&self, inner: S) -> Self::Service {
        let circuits = self.circuits.clone();
        CircuitBreaker::new(inner, circuits, self.classifier.clone(), self.rejection.clone(), self.when_open)
    }
}

impl<C, R, K: fmt::Debug> fmt::Debug for CircuitBreakerLayer<C, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("CircuitBreakerLayer");
        debug.field("circuits", &self.circuits).field("when_open", &self.when_open).finish_non_exhaustive()
    }
}
