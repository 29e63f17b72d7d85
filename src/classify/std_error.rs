//! The classifier for an application's own error type, which must implement `std::error::Error`.
//!
//! [`DefaultClassifier`](super::DefaultClassifier) accepts an error of any type, so it cannot read the sources of an
//! unknown type. This classifier requires `std::error::Error`, which gives access to the sources and to the text.

use std::error::Error as StdError;
use std::time::Duration;

use super::Classifier;
#[cfg(doc)]
use super::DefaultClassifier;
use super::cause::text_of;
use super::timeout::{not_ready, outcome_of};
use crate::outcome::Outcome;

/// A classifier for an error of your own that implements [`std::error::Error`], such as an `enum` with `#[source]`
/// fields. Every response is a success, and [`outcome_of`] judges the error by its type and its sources. A timeout
/// among the sources weighs 0.5. With the features `reqwest` and `tonic`, a `reqwest::Error` or a `tonic::Status` among
/// the sources gets the same outcome as from the classifier of that client. When a failure opens the circuit, the
/// reason shows the text of the innermost source.
///
/// The error of the client must itself be one of the sources. `#[error(transparent)]` of thiserror hides the error of
/// the client, because `source()` then skips the wrapped error. Timeouts then weigh 1.0, and mistakes of callers count.
/// Write `#[error("..")]` with `#[from]` or `#[source]` instead. [`Rejected::find`](crate::Rejected::find) does not
/// find a hidden rejection either.
///
/// [`DefaultClassifier`] counts an error of your own as a hard failure without a text.
///
/// ```
/// # use std::{fmt, io};
/// use tower_circuit_breaker::{Circuit, Config, Error, classify::StdErrorClassifier};
///
/// #[derive(Debug)]
/// enum QuoteError {
///     Unknown,
///     Database(io::Error),
/// }
/// # impl fmt::Display for QuoteError {
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("no quote") }
/// # }
///
/// impl std::error::Error for QuoteError {
///     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
///         match self {
///             Self::Unknown => None,
///             Self::Database(error) => Some(error),
///         }
///     }
/// }
///
/// # async fn quote() -> Result<u32, QuoteError> { Err(QuoteError::Database(io::ErrorKind::TimedOut.into())) }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let _ = QuoteError::Unknown;
/// # let circuit = Circuit::new(Config::new("database")?);
/// let quote: Result<u32, Error<QuoteError>> = circuit.call_classified(StdErrorClassifier::new(), quote()).await;
/// # assert!(quote.is_err());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct StdErrorClassifier;

impl StdErrorClassifier {
    /// Returns the classifier.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<Req, Res, Err: StdError + 'static> Classifier<Req, Res, Err> for StdErrorClassifier {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &Err>, _: Duration) -> Outcome {
        result.map_or_else(|error| outcome_of(error), |_| Outcome::Success)
    }

    fn describe(&self, result: Result<&Res, &Err>) -> Option<String> {
        result.err().map(|error| text_of(error))
    }

    fn ready_error(&self, error: &Err) -> Outcome {
        not_ready(outcome_of(error))
    }
}
