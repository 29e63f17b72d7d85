//! The layer of the circuit breaker, which puts services behind a circuit. The layer also configures how calls are
//! classified and rejected.
//!
//! All state belongs to the circuit, which the user creates once. The layer creates no state when it is applied to a
//! service, because axum may apply a layer again for every request.

use std::fmt;

use tower_layer::Layer;

use crate::circuit::Circuit;
use crate::classify::{DefaultClassifier, ErrorClassifier, FnClassifier, ResponseClassifier, WithCriticality};
use crate::error::Rejected;
#[cfg(feature = "keyed")]
use crate::keyed::Keyed;
use crate::keyed::OneCircuit;
use crate::outcome::Outcome;
use crate::rejection::{BoxedErrors, ErrorsAs, Respond, TypedErrors};
use crate::service::{CircuitBreaker, WhenOpen};
use crate::state::Criticality;

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
    /// Returns a layer for the circuit, with the default classifier and boxed errors.
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
    /// Returns a layer with one circuit for each key of the requests, with the default classifier and boxed errors.
    ///
    /// The services of the layer are ready when the inner service is ready, because the circuit is known only when the
    /// request arrives. If the registry has a store and sets the duration `first_call_waits`, the services are ready
    /// only after the circuits are restored, or after that duration. After a rejected call the inner service stays
    /// ready. It keeps its reserved resources until the next call or until the service is dropped.
    pub fn keyed(circuits: Keyed<F>) -> Self {
        let (classifier, rejection) = (DefaultClassifier, BoxedErrors);
        Self { circuits, classifier, rejection, when_open: WhenOpen::Reject }
    }
}

