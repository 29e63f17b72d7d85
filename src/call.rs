//! The methods of [`Circuit`] and [`Permit`](crate::Permit) for calls and waits in applications that do not use tower,
//! and the types of these methods.
//!
//! [`Circuit::call`] makes a call, and its documentation has a table of the other call methods. [`Circuit::acquire`]
//! waits for a permit, and [`Circuit::changed`] waits for a change of the circuit.

// `call/flight.rs` gives each call, with or without tower, exactly one outcome. `call/with.rs` has the calls that a
// closure or a classifier judges. `call/permitted.rs` has the calls with a permit that the caller already has.
// `call/wait.rs` has the waits.

mod conclusive;
mod flight;
mod permitted;
mod wait;
mod with;

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::circuit::{Asking, Circuit, Start};
#[cfg(doc)]
use crate::classify::DefaultClassifier;
pub use crate::error::Elapsed;
use crate::error::Error;
#[cfg(feature = "tonic")]
pub use conclusive::CodeInside;
#[cfg(feature = "http")]
pub use conclusive::StatusInside;
pub use conclusive::{Conclusive, Itself, ResultInside};
pub(crate) use flight::Flight;
use permitted::{Unclassified, by_default, judged, text_of_error, unclassified};
pub use wait::Observed;
pub(crate) use wait::Wait;

pin_project! {
    /// The future of [`Circuit::call`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before its first poll, or while it waits for the restore of the circuit, nothing has
    /// happened. If the future is dropped later, the inner future is dropped too, and the call counts as cancelled. A
    /// cancelled call is neutral, or a failure of weight 0.5 if the call has waited for at least
    /// `cancelled_counts_after`.
    #[must_use = "futures do nothing unless polled"]
    pub struct Call<F> {
        #[pin]
        future: F,
        state: State,
    }
}

/// The progress of a [`Call`].
enum State {
    /// The call has no permit yet. The first poll requests the permit.
    Before(Asking),
    /// The circuit was being restored from the store when the future was created. The call waits for the end of the
    /// restore, and requests a permit then.
    Restoring(Asking, Box<Wait>),
    /// The call was admitted and is under way, or has ended.
    Admitted(Unclassified),
    /// The call was rejected.
    Over,
}

impl Circuit {
    /// Makes a call without tower. Runs `future` if the circuit permits the call, and records the outcome.
    ///
    /// `Ok` is a success, and [`DefaultClassifier`] judges errors. An error type of your own is a hard failure, even if
    /// the source of the error is a timeout, and the circuit does not record the text of the error. To judge errors by
    /// their sources, pass a [`StdErrorClassifier`](crate::classify::StdErrorClassifier) to
    /// [`call_classified`](Self::call_classified). If the `Ok` of a result can contain a failure, or the `Err` a good
    /// answer, the call does not compile, see [`Conclusive`]. For these results and for other cases, use these methods:
    ///
    /// | call | for |
    /// |---|---|
    /// | [`call_within`](Self::call_within) | a call with a time limit |
    /// | [`call_with`](Self::call_with) | a call whose result a closure judges |
    /// | [`call_classified`](Self::call_classified) | error types of your own, responses of HTTP clients, tonic clients |
    /// | [`call_blocking`](Self::call_blocking) | a call on a thread without a runtime |
    /// | [`acquire`](Self::acquire) and [`Permit::call`](crate::Permit::call) | a worker that waits while the circuit is open |
    /// | [`try_acquire`](Self::try_acquire) and [`Permit::judge`](crate::Permit::judge) | any other call |
    ///
    /// The permit is taken at the first poll. If the circuit is being restored from a store and `first_call_waits` is
    /// set, the call first waits for the restore, as [`acquire`](Self::acquire) does.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the circuit does not permit the call. `future` is then not polled. [`Error::Inner`] with
    /// the error of `future`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_circuit_breaker::{Circuit, Config, Error};
    /// # async fn query() -> Result<u32, std::io::Error> { Ok(1) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let circuit = Circuit::new(Config::new("database")?);
    /// match circuit.call(query()).await {
    ///     Ok(rows) => println!("{rows} rows"),
    ///     Err(Error::Rejected(rejected)) => println!("the query was not made: {rejected}"),
    ///     Err(Error::Inner(error)) => println!("the query failed: {error}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn call<F, T, E, UseCallWith>(&self, future: F) -> Call<F>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
        Result<T, E>: Conclusive<UseCallWith>,
    {
        let state = match self.asking_after_restore() {
            (asking, None) => State::Before(asking),
            (asking, Some(wait)) => State::Restoring(asking, wait),
        };
        Call { future, state }
    }
}

impl<F, T, E> Future for Call<F>
where
    F: Future<Output = Result<T, E>>,
    E: 'static,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let State::Restoring(..) = this.state {
            ready!(poll_restored(this.state, context));
        }
        if let State::Before(_) = this.state
            && let State::Before(asking) = mem::replace(this.state, State::Over)
        {
            let permit = asking.admit(Start::Untaken).map_err(Error::Rejected)?;
            *this.state = State::Admitted(unclassified(permit));
        }
        let State::Admitted(flight) = this.state else { panic!("a future is not polled after it is done") };
        let result = ready!(flight.poll_unjudged(this.future, context));
        Poll::Ready(judged(flight, result, by_default, text_of_error).map_err(Error::Inner))
    }
}

/// Is ready when the circuit is not being restored from its store. The state of the future is then `Before`.
#[cold]
fn poll_restored(state: &mut State, context: &mut Context<'_>) -> Poll<()> {
    if let State::Restoring(_, wait) = state {
        ready!(wait.poll_restored(context));
    }
    if let State::Restoring(asking, _) = mem::replace(state, State::Over) {
        *state = State::Before(asking);
    }
    Poll::Ready(())
}

impl<F> fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Before(asking) | State::Restoring(asking, _) => {
                f.debug_struct("Call").field("asking", asking).finish_non_exhaustive()
            }
            State::Admitted(flight) => f.debug_struct("Call").field("flight", flight).finish_non_exhaustive(),
            State::Over => f.debug_struct("Call").finish_non_exhaustive(),
        }
    }
}
