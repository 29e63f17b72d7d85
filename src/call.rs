//! Calls: the guard that ends each call in exactly one outcome, and [`Circuit::call`] for use without tower.
//!
//! The circuit below knows no classifier. A flight joins a permit and a classifier; the permit applies the outcome to the circuit.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::circuit::{Admission, Asking, Circuit, Permit, Start};
use crate::classify::{Classifier, DefaultClassifier};
#[cfg(feature = "http")]
use crate::clock::Tick;
use crate::error::Error;
use crate::outcome::Outcome;

/// A permit and the classifier that will say what became of it.
///
/// It ends once: classified, panicked (dropped while it was polling the call, however the panic is then caught), or cancelled
/// (dropped otherwise).
pub(crate) struct Flight<C: Classifier<Req, Res, Err>, Req, Res, Err> {
    /// Records the outcome in place, because moving the permit costs too much for a short call.
    permit: Permit,
    /// `None` once judged.
    call: Option<C::Call>,
    classifier: C,
    polling: bool,
    types: PhantomData<fn(Req, Res, Err)>,
}

impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Flight<C, Req, Res, Err> {
    /// The start that `C` asks of the admission.
    pub(crate) const START: Start = if C::NEEDS_ELAPSED { Start::Precise } else { Start::Untaken };

    /// Starts the call. If that panics, the call has panicked.
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
        let future = begin(request);
        let call = starting.call.take();
        mem::forget(starting);
        (future, Self { permit: admission.permit(), call, classifier, polling: false, types: PhantomData })
    }

    /// Starts a call that has its permit already. It is moved about, which costs more than an admission.
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
        let future = begin(request);
        flight.polling = false;
        (future, flight)
    }

    /// Runs a part of the call. If it panics, the call has panicked.
    pub(crate) fn run<T>(&mut self, part: impl FnOnce() -> T) -> T {
        self.polling = true;
        let result = part();
        self.polling = false;
        result
    }

    /// Polls the call, and classifies what it gives.
    pub(crate) fn poll<F>(&mut self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<Res, Err>>
    where
        F: Future<Output = Result<Res, Err>>,
    {
        let result = ready!(self.poll_unjudged(future, context));
        self.judge(|classifier, call, elapsed| classifier.finish(call, result.as_ref(), elapsed));
        Poll::Ready(result)
    }

    #[inline]
    fn poll_unjudged<F: Future>(&mut self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        let poll = self.run(|| future.poll(context));
        if poll.is_pending() {
            self.permit.begin_waiting();
        }
        poll
    }

    /// Has the call judged, unless it has been.
    #[inline]
    pub(crate) fn judge(&mut self, judge: impl FnOnce(&C, C::Call, Duration) -> Outcome) {
        if let Some(call) = self.call.take() {
            let elapsed = self.permit.measured();
            let outcome = judge(&self.classifier, call, elapsed.unwrap_or(Duration::ZERO));
            self.permit.tell(outcome, elapsed);
        }
    }
}

