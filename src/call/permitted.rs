//! Calls with a permit that the caller already has. For example, a worker waits for a permit first, and then makes the
//! call.
//!
//! [`Circuit::call`](crate::Circuit::call) and similar methods first take a permit, and then use the functions of this
//! module too. Therefore all calls are judged and recorded in the same way.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{Conclusive, Flight, Wait};
use crate::circuit::Permit;
use crate::classify::{Classifier, DefaultClassifier};
use crate::error::{Elapsed, WithinError};
use crate::outcome::Outcome;

/// Calls with a permit that the caller already has, for example from [`acquire`](crate::Circuit::acquire).
/// [`Circuit`](crate::Circuit) has the same methods without a permit.
impl Permit {
    /// Makes the call that this permit allows, as [`Circuit::call`](crate::Circuit::call) does. Runs `future`, records
    /// the outcome, and returns the result of `future`.
    ///
    /// # Errors
    ///
    /// The error of `future`.
    ///
    /// # Cancel safety
    ///
    /// If the returned future is dropped, `future` is dropped too, and the call counts as cancelled. A cancelled call
    /// is neutral, or a failure of weight 0.5 if the permit was taken at least `cancelled_counts_after` ago.
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

    /// Makes the call that this permit allows, with a time limit, as
    /// [`Circuit::call_within`](crate::Circuit::call_within) does. The time begins at the first poll.
    ///
    /// # Errors
    ///
    /// [`WithinError::Elapsed`] if the call took longer than `limit`. [`WithinError::Inner`] with the error of
    /// `future`. The error is never [`WithinError::Rejected`], because the caller already has the permit.
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

    /// Makes the call that this permit allows, and judges the result with a closure, as
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

    /// Makes the call that this permit allows, and judges the result with a classifier, as
    /// [`Circuit::call_classified`](crate::Circuit::call_classified) does.
    ///
    /// # Errors
    ///
    /// The error of `future`.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`call`](Self::call), except that the classifier can decide on the outcome of a cancelled call.
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

    /// Makes the call that this permit allows, on a thread without a runtime, as
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

/// The flight (a call under way) for a call whose result a closure judges. [`DefaultClassifier`] decides on the outcome
/// only if the call panics or is cancelled.
pub(super) type Unclassified = Flight<DefaultClassifier, (), (), ()>;

/// Creates the flight (a call under way) for a call whose result a closure will judge.
///
/// The call methods of [`Permit`] create the flight before the first poll. If the future is dropped without a poll, the
/// call then counts as cancelled, so that the permit has an outcome.
#[inline]
pub(super) fn unclassified(permit: Permit) -> Unclassified {
    Flight::permitted(permit, &(), DefaultClassifier)
}

/// Makes a call. First waits for the end of `wait`, if there is one. Then `admit` returns the flight (the permit and
/// the classifier), and `begin` returns the future of the call. At the end of the call, `end` judges the result, and
/// this function returns the value of `end`.
///
/// The returned future contains space for the future of the call twice: in `begin` and in a variable. An `async` block
/// around this function would add a third copy. Therefore callers return this future directly.
///
/// # Cancel safety
///
/// If the future is dropped before `admit` runs, nothing has happened, unless the caller already had a permit. In that
/// case `admit` contains the flight of this permit, and the call of the permit counts as cancelled. If the future is
/// dropped later, the future of the call is dropped, and the call counts as cancelled.
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
    // Rust drops the last variable first, so the future is dropped before the flight. The order matters, because the
    // drop of the future is a part of the call, and the drop of the flight ends the call.
    let mut future = pin!(flight.run(begin));
    let result = poll_fn(|context| flight.poll_unjudged(future.as_mut(), context)).await;
    end(&mut flight, result)
}

/// Makes a call with a time limit. A call that takes longer than `limit` is dropped and counts as a timeout.
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
    // The timer is created at the first poll. The caller may create this future outside a runtime, where the creation
    // of a timer panics.
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

/// Judges the result of a call with `judge`, and records the outcome with the text from `describe`. Returns the result.
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