impl<C, R, K> CircuitBreakerLayer<C, R, K> {
    /// Classifies calls with a function or a closure that gets the result of the call.
    ///
    /// Use a function if the error is `BoxError`. With a closure that gets a `&BoxError`,
    /// `tokio::spawn(stack.oneshot(..))` does not compile. Rustc checks a spawned future for every lifetime of the
    /// error object in the box, but a closure accepts only one lifetime. The [guide] shows the full compiler error.
    ///
    /// When the circuit opens, the reason contains the kind of the failure, but not the text of the error. To add the
    /// text, implement [`Classifier::describe`](crate::classify::Classifier::describe).
    ///
    /// [guide]: crate::guide::troubleshooting#implementation-of-fnonce-is-not-general-enough-in-a-task-or-a-handler
    ///
    /// ```
    /// # use tower::{Layer, ServiceExt};
    /// # use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Outcome, classify::outcome_of};
    /// # struct Response { status: u16 }
    /// fn judge(result: Result<&Response, &BoxError>) -> Outcome {
    ///     match result {
    ///         Ok(response) if response.status >= 500 => Outcome::failure(),
    ///         Ok(_) => Outcome::Success,
    ///         Err(error) => outcome_of(error.as_ref()),
    ///     }
    /// }
    ///
    /// # let circuit = Circuit::new(Config::new("payments").unwrap());
    /// let layer = CircuitBreakerLayer::new(&circuit).classify(judge);
    /// # let client = tower::service_fn(|_: u32| async { Ok::<_, BoxError>(Response { status: 200 }) });
    /// # let stack = layer.layer(client);
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async move {
    /// # let spawned =
    /// tokio::spawn(stack.oneshot(1));
    /// # assert!(spawned.await.unwrap().is_ok()) });
    /// ```
    pub fn classify<Res, Err, F>(self, f: F) -> CircuitBreakerLayer<FnClassifier<F>, R, K>
    where
        // The bound is on this method, because the compiler infers the reference lifetimes of a closure from the bound
        // of the method to which the closure is passed.
        F: Fn(Result<&Res, &Err>) -> Outcome,
    {
        self.classifier(FnClassifier::new(f))
    }

    /// Classifies failed calls with a function or a closure that gets the error. Every response is a success. As with
    /// [`classify`](Self::classify), use a function if the error is `BoxError`. When the circuit opens, the reason does
    /// not contain the text of the error.
    pub fn classify_error<Err, F>(self, f: F) -> CircuitBreakerLayer<ErrorClassifier<F>, R, K>
    where
        F: Fn(&Err) -> Outcome,
    {
        self.classifier(ErrorClassifier::new(f))
    }

    /// Classifies responses with a closure. The default classifier classifies errors. When the circuit opens after an
    /// error, the reason contains the text of the error.
    pub fn classify_response<Res, F>(self, f: F) -> CircuitBreakerLayer<ResponseClassifier<F>, R, K>
    where
        F: Fn(&Res) -> Outcome,
    {
        self.classifier(ResponseClassifier::new(f))
    }

    /// Classifies calls with your own classifier.
    pub fn classifier<C2>(self, classifier: C2) -> CircuitBreakerLayer<C2, R, K> {
        let Self { circuits, rejection, when_open, .. } = self;
        CircuitBreakerLayer { circuits, classifier, rejection, when_open }
    }

    /// Sets a closure that returns the criticality of a request. While the circuit rejects only some calls, because of
    /// its [ramp](crate::config::ConfigBuilder::ramp) or [throttle](crate::config::ConfigBuilder::throttle), less
    /// critical calls are rejected first. A half-open circuit takes its probes from less critical calls, if there are
    /// any.
    ///
    /// Set the classifier first. If a classifier is set after this method, the closure is lost. Without this method
    /// every call is [`Standard`](Criticality::Standard).
    ///
    /// ```
    /// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Criticality};
    ///
    /// let circuit = Circuit::new(Config::builder("payments").throttle(2.0).build()?);
    /// let layer = CircuitBreakerLayer::new(&circuit).criticality(|request: &http::Request<()>| {
    ///     match request.uri().path() {
    ///         "/pay" => Criticality::Critical,
    ///         "/report" => Criticality::Sheddable,
    ///         _ => Criticality::Standard,
    ///     }
    /// });
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    pub fn criticality<Req, F>(self, f: F) -> CircuitBreakerLayer<WithCriticality<C, F>, R, K>
    where
        // The bound is on this method, because the compiler infers the reference lifetime of a closure from the bound
        // of the method to which the closure is passed.
        F: Fn(&Req) -> Criticality,
    {
        let Self { circuits, classifier, rejection, when_open } = self;
        CircuitBreakerLayer { circuits, classifier: WithCriticality::new(classifier, f), rejection, when_open }
    }

    /// Rejects calls with the error [`Error::Rejected`](crate::Error) instead of a boxed error. Callers can match on
    /// this error, and a rejection allocates nothing.
    ///
    /// Keep the boxed errors if the error of the inner service is `BoxError`, because `Error<BoxError>` is not a
    /// `std::error::Error`.
    pub fn typed_errors(self) -> CircuitBreakerLayer<C, TypedErrors, K> {
        self.rejection(TypedErrors)
    }

    /// Converts rejections and the errors of the service into your own error type.
    ///
    /// Code that is generic over the service `S` needs the bound `S::Error: 'static`, because the default classifier
    /// downcasts the error to known types.
    ///
    /// ```
    /// use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Rejected};
    ///
    /// enum ClientError {
    ///     Unavailable(Rejected),
    ///     Io(std::io::Error),
    /// }
    /// # impl From<Rejected> for ClientError { fn from(error: Rejected) -> Self { Self::Unavailable(error) } }
    /// # impl From<std::io::Error> for ClientError { fn from(error: std::io::Error) -> Self { Self::Io(error) } }
    ///
    /// let circuit = Circuit::new(Config::new("prices")?);
    /// let layer = CircuitBreakerLayer::new(&circuit).errors_as::<ClientError>(); // has a `From` for both
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    pub fn errors_as<E: From<Rejected>>(self) -> CircuitBreakerLayer<C, ErrorsAs<E>, K> {
        self.rejection(ErrorsAs::new())
    }

    /// Returns a response from `respond` to each rejected call, instead of an error. The error type of the service is
    /// unchanged. Use this method for axum's `Router::layer`, for `option_layer` and for tonic servers.
    pub fn respond_with<Res, F>(self, respond: F) -> CircuitBreakerLayer<C, Respond<F>, K>
    where
        F: Fn(Rejected) -> Res,
    {
        self.rejection(Respond::new(respond))
    }

    /// Sets the [`Rejection`](crate::rejection::Rejection), which creates the response or the error of a rejected call.
    pub fn rejection<R2>(self, rejection: R2) -> CircuitBreakerLayer<C, R2, K> {
        self.map_rejection(|_| rejection)
    }

    pub(crate) fn map_rejection<R2>(self, map: impl FnOnce(R) -> R2) -> CircuitBreakerLayer<C, R2, K> {
        let Self { circuits, classifier, rejection, when_open } = self;
        CircuitBreakerLayer { circuits, classifier, rejection: map(rejection), when_open }
    }
}

impl<C, R> CircuitBreakerLayer<C, R> {
    /// Sets the behaviour of `poll_ready` while the circuit rejects every call. Default: [`WhenOpen::Reject`].
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