/// What a call needs whose body outlives its future.
#[cfg(feature = "http")]
impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Flight<C, Req, Res, Err> {
    /// Polls the call, and classifies an error. A response is left to be judged.
    pub(crate) fn poll_response<F>(&mut self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<Res, Err>>
    where
        F: Future<Output = Result<Res, Err>>,
    {
        let result = ready!(self.poll_unjudged(future, context));
        if result.is_err() {
            self.judge(|classifier, call, elapsed| classifier.finish(call, result.as_ref(), elapsed));
        }
        Poll::Ready(result)
    }

    /// Judges the call if the classifier can do so already. Returns whether the call has been judged.
    pub(crate) fn judge_early(&mut self, judge: impl FnOnce(&C, &mut C::Call, Duration) -> Option<Outcome>) -> bool {
        if let Some(mut call) = self.call.take() {
            let elapsed = self.permit.measured();
            match judge(&self.classifier, &mut call, elapsed.unwrap_or(Duration::ZERO)) {
                Some(outcome) => self.permit.tell(outcome, elapsed),
                None => self.call = Some(call),
            }
        }
        self.call.is_none()
    }

    /// Returns whether a part of the call is running. A flight that is dropped during such a part has panicked.
    pub(crate) const fn is_polling(&self) -> bool {
        self.polling
    }

    /// Ends the call as cancelled after it waited for so long, if it did, unless it has been judged.
    pub(crate) fn cancel(&mut self, waited: Option<Duration>) {
        let Some(call) = self.call.take() else { return };
        if self.classifier.cancelled_never_counts() {
            return self.permit.cancel(None);
        }
        match self.classifier.cancelled(call, waited.unwrap_or(Duration::ZERO)) {
            Some(outcome) => self.permit.tell(outcome, self.permit.measured()),
            None => self.permit.cancel(waited),
        }
    }

    /// Records that the call waits, if it has not waited before.
    pub(crate) fn begin_waiting(&mut self) {
        self.permit.begin_waiting();
    }

    /// Returns the time, by the circuit's clock.
    pub(crate) fn now(&self) -> Tick {
        self.permit.now()
    }
}

/// A call that is being started. It is only dropped if that panics.
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
    // By value, so that the numbers need no address for the sake of a panic.
    #[inline]
    fn drop(&mut self) {
        Self::panicked(self.admission, self.classifier, self.call.take());
    }
}

impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Drop for Flight<C, Req, Res, Err> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        if self.polling {
            let outcome = self.classifier.panicked(call);
            let elapsed = self.permit.measured();
            self.permit.tell(outcome, elapsed);
        } else if self.classifier.cancelled_never_counts() {
            self.permit.cancel(None);
        } else if let Some(age) = self.permit.age() {
            // Without a judgement of the classifier, the permit's own drop decides.
            if let Some(outcome) = self.classifier.cancelled(call, age) {
                let elapsed = self.permit.measured();
                self.permit.tell(outcome, elapsed);
            }
        }
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
    /// Dropped before its first poll, nothing has happened. Dropped later, the inner future is dropped and the call counts as
    /// cancelled: neutral at first, a failure of weight 0.5 after `cancelled_counts_after`.
    #[must_use = "futures do nothing unless polled"]
    pub struct Call<F, T, E>
    where
        E: 'static,
    {
        #[pin]
        future: F,
        state: State<T, E>,
    }
}

/// The progress of a call.
enum State<T, E: 'static> {
    Before(Asking),
    Admitted(Flight<DefaultClassifier, (), T, E>),
    /// The call was rejected.
    Over,
}

impl Circuit {
    /// Makes a call beside tower: runs `future` if the circuit permits it, and records how it ended.
    ///
    /// Errors are judged by [`outcome_of`](crate::classify::outcome_of); for other judgements take a permit with
    /// [`try_acquire`](Self::try_acquire). The circuit is asked at the first poll.
    ///
    /// ```
    /// # use tower_circuit_breaker::{Circuit, Config, Error};
    /// # async fn query() -> Result<u32, std::io::Error> { Ok(1) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let circuit = Circuit::new(Config::new("database")?);
    /// match circuit.call(query()).await {
    ///     Ok(rows) => println!("{rows} rows"),
    ///     Err(Error::Rejected(rejected)) => println!("not asked: {rejected}"),
    ///     Err(Error::Inner(error)) => println!("asked in vain: {error}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn call<F, T, E>(&self, future: F) -> Call<F, T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
    {
        Call { future, state: State::Before(self.asking()) }
    }
}

impl<F, T, E> Future for Call<F, T, E>
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
            let ((), flight) = Flight::start_permitted(permit, &DefaultClassifier, (), |()| ());
            *this.state = State::Admitted(flight);
        }
        let State::Admitted(flight) = this.state else { panic!("a future is not polled after it is done") };
        let result = ready!(flight.poll(this.future, context));
        Poll::Ready(result.map_err(Error::Inner))
    }
}

impl<F, T, E> fmt::Debug for Call<F, T, E>
where
    E: 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Before(asking) => f.debug_struct("Call").field("asking", asking).finish_non_exhaustive(),
            State::Admitted(flight) => f.debug_struct("Call").field("flight", flight).finish_non_exhaustive(),
            State::Over => f.debug_struct("Call").finish_non_exhaustive(),
        }
    }
}
