//! Calls under a permit that the caller already has, such as the permit for which a worker has waited.
//!
//! The calls of a circuit take a permit and then use the functions of this module, so that calls with and without a
//! permit of the caller are judged and recorded in the same way.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{Conclusive, Flight, Wait};
use crate::circuit::Permit;
use crate::classify::{Classifier, DefaultClassifier};
use crate::error::{Elapsed, WithinError};
use crate::outcome::Outcome;

/// The calls of [`Circuit`](crate::Circuit) for a permit that was taken before, such as the permit of
/// [`acquire`](crate::Circuit::acquire).
impl Permit {
    /// Makes the call of this permit, as [`Circuit::call`](crate::Circuit::call) does. Records the outcome of `future`,
    /// and returns its result.
    ///
    /// # Errors
    ///
    /// The error of `future`.
    ///
    /// # Cancel safety
    ///
    /// If the returned future is dropped, `future` is dropped too, and the call counts as cancelled. A cancelled call
    /// is no evidence, but a call whose permit was given at least `cancelled_counts_after` ago counts as a failure of
    /// weight 0.5.
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
        let flight = unclassified(self);
        follow(None, || Ok(flight), || future, |flight, result| judged(flight, result, by_default, text_of_error))
    }

    /// Makes the call of this permit with a time limit, as [`Circuit::call_within`](crate::Circuit::call_within) does.
    /// The call ends after `limit` at the latest, counted from the first poll.
    ///
    /// # Errors
    ///
    /// [`WithinError::Elapsed`] if the call took longer than `limit`. [`WithinError::Inner`] with the error of
    /// `future`. The error is never [`WithinError::Rejected`], because the permit was given before.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`call`](Self::call).
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
        let flight = unclassified(self);
        within(None, || Ok(flight), limit, future)
    }

    /// Makes the call of this permit, and judges its result with a closure, as
    /// [`Circuit::call_with`](crate::Circuit::call_with) does.
    ///
    /// # Errors
    ///
    /// The error of `future`, even if `judge` counts this error as a success.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`call`](Self::call).
    pub fn call_with<J, F, T, E>(self, judge: J, future: F) -> impl Future<Output = Result<T, E>> + use<J, F, T, E>
    where
        J: FnOnce(Result<&T, &E>) -> Outcome,
        F: Future<Output = Result<T, E>>,
        E: 'static,
    {
        let flight = unclassified(self);
        let judge = |result: &Result<T, E>| judge(result.as_ref());
        follow(None, || Ok(flight), || future, |flight, result| judged(flight, result, judge, text_of_error))
    }

    /// Makes the call of this permit, and judges its result with a classifier, as
    /// [`Circuit::call_classified`](crate::Circuit::call_classified) does.
    ///
    /// # Errors
    ///
    /// The error of `future`.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`call`](Self::call), but the classifier can decide the outcome of a cancelled call.
    pub fn call_classified<C, F, T, E, D>(
        self,
        classifier: C,
        future: F,
    ) -> impl Future<Output = Result<T, E>> + use<C, F, T, E, D>
    where
        C: Classifier<(), T, E, Call = D>,
        F: Future<Output = Result<T, E>>,
    {
        let permit = if C::NEEDS_ELAPSED { self.measured_from_now() } else { self };
        let flight = Flight::permitted(permit, &(), classifier);
        follow(None, || Ok(flight), || future, Flight::classify)
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
        judged(&mut flight, result, by_default, text_of_error)
    }
}

/// The flight of a call that a closure judges at its end. [`DefaultClassifier`] decides only if the call panics or is
/// cancelled.
pub(super) type Unclassified = Flight<DefaultClassifier, (), (), ()>;

/// Returns the flight of a call that a closure will judge.
///
/// The calls of a [`Permit`] create their flight before the first poll. A future that is dropped without a poll then
/// counts as a cancelled call, so that the permit has an outcome.
#[inline]
pub(super) fn unclassified(permit: Permit) -> Unclassified {
    Flight::permitted(permit, &(), DefaultClassifier)
}

/// Makes a call, and returns the value that `end` returns. At the first poll, or at the end of `wait`, `admit` returns
/// the flight and `begin` the future of the call. `end` judges the result of the call.
///
/// The returned future has room for the future of the call twice, in `begin` and in a variable. An `async` block around
/// this function would add a third copy, so callers return this future as it is.
///
/// # Cancel safety
///
/// If the future is dropped before `admit` was called, nothing has happened, unless `admit` contains the flight of a
/// permit. The call of that permit then counts as cancelled. If the future is dropped later, the call is dropped and
/// counts as cancelled.
pub(super) async fn follow<C, Req, Res, Err, D, F, T, E>(
    wait: Option<Box<Wait>>,
    admit: impl FnOnce() -> Result<Flight<C, Req, Res, Err, D>, E>,
    begin: impl FnOnce() -> F,
    end: impl FnOnce(&mut Flight<C, Req, Res, Err, D>, F::Output) -> Result<T, E>,
) -> Result<T, E>
where
    C: Classifier<Req, Res, Err, Call = D>,
    F: Future,
{
    if let Some(mut wait) = wait {
        poll_fn(|context| wait.poll_restored(context)).await;
    }
    let mut flight = admit()?;
    // The future is declared after the flight, because Rust drops the last variable first. The drop of the future is a
    // part of the call, and the drop of the flight ends the call.
    let mut future = pin!(flight.run(begin));
    let result = poll_fn(|context| flight.poll_unjudged(future.as_mut(), context)).await;
    end(&mut flight, result)
}

/// Makes a call that ends after `limit` at the latest.
pub(super) fn within<F, T, E: 'static>(
    wait: Option<Box<Wait>>,
    admit: impl FnOnce() -> Result<Unclassified, WithinError<E>>,
    limit: Duration,
    future: F,
) -> impl Future<Output = Result<T, WithinError<E>>>
where
    F: Future<Output = Result<T, E>>,
{
    let outcome = |result: &Result<_, _>| result.as_ref().map_or_else(|_| Outcome::timeout(), by_default);
    let describe = |result: &Result<_, _>| result.as_ref().ok().and_then(text_of_error);
    // The timer is created at the first poll, because its creation panics outside a runtime, and the caller may create
    // this future outside a runtime.
    follow(
        wait,
        admit,
        move || timeout(limit, future),
        move |flight, result| match judged(flight, result, outcome, describe) {
            Ok(result) => result.map_err(WithinError::Inner),
            Err(_) => Err(WithinError::Elapsed(Elapsed::new(limit))),
        },
    )
}

/// Records the outcome that `judge` returns for the result, with the text that `describe` returns. Returns the result.
#[inline(always)]
pub(super) fn judged<T>(
    flight: &mut Unclassified,
    result: T,
    judge: impl FnOnce(&T) -> Outcome,
    describe: impl Fn(&T) -> Option<String>,
) -> T {
    flight.judge(result, |_, (), result, _| judge(result), |_, result| describe(result))
}

pub(super) fn by_default<T, E: 'static>(result: &Result<T, E>) -> Outcome {
    Classifier::<(), T, E>::finish(&DefaultClassifier, (), result.as_ref(), Duration::ZERO)
}

pub(super) fn text_of_error<T, E: 'static>(result: &Result<T, E>) -> Option<String> {
    Classifier::<(), T, E>::describe(&DefaultClassifier, result.as_ref())
}
