//! Calls without tower that a closure or a classifier judges, calls with a time limit, and calls on threads without a
//! runtime.

use std::future::Future;
use std::time::Duration;

use super::permitted::{follow, judged, text_of_error, unclassified, within};
use super::{Conclusive, Flight};
use crate::circuit::{Circuit, Start};
use crate::classify::Classifier;
#[cfg(doc)]
use crate::classify::DefaultClassifier;
use crate::error::{Error, WithinError};
use crate::outcome::Outcome;

/// Variants of [`call`](Self::call) that use a closure or a classifier, have a time limit, or run on threads without a
/// runtime.
impl Circuit {
    /// Makes a call whose outcome a closure decides. Runs `future` if the circuit permits the call, records the outcome
    /// that `judge` returns, and returns the result of `future`.
    ///
    /// A permit is taken at the first poll. If the outcome opens the circuit, the reason of the transition contains the
    /// text of the error, provided that [`DefaultClassifier`] knows the type of the error.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the circuit does not permit the call. The `future` of a rejected call is not polled.
    /// [`Error::Inner`] with the error of `future`, even if `judge` counts this error as a success.
    ///
    /// # Cancel safety
    ///
    /// If the returned future is dropped before its first poll, or while it waits for the restore of the circuit,
    /// nothing has happened. If the returned future is dropped later, `future` is dropped too, and the call counts as
    /// cancelled. A cancelled call is neutral, or a failure of weight 0.5 if the call has waited for at least
    /// `cancelled_counts_after`.
    ///
    /// # Examples
    ///
    /// A missing row is a good answer of the database and counts as a success.
    /// [`outcome_of`](crate::classify::outcome_of) judges all other errors:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_circuit_breaker::{BoxError, Circuit, Config, Outcome, classify::outcome_of};
    /// # #[derive(Debug)] enum DbError { RowNotFound, Io(std::io::Error) }
    /// # impl std::fmt::Display for DbError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{self:?}") } }
    /// # impl std::error::Error for DbError {}
    /// # async fn query() -> Result<u32, DbError> { Ok(1) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// # let circuit = Circuit::new(Config::new("database")?);
    /// let judge = |result: Result<&u32, &DbError>| match result {
    ///     Ok(_) | Err(DbError::RowNotFound) => Outcome::Success,
    ///     Err(DbError::Io(error)) => outcome_of(error),
    /// };
    /// let rows = circuit.call_with(judge, query()).await?;
    /// # let _: u32 = rows;
    /// # Ok(()) }
    /// ```
    pub fn call_with<J, F, T, E>(
        &self,
        judge: J,
        future: F,
    ) -> impl Future<Output = Result<T, Error<E>>> + use<J, F, T, E>
    where
        J: FnOnce(Result<&T, &E>) -> Outcome,
        F: Future<Output = Result<T, E>>,
        E: 'static,
    {
        let (asking, wait) = self.asking_after_restore();
        follow(
            wait,
            || Ok(unclassified(asking.admit(Start::Untaken)?)),
            || future,
            |flight, result| {
                let judge = |result: &Result<T, E>| judge(result.as_ref());
                judged(flight, result, judge, text_of_error).map_err(Error::Inner)
            },
        )
    }

    /// Makes a call whose outcome a classifier decides, as in a layer. Use `ReqwestClassifier` for reqwest,
    /// `HttpClassifier` for an `http::Response`, `GrpcClassifier` for a tonic client, or a classifier of your own.
    ///
    /// The classifier gets `()` as the request. If [`NEEDS_ELAPSED`](Classifier::NEEDS_ELAPSED) is true, the duration
    /// of the call is measured with the precise clock.
    ///
    /// # Errors
    ///
    /// The same as for [`call_with`](Self::call_with).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`call_with`](Self::call_with), except that the classifier can decide on the outcome of a
    /// cancelled call.
    pub fn call_classified<C, F, T, E, D>(
        &self,
        classifier: C,
        future: F,
    ) -> impl Future<Output = Result<T, Error<E>>> + use<C, F, T, E, D>
    where
        C: Classifier<(), T, E, Call = D>,
        F: Future<Output = Result<T, E>>,
    {
        let (asking, wait) = self.asking_after_restore();
        follow(
            wait,
            move || {
                let permit = asking.admit(Flight::<C, (), T, E, D>::START)?;
                Ok(Flight::permitted(permit, &(), classifier))
            },
            || future,
            |flight, result| flight.classify(result).map_err(Error::Inner),
        )
    }

    /// Makes a call with a time limit. A call that takes longer than `limit` is dropped and counts as a timeout, a
    /// failure of weight 0.5. The time begins at the first poll. If the call must wait for the restore of the circuit,
    /// the time begins at the end of the wait.
    ///
    /// [`DefaultClassifier`] judges errors. To judge errors in another way, use [`call_with`](Self::call_with) with a
    /// `tokio::time::timeout` inside `future`. The closure then also judges the `Elapsed` of the timeout.
    ///
    /// # Errors
    ///
    /// [`WithinError::Rejected`] if the circuit does not permit the call. [`WithinError::Elapsed`] if the call took
    /// longer than `limit`. [`WithinError::Inner`] with the error of `future`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`call_with`](Self::call_with).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_circuit_breaker::{Circuit, Config, WithinError};
    /// # async fn query() -> Result<u32, std::io::Error> { Ok(1) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let circuit = Circuit::new(Config::new("database")?);
    /// match circuit.call_within(Duration::from_secs(2), query()).await {
    ///     Ok(rows) => println!("{rows} rows"),
    ///     Err(WithinError::Rejected(rejected)) => println!("not called: {rejected}"),
    ///     Err(WithinError::Elapsed(elapsed)) => println!("no answer: {elapsed}"),
    ///     Err(WithinError::Inner(error)) => println!("failed: {error}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn call_within<F, T, E, UseCallWith>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Result<T, WithinError<E>>> + use<F, T, E, UseCallWith>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
        Result<T, E>: Conclusive<UseCallWith>,
    {
        let (asking, wait) = self.asking_after_restore();
        within(wait, || asking.admit(Start::Untaken).map(unclassified).map_err(WithinError::Rejected), limit, future)
    }

    /// Makes a call on a thread without a runtime. Runs `call` if the circuit permits the call, and records the
    /// outcome. A panic of `call` counts as a hard failure. This method does not wait for the restore of the circuit.
    /// To wait, use [`acquire_blocking`](Self::acquire_blocking).
    ///
    /// [`DefaultClassifier`] judges errors. To judge errors in another way, take a permit with
    /// [`try_acquire`](Self::try_acquire), and use [`Permit::judge`](crate::Permit::judge).
    ///
    /// ```
    /// # use tower_circuit_breaker::{Circuit, Config, Error};
    /// # let circuit = Circuit::new(Config::new("disk")?);
    /// let text = circuit.call_blocking(|| std::fs::read_to_string("Cargo.toml"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the circuit does not permit the call, [`Error::Inner`] with the error of `call`.
    pub fn call_blocking<F, T, E, UseCallWith>(&self, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce() -> Result<T, E>,
        E: 'static,
        Result<T, E>: Conclusive<UseCallWith>,
    {
        let (asking, _) = self.asking();
        asking.admit(Start::Coarse)?.call_blocking(call).map_err(Error::Inner)
    }
}
