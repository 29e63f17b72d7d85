//! Calls under a permit that the caller has already, for workers that wait for their permit.
//!
//! The calls of a circuit take a permit and then continue here, so that both are judged, ended and described alike.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{Conclusive, Flight};
use crate::circuit::Permit;
use crate::classify::{Classifier, DefaultClassifier};
use crate::error::{Elapsed, WithinError};
use crate::outcome::Outcome;

/// The calls of [`Circuit`](crate::Circuit) for a permit that was taken before, such as the permit of
/// [`acquire`](crate::Circuit::acquire).
impl Permit {
    /// Makes the call of this permit, as [`Circuit::call`](crate::Circuit::call) does. Returns the result of `future`,
    /// and records its outcome with the text of the error.
    ///
    /// # Errors
    ///
    /// The error of `future`.
    ///
    /// # Cancel safety
    ///
    /// If the returned future is dropped, `future` is dropped too, and the call counts as cancelled. A cancelled call is
    /// no evidence, unless `cancelled_counts_after` has passed since the permit was given. Such a call counts as a
    /// failure of weight 0.5.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_circuit_breaker::{Circuit, Config};
    /// # async fn insert(_: u32) -> Result<(), std::io::Error> { Ok(()) }
    /// async fn work(circuit: Circuit, jobs: Vec<u32>) {
    ///     for job in jobs {
    ///         let permit = circuit.acquire().await; // waits while the circuit is open
    ///         if let Err(error) = permit.call(insert(job)).await {
    ///             println!("job {job} failed: {error}");
    ///         }
    ///     }
    /// }
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(work(Circuit::new(Config::new("database")?), vec![1]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call<F, T, E, UseCallWith>(self, future: F) -> impl Future<Output = Result<T, E>> + use<F, T, E, UseCallWith>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
        Result<T, E>: Conclusive<UseCallWith>,
    {
        follow(self, future, by_default, text_of_error)
    }

    /// Makes the call of this permit, which ends after `limit` at the latest, as
    /// [`Circuit::call_within`](crate::Circuit::call_within) does. The limit counts from the first poll.
    ///
    /// # Errors
    ///
    /// [`WithinError::Elapsed`] if the call took longer than `limit`. [`WithinError::Inner`] with the error of `future`.
    /// The error is never [`WithinError::Rejected`], because the permit was given before.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// The same as of [`call`](Self::call).
    pub fn call_within<F, T, E, UseCallWith>(
        self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Result<T, WithinError<E>>> + use<F, T, E, UseCallWith>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
        Result<T, E>: Conclusive<UseCallWith>,
    {
        let judge = |result: &Result<_, _>| match result {
            Ok(result) => by_default(result),
            Err(_) => Outcome::timeout(),
        };
        let describe = |result: &Result<_, _>| result.as_ref().ok().and_then(text_of_error);
        // The timer is created by the first poll, because its creation panics outside a runtime.
        let call = follow(self, async move { timeout(limit, future).await }, judge, describe);
        async move {
            match call.await {
                Ok(result) => result.map_err(WithinError::Inner),
                Err(_) => Err(WithinError::Elapsed(Elapsed::new(limit))),
            }
        }
    }

    /// Makes the call of this permit on a thread without a runtime, as
    /// [`Circuit::call_blocking`](crate::Circuit::call_blocking) does. A panic of `call` counts as a hard failure.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_circuit_breaker::{Circuit, Config};
    /// # let circuit = Circuit::new(Config::new("disk")?);
    /// let permit = circuit.acquire_blocking(Duration::MAX)?; // waits while the circuit is open, without a limit
    /// let text = permit.call_blocking(|| std::fs::read_to_string("Cargo.toml"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `call`.
    pub fn call_blocking<F, T, E, UseCallWith>(self, call: F) -> Result<T, E>
    where
        F: FnOnce() -> Result<T, E>,
        E: 'static,
        Result<T, E>: Conclusive<UseCallWith>,
    {
        let (result, mut flight) = Unclassified::start_permitted(self, &DefaultClassifier, (), |()| call());
        flight.judge(result, |_, (), result, _| by_default(result), |_, result| text_of_error(result))
    }
}

/// A flight whose judge is given at the end of the call.
pub(super) type Unclassified = Flight<DefaultClassifier, (), (), ()>;

/// Polls a call to its end, and records the outcome that `judge` returns, with the text that `describe` returns.
///
/// # Cancel safety
///
/// If the future is dropped, the call is dropped and counts as cancelled.
pub(super) fn follow<F: Future>(
    permit: Permit,
    future: F,
    judge: impl FnOnce(&F::Output) -> Outcome,
    describe: impl Fn(&F::Output) -> Option<String>,
) -> impl Future<Output = F::Output> {
    // The flight begins here and not at the first poll, so that a future that is dropped unpolled is a cancelled call
    // and not a permit without an outcome.
    let ((), flight) = Unclassified::start_permitted(permit, &DefaultClassifier, (), |()| ());
    async move {
        let mut flight = flight;
        // The future is declared after the flight, because Rust drops the last variable first. The drop of the future is
        // a part of the call, and the drop of the flight ends the call.
        let mut future = pin!(future);
        let result = poll_fn(|context| flight.poll_unjudged(future.as_mut(), context)).await;
        flight.judge(result, |_, (), result, _| judge(result), |_, result| describe(result))
    }
}

pub(super) fn by_default<T, E: 'static>(result: &Result<T, E>) -> Outcome {
    Classifier::<(), T, E>::finish(&DefaultClassifier, (), result.as_ref(), Duration::ZERO)
}

pub(super) fn text_of_error<T, E: 'static>(result: &Result<T, E>) -> Option<String> {
    Classifier::<(), T, E>::describe(&DefaultClassifier, result.as_ref())
}
