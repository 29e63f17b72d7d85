//! Calls: the flight, which ends each call in exactly one outcome. Also the calls and the waits of users without tower.
//!
//! The circuit does not know classifiers. A flight joins a permit and a classifier. The classifier decides on the
//! outcome, and the permit records the outcome in the circuit.

mod conclusive;
mod wait;
mod with;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::circuit::{Admission, Asking, Circuit, Permit, Start, Text};
use crate::classify::{Classifier, DefaultClassifier};
#[cfg(feature = "http")]
use crate::clock::Tick;
pub use crate::error::Elapsed;
use crate::error::Error;
use crate::outcome::Outcome;
#[cfg(feature = "tonic")]
pub use conclusive::CodeInside;
#[cfg(feature = "http")]
pub use conclusive::StatusInside;
pub use conclusive::{Conclusive, Itself, ResultInside};
pub use wait::Observed;
pub(crate) use wait::Wait;
use with::{Unclassified, by_default, text_of_error};

/// A permit and the classifier that decides on the outcome of the call.
///
/// A flight ends once: its call is classified, has panicked, or is cancelled. A flight that is dropped while it polls the
/// call counts as a panic of the call, because only a panic drops a flight there. A flight that is dropped at another time
/// counts as cancelled.
///
/// `D` is the data of the classifier for the call. A parameter, because the compiler cannot look up `C::Call` in a future of
/// a task whose errors are boxed: it checks such a future for every lifetime of the box, and classifiers fit only `'static`.
pub(crate) struct Flight<C, Req, Res, Err, D = <C as Classifier<Req, Res, Err>>::Call>
where
    C: Classifier<Req, Res, Err, Call = D>,
{
    /// The permit, which records the outcome in place, because moving a permit costs too much for a short call.
    permit: Permit,
    /// The state of the classifier for this call. `None` once the call has been judged.
    call: Option<D>,
    classifier: C,
    /// True while a part of the call runs. A drop during that time is a panic.
    polling: bool,
    types: PhantomData<fn(Req, Res, Err)>,
}

impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Flight<C, Req, Res, Err> {
    /// The start time that the classifier `C` needs from the admission.
    pub(crate) const START: Start = if C::NEEDS_ELAPSED { Start::Precise } else { Start::Untaken };

    /// Starts the call. A panic of the classifier or of `begin` ends the call as panicked.
    #[inline(always)]
    pub(crate) fn start<F>(
        admission: Admission<'_>,
        classifier: &C,
        request: Req,
        begin: impl FnOnce(Req) -> F,
    ) -> (F, Self)
    where
        C: Clone,
    {
        let mut starting = Starting { admission, classifier, call: None, types: PhantomData };
        starting.call = Some(classifier.start(&request));
        let classifier = classifier.clone();
        let future = admission.noted(|| begin(request));
        let call = starting.call.take();
        mem::forget(starting);
        (future, Self { permit: admission.permit(), call, classifier, polling: false, types: PhantomData })
    }

    /// Starts a call that has its permit already. The permit is moved into the flight,
    /// which costs more than an admission.
    #[inline]
    pub(crate) fn start_permitted<F>(
        permit: Permit,
        classifier: &C,
        request: Req,
        begin: impl FnOnce(Req) -> F,
    ) -> (F, Self)
    where
        C: Clone,
    {
        let call = Some(classifier.start(&request));
        // `polling` is true from the start, so that a panic of `begin` ends the call as panicked.
        let mut flight = Self { permit, call, classifier: classifier.clone(), polling: true, types: PhantomData };
        let future = flight.permit.noted(|| begin(request));
        flight.polling = false;
        (future, flight)
    }

    /// Returns the flight of a call that has its permit, and has not begun yet.
    #[inline]
    pub(crate) const fn permitted(permit: Permit, call: C::Call, classifier: C) -> Self {
        Self { permit, call: Some(call), classifier, polling: false, types: PhantomData }
    }

    /// Runs a part of the call. A panic of that part ends the call as panicked.
    #[cfg(feature = "http")]
    pub(crate) fn run<T>(&mut self, part: impl FnOnce() -> T) -> T {
        self.polling = true;
        let result = part();
        self.polling = false;
        result
    }

    /// Polls the call, and classifies its result.
    pub(crate) fn poll<F>(&mut self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<Res, Err>>
    where
        F: Future<Output = Result<Res, Err>>,
    {
        let result = ready!(self.poll_unjudged(future, context));
        self.judge(
            |classifier, call, elapsed| classifier.finish(call, result.as_ref(), elapsed),
            |classifier| classifier.describe(result.as_ref()),
        );
        Poll::Ready(result)
    }

    /// Polls the call without a judgement. A call that is pending reads its start time,
    /// because it may be cancelled late.
    #[inline]
    fn poll_unjudged<F: Future>(&mut self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.polling = true;
        let poll = self.permit.noted(|| future.poll(context));
        self.polling = false;
        if poll.is_pending() {
            self.permit.begin_waiting();
        }
        poll
    }

    /// Judges the call and records the outcome, unless the call has been judged before. `describe` returns the text of a
    /// failure.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        judge: impl FnOnce(&C, C::Call, Duration) -> Outcome,
        describe: impl Fn(&C) -> Option<String>,
    ) {
        if let Some(call) = self.call.take() {
            let elapsed = self.permit.measured();
            let unjudged = Unjudged(&mut self.permit);
            let outcome = judge(&self.classifier, call, elapsed.unwrap_or(Duration::ZERO));
            mem::forget(unjudged);
            let outcome = self.unless_of_the_caller(outcome);
            let classifier = &self.classifier;
            self.permit.record_in_place(outcome, elapsed, Text::new(&|| describe(classifier)));
        }
    }

    /// Returns the outcome, but ignores a deadline of the caller if the classifier never counts callers who do not wait.
    #[inline]
    fn unless_of_the_caller(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Failure(failure) if failure.weighs_by_wait() && self.classifier.cancelled_never_counts() => {
                failure.after_waiting(self.permit.age(), None).map_or(Outcome::Ignored, Outcome::Failure)
            }
            Outcome::Success | Outcome::Failure(_) | Outcome::Ignored => outcome,
        }
    }
}

