//! Classifiers, which turn the result of one call into an outcome. The outcome is a success, a failure with a weight
//! for this call, or ignored.
//!
//! A classifier sees the request before the call and the result after the call, so that its judgement can depend on
//! request and result. In most cases a closure is enough. Pass the closure to
//! [`classify`](crate::CircuitBreakerLayer::classify), `classify_error` or `classify_response`. A layer without a
//! classifier uses [`DefaultClassifier`]. With this classifier an error of an unknown type is a hard failure. If such
//! an error counted as a success, an outage could stay hidden. A failure has a kind and a text. The kind is a label of
//! metrics, so the number of kinds must be small. The text is for people.
//!
//! The weight of one call is the weight of the [`Failure`] that the classifier returns. Without tower the caller gives
//! the weight (`call/with.rs`, `circuit/permit.rs`). This module leaves the counting of outcomes, and the decision to
//! trip, to the circuit.

#[cfg(feature = "http")]
mod body;
mod cause;
mod closure;
mod criticality;
#[cfg(feature = "http")]
mod grpc;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "reqwest")]
mod reqwest;
mod std_error;
mod timeout;

use std::time::Duration;

#[cfg(feature = "http")]
pub use self::http::{AtEndOfBody, AtHeaders, BodyError, BoxedBodyError, HttpClassifier, PlainBodyError};
#[cfg(feature = "reqwest")]
pub use self::reqwest::ReqwestClassifier;
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::state::Criticality;
#[cfg(feature = "http")]
pub use body::BodyClassifier;
pub use closure::{ErrorClassifier, FnClassifier, ResponseClassifier};
pub use criticality::WithCriticality;
#[cfg(feature = "http")]
pub use grpc::{GrpcCall, GrpcClassifier, GrpcCode};
#[cfg(feature = "http")]
pub(crate) use grpc::{is_grpc_message, is_grpc_web};
pub use std_error::StdErrorClassifier;
pub use timeout::{DefaultClassifier, outcome_of};

/// Decides the outcome of each call.
///
/// # Examples
///
/// A classifier of your own can remember a part of the request, and use the duration of the call:
///
/// ```
/// use std::time::Duration;
/// use tower_circuit_breaker::{Outcome, classify::Classifier};
///
/// #[derive(Clone)]
/// struct WithinItsBudget;
///
/// struct Request {
///     budget: Duration,
/// }
///
/// impl<Res, Err> Classifier<Request, Res, Err> for WithinItsBudget {
///     const NEEDS_ELAPSED: bool = true;
///     type Call = Duration;
///
///     fn start(&self, request: &Request) -> Duration {
///         request.budget
///     }
///
///     fn finish(&self, budget: Duration, result: Result<&Res, &Err>, elapsed: Duration) -> Outcome {
///         match result {
///             Ok(_) if elapsed > budget => Outcome::timeout(),
///             Ok(_) => Outcome::Success,
///             Err(_) => Outcome::failure(),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify a call that takes `{Req}` and gives `Result<{Res}, {Err}>`",
    label = "this classifier does not fit the service inside the circuit breaker",
    note = "the wrapped service gives `Result<{Res}, {Err}>`: a layer below the breaker, such as `timeout`, may have changed the error to `BoxError`"
)]
pub trait Classifier<Req, Res, Err> {
    /// True if `finish` uses `elapsed`. Default: false.
    ///
    /// With `true`, each call reads the precise clock twice. With `false`, `elapsed` is zero unless the circuit
    /// [measures durations](crate::config::ConfigBuilder::measure_durations).
    const NEEDS_ELAPSED: bool = false;

    /// The data of the request that `finish` needs, often `()`.
    type Call;

    /// Returns the data of the request that `finish` needs. Called before the call is made.
    fn start(&self, request: &Req) -> Self::Call;

    /// Returns the outcome of a call that ended with `result`.
    fn finish(&self, call: Self::Call, result: Result<&Res, &Err>, elapsed: Duration) -> Outcome;

    /// Returns a text that explains a failure to people, such as the reason that the service gave or the cause of the
    /// error. Default: `None`.
    ///
    /// The circuit calls this method only for a failure that is about to open the circuit or to make the open duration
    /// longer. The failure can come from a call or from `poll_ready`. Status, log, audit and rejections show the text,
    /// and metrics do not. The circuit keeps one line of at most 200 characters, and shortens each address with `://`
    /// to scheme and host. A text should contain no secrets and nothing about the caller.
    #[expect(unused_variables, reason = "a name for the documentation")]
    fn describe(&self, result: Result<&Res, &Err>) -> Option<String> {
        None
    }

    /// Returns the outcome of an error of the inner service's `poll_ready`. Default: a hard failure.
    #[expect(unused_variables, reason = "a name for the documentation")]
    fn ready_error(&self, error: &Err) -> Outcome {
        Outcome::Failure(Failure::hard().with_kind(FailureKind::NotReady))
    }

    /// Returns the outcome of a call that was dropped before the call ended.
    ///
    /// `elapsed` counts from the start if the call is measured or the slow-call rule is on. For a call under a
    /// [`Permit`](crate::Permit) of the caller, `elapsed` counts from the permit. For all other calls, `elapsed` counts
    /// from the first poll that returned `Pending`. If such a call is dropped before its first `Pending`, the call is
    /// neutral (neither a success nor a failure), and this method is not called. With `None`, the default, the setting
    /// [`cancelled_counts_after`](crate::config::ConfigBuilder::cancelled_counts_after) decides the outcome.
    #[expect(unused_variables, reason = "names for the documentation")]
    fn cancelled(&self, call: Self::Call, elapsed: Duration) -> Option<Outcome> {
        None
    }

    /// Returns true if dropped calls say nothing about the service. Default: false.
    ///
    /// With `true`, a dropped call is neutral however long the call had waited, and the circuit does not call
    /// [`cancelled`](Self::cancelled). A caller that gives up while `poll_ready` is pending does not count either. An
    /// outcome of [`Outcome::deadline`] is ignored, because the caller set that deadline. Use `true` for the handlers
    /// of a server, because their callers are browsers and clients that stop by themselves. The setting
    /// [`cancelled_never_counts`] does the same for a whole circuit instead of one layer.
    ///
    /// [`cancelled_never_counts`]: crate::config::ConfigBuilder::cancelled_never_counts
    fn cancelled_never_counts(&self) -> bool {
        false
    }

    /// Returns the criticality of a call. A circuit that must reject some calls rejects less critical calls first.
    /// Default: `Standard`.
    ///
    /// Only a ramp, a throttle and the half-open state use the criticality. A healthy circuit does not call this
    /// method, unless the circuit has a slow-call rule. With this rule each call takes a longer path, which calls this
    /// method although the criticality is not used. [`criticality`](crate::CircuitBreakerLayer::criticality) of the
    /// layer sets a closure for this method.
    #[expect(unused_variables, reason = "a name for the documentation")]
    fn criticality(&self, request: &Req) -> Criticality {
        Criticality::Standard
    }

    /// Returns the outcome of a call that panicked. Default: a hard failure.
    #[expect(unused_variables, reason = "a name for the documentation")]
    fn panicked(&self, call: Self::Call) -> Outcome {
        Outcome::Failure(Failure::hard().with_kind(FailureKind::Panicked))
    }
}