/// The parts of a flight for calls whose body outlives their future.
#[cfg(feature = "http")]
impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Flight<C, Req, Res, Err> {
    /// Polls the call, and classifies an error. A response is not judged yet, because its body may still fail.
    pub(crate) fn poll_response<F>(&mut self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<Res, Err>>
    where
        F: Future<Output = Result<Res, Err>>,
    {
        let result = ready!(self.poll_unjudged(future, context));
        if result.is_err() {
            self.judge(
                |classifier, call, elapsed| classifier.finish(call, result.as_ref(), elapsed),
                |classifier| classifier.describe(result.as_ref()),
            );
        }
        Poll::Ready(result)
    }

    /// Judges the call if the classifier can decide before the end of the body. Returns
    /// true if the call has been judged.
    pub(crate) fn judge_early(
        &mut self,
        judge: impl FnOnce(&C, &mut C::Call, Duration) -> Option<Outcome>,
        describe: impl Fn(&C) -> Option<String>,
    ) -> bool {
        if let Some(mut call) = self.call.take() {
            let elapsed = self.permit.measured();
            match judge(&self.classifier, &mut call, elapsed.unwrap_or(Duration::ZERO)) {
                Some(outcome) => {
                    let outcome = self.unless_of_the_caller(outcome);
                    let classifier = &self.classifier;
                    self.permit.record_in_place(outcome, elapsed, Text::new(&|| describe(classifier)));
                }
                None => self.call = Some(call),
            }
        }
        self.call.is_none()
    }

    /// Returns true while a part of the call runs. A flight that is dropped during such a part has panicked.
    pub(crate) const fn is_polling(&self) -> bool {
        self.polling
    }

    /// Ends the call as cancelled, unless the call has been judged. `waited` is the time that the call had waited for
    /// the service, or `None` if it did not wait.
    pub(crate) fn cancel(&mut self, waited: Option<Duration>) {
        let Some(call) = self.call.take() else { return };
        if self.classifier.cancelled_never_counts() {
            return self.permit.cancel_in_place(None);
        }
        match self.classifier.cancelled(call, waited.unwrap_or(Duration::ZERO)) {
            Some(outcome) => self.permit.record_in_place(outcome, self.permit.measured(), Text::NONE),
            None => self.permit.cancel_in_place(waited),
        }
    }

    /// Records that the call waits, if it has not waited before.
    pub(crate) fn begin_waiting(&mut self) {
        self.permit.begin_waiting();
    }

    /// Returns the time by the clock of the circuit.
    pub(crate) fn now(&self) -> Tick {
        self.permit.now()
    }
}

/// A call that is being started. Dropped only if the start panics, because a successful start forgets it.
struct Starting<'a, C: Classifier<Req, Res, Err>, Req, Res, Err> {
    admission: Admission<'a>,
    classifier: &'a C,
    call: Option<C::Call>,
    types: PhantomData<fn(Req, Res, Err)>,
}

impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Starting<'_, C, Req, Res, Err> {
    #[cold]
    fn panicked(admission: Admission<'_>, classifier: &C, call: Option<C::Call>) {
        let permit = admission.permit();
        if let Some(call) = call {
            permit.record(classifier.panicked(call));
        }
    }
}

impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Drop for Starting<'_, C, Req, Res, Err> {
    // The fields are passed by value, so that the admission can stay in registers in the usual case without a panic.
    #[inline]
    fn drop(&mut self) {
        Self::panicked(self.admission, self.classifier, self.call.take());
    }
}

impl<C: Classifier<Req, Res, Err, Call = D>, Req, Res, Err, D> Drop for Flight<C, Req, Res, Err, D> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        if self.polling {
            let outcome = self.classifier.panicked(call);
            let elapsed = self.permit.measured();
            self.permit.record_in_place(outcome, elapsed, Text::NONE);
        } else if self.classifier.cancelled_never_counts() {
            self.permit.cancel_in_place(None);
        } else {
            // If the classifier has no judgement on the cancellation, the permit decides.
            let age = self.permit.age();
            match age.and_then(|age| self.classifier.cancelled(call, age)) {
                Some(outcome) => self.permit.record_in_place(outcome, self.permit.measured(), Text::NONE),
                None => self.permit.cancel_in_place(age),
            }
        }
    }
}

/// The permit of a call while its classifier judges. A panic of the classifier says nothing about the service, so that the call
/// counts as cancelled.
struct Unjudged<'a>(&'a mut Permit);

impl Drop for Unjudged<'_> {
    fn drop(&mut self) {
        self.0.cancel_in_place(None);
    }
}

impl<C: Classifier<Req, Res, Err>, Req, Res, Err> fmt::Debug for Flight<C, Req, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("permit", &self.permit).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Circuit::call`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before its first poll, nothing has happened. If it is dropped later, the inner future
    /// is dropped as well and the call counts as cancelled, which is no evidence. After `cancelled_counts_after` it
    /// counts as a failure of weight 0.5.
    #[must_use = "futures do nothing unless polled"]
    pub struct Call<F> {
        #[pin]
        future: F,
        state: State,
    }
}

/// The progress of a call.
enum State {
    /// The future was not polled yet, so no permit was asked for.
    Before(Asking),
    /// The call was admitted and is under way, or has ended.
    Admitted(Unclassified),
    /// The call was rejected.
    Over,
}

impl Circuit {
    /// Makes a call without tower: runs `future` if the circuit permits the call, and records the outcome.
    ///
    /// `Ok` is a success, and [`outcome_of`](crate::classify::outcome_of) judges errors. A result that hides a failure
    /// below an `Ok`, or a good answer in an `Err`, does not compile. See [`Conclusive`] and the other calls:
    ///
    /// | call | for |
    /// |---|---|
    /// | [`call_within`](Self::call_within) | a limit of time |
    /// | [`call_with`](Self::call_with) | a judgement by a closure |
    /// | [`call_classified`](Self::call_classified) | responses of HTTP clients, clients that tonic generated |
    /// | [`call_blocking`](Self::call_blocking) | threads without a runtime |
    /// | [`try_acquire`](Self::try_acquire), [`acquire`](Self::acquire) and [`Permit::judge`] | everything else |
    ///
    /// The permit is taken at the first poll.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the circuit does not permit the call, which then does not happen. [`Error::Inner`] with
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
        Call { future, state: State::Before(self.asking()) }
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
        if let State::Before(_) = this.state
            && let State::Before(asking) = mem::replace(this.state, State::Over)
        {
            let permit = asking.admit(Start::Untaken).map_err(Error::Rejected)?;
            let flight = Flight::permitted(permit, (), DefaultClassifier);
            *this.state = State::Admitted(flight);
        }
        let State::Admitted(flight) = this.state else { panic!("a future is not polled after it is done") };
        let result = ready!(flight.poll_unjudged(this.future, context));
        flight.judge(|_, (), _| by_default(&result), |_| text_of_error(&result));
        Poll::Ready(result.map_err(Error::Inner))
    }
}

impl<F> fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Before(asking) => f.debug_struct("Call").field("asking", asking).finish_non_exhaustive(),
            State::Admitted(flight) => f.debug_struct("Call").field("flight", flight).finish_non_exhaustive(),
            State::Over => f.debug_struct("Call").finish_non_exhaustive(),
        }
    }
}
