//! The flight: a call under way, for which exactly one outcome is recorded.
//!
//! A flight combines a permit and a classifier. The classifier decides on the outcome of the call, and the permit
//! records the outcome in the circuit.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::circuit::{Admission, Permit, Start, Text};
use crate::classify::Classifier;
#[cfg(feature = "http")]
use crate::clock::Tick;
use crate::outcome::Outcome;

/// A permit and the classifier that decides on the outcome of the call.
///
/// The call gets its outcome when it is classified, panics or is cancelled. If the flight is dropped during a poll of
/// the call, the call counts as panicked, because only a panic can drop a flight during a poll. If the flight is
/// dropped at any other time before the call is classified, the call counts as cancelled.
///
/// `D` is the data that the classifier keeps for the call (`C::Call`). `D` is a separate type parameter, because the
/// compiler cannot resolve `C::Call` inside a spawned future with boxed errors. The compiler would require that
/// `C::Call` exists for every lifetime of the boxed error, but classifiers accept only `'static` errors.
pub(crate) struct Flight<C, Req, Res, Err, D = <C as Classifier<Req, Res, Err>>::Call>
where
    C: Classifier<Req, Res, Err, Call = D>,
{
    /// The permit of the call. The outcome is recorded through a reference, because moving the permit would cost time
    /// in every call.
    permit: Permit,
    /// The data of the classifier for this call. `None` once the call has been judged.
    call: Option<D>,
    classifier: C,
    /// True while a part of the call runs. Only a panic can drop the flight during that time.
    polling: bool,
    types: PhantomData<fn(Req, Res, Err)>,
}

impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Flight<C, Req, Res, Err> {
    /// The kind of start time that a call needs. The start time is precise if the classifier `C` uses the duration of
    /// calls.
    pub(crate) const START: Start = if C::NEEDS_ELAPSED { Start::Precise } else { Start::Untaken };

    /// Starts the call with `begin`, and returns the future and the flight of the call. If `begin` panics, the call
    /// counts as panicked. If the classifier panics, the call counts as cancelled.
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

    /// Starts a call that already has a permit, and returns the future and the flight of the call. The permit must be
    /// moved into the flight, which costs time. [`start`](Self::start) avoids the move.
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
        let mut flight = Self::permitted(permit, &request, classifier.clone());
        // If `begin` panics, the drop of the flight records the call as panicked.
        flight.polling = true;
        let future = flight.permit.noted(|| begin(request));
        flight.polling = false;
        (future, flight)
    }

    /// Creates the flight of a call that has a permit but has not begun yet.
    #[inline]
    pub(crate) fn permitted(mut permit: Permit, request: &Req, classifier: C) -> Self {
        let unjudged = Unjudged(&mut permit);
        let call = Some(classifier.start(request));
        mem::forget(unjudged);
        Self { permit, call, classifier, polling: false, types: PhantomData }
    }

    /// Runs `part`, a part of the call, and returns the result of `part`. If `part` panics, the call counts as
    /// panicked.
    pub(crate) fn run<T>(&mut self, part: impl FnOnce() -> T) -> T {
        self.polling = true;
        let result = part();
        self.polling = false;
        result
    }

    /// Polls the future of the call. When the future is ready, classifies the result and records the outcome.
    pub(crate) fn poll<F>(&mut self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<Res, Err>>
    where
        F: Future<Output = Result<Res, Err>>,
    {
        let result = ready!(self.poll_unjudged(future, context));
        Poll::Ready(self.classify(result))
    }

    /// Lets the classifier judge the result of the call, records the outcome, and returns the result.
    #[inline(always)]
    pub(super) fn classify(&mut self, result: Result<Res, Err>) -> Result<Res, Err> {
        self.judge(
            result,
            |classifier, call, result, elapsed| classifier.finish(call, result.as_ref(), elapsed),
            |classifier, result| classifier.describe(result.as_ref()),
        )
    }

    /// Polls the future of the call, but does not judge the result. If the future is pending and the permit has no
    /// start time yet, the present time becomes the start time. The start time is needed if the call is cancelled
    /// later, because a call that is cancelled after a long wait counts as a failure.
    #[inline]
    pub(super) fn poll_unjudged<F: Future>(
        &mut self,
        future: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        self.polling = true;
        let poll = self.permit.noted(|| future.poll(context));
        self.polling = false;
        if poll.is_pending() {
            self.permit.begin_waiting();
        }
        poll
    }

    /// Judges the call by its result, records the outcome, and returns the result. `judge` returns the outcome, and
    /// `describe` returns the text of a failure. If the call has been judged before, nothing is recorded.
    // The result is passed by value, so that the result of a successful call can stay in registers.
    #[inline(always)]
    pub(crate) fn judge<T>(
        &mut self,
        result: T,
        judge: impl FnOnce(&C, C::Call, &T, Duration) -> Outcome,
        describe: impl Fn(&C, &T) -> Option<String>,
    ) -> T {
        let Some(call) = self.call.take() else { return result };
        let elapsed = self.permit.measured();
        let unjudged = Unjudged(&mut self.permit);
        let outcome = judge(&self.classifier, call, &result, elapsed.unwrap_or(Duration::ZERO));
        mem::forget(unjudged);
        if let Outcome::Success = outcome {
            self.permit.record_in_place(outcome, elapsed, Text::NONE);
            return result;
        }
        self.record_other(result, outcome, elapsed, describe)
    }

    /// Records an outcome other than success, and returns the result.
    #[cold]
    #[inline(never)]
    fn record_other<T>(
        &mut self,
        result: T,
        outcome: Outcome,
        elapsed: Option<Duration>,
        describe: impl Fn(&C, &T) -> Option<String>,
    ) -> T {
        let outcome = self.unless_of_the_caller(outcome);
        let classifier = &self.classifier;
        self.permit.record_in_place(outcome, elapsed, Text::new(&|| describe(classifier, &result)));
        result
    }

    /// Returns the outcome to record, which is normally the given outcome. If the classifier never counts cancelled
    /// calls, a failure at the deadline that the caller has set (such as `grpc-timeout`) becomes [`Outcome::Ignored`].
    /// A failure clearly before this deadline stays a failure. Examples are a shorter timeout that the HTTP or gRPC
    /// client in this process applies, and a reset by the service.
    fn unless_of_the_caller(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Failure(failure) if failure.weighs_by_wait() && self.classifier.cancelled_never_counts() => {
                failure.after_waiting(self.permit.age(), None).map_or(Outcome::Ignored, Outcome::Failure)
            }
            Outcome::Success | Outcome::Failure(_) | Outcome::Ignored => outcome,
        }
    }
}

/// Methods for calls with tracked bodies. Such a call ends at the end of the response body, after the future has
/// returned the response.
#[cfg(feature = "http")]
impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Flight<C, Req, Res, Err> {
    /// Polls the future of the call, and classifies an error. A response is not judged yet, because the body of the
    /// response may still fail.
    pub(crate) fn poll_response<F>(&mut self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<Res, Err>>
    where
        F: Future<Output = Result<Res, Err>>,
    {
        let result = ready!(self.poll_unjudged(future, context));
        Poll::Ready(if result.is_ok() { result } else { self.classify(result) })
    }

    /// Judges the call now if the classifier can decide before the end of the body. Returns true if the call is judged.
    pub(crate) fn judge_early(
        &mut self,
        judge: impl FnOnce(&C, &mut C::Call, Duration) -> Option<Outcome>,
        describe: impl Fn(&C) -> Option<String>,
    ) -> bool {
        if let Some(mut call) = self.call.take() {
            let elapsed = self.permit.measured();
            let unjudged = Unjudged(&mut self.permit);
            let judged = judge(&self.classifier, &mut call, elapsed.unwrap_or(Duration::ZERO));
            mem::forget(unjudged);
            match judged {
                Some(Outcome::Success) => self.permit.record_in_place(Outcome::Success, elapsed, Text::NONE),
                Some(outcome) => self.record_other((), outcome, elapsed, |classifier, ()| describe(classifier)),
                None => self.call = Some(call),
            }
        }
        self.call.is_none()
    }

    /// Returns true while a part of the call runs. If the flight is dropped at such a time, a part of the call has
    /// panicked.
    pub(crate) const fn is_polling(&self) -> bool {
        self.polling
    }

    /// Records the call as cancelled, unless the call has been judged before. `waited` is the time for which the caller
    /// has waited for the service, or `None` if the caller was not waiting.
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

    /// Records that the head of the response has arrived. From now on the call does not count as hanging.
    pub(crate) fn answered(&mut self) {
        self.permit.answered();
    }

    /// Sets the start time of the call to the present time, unless the call already has a start time. If the call is
    /// cancelled later, the start time shows how long the caller has waited.
    pub(crate) fn begin_waiting(&mut self) {
        self.permit.begin_waiting();
    }

    /// Returns the present time on the clock of the circuit.
    pub(crate) fn now(&self) -> Tick {
        self.permit.now()
    }
}

/// A call that is being started. `drop` runs only if the start panics, because a successful start calls `mem::forget`.
struct Starting<'a, C: Classifier<Req, Res, Err>, Req, Res, Err> {
    admission: Admission<'a>,
    classifier: &'a C,
    call: Option<C::Call>,
    types: PhantomData<fn(Req, Res, Err)>,
}

impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Starting<'_, C, Req, Res, Err> {
    #[cold]
    fn panicked(admission: Admission<'_>, classifier: &C, call: Option<C::Call>) {
        let mut permit = admission.permit();
        match call {
            Some(call) => permit.record(classifier.panicked(call)),
            // The classifier has panicked before it returned the data for the call. The call counts as cancelled.
            None => permit.cancel_in_place(None),
        }
    }
}

impl<C: Classifier<Req, Res, Err>, Req, Res, Err> Drop for Starting<'_, C, Req, Res, Err> {
    // The fields are passed by value. Therefore the admission can stay in registers if nothing panics.
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
            // If the classifier returns no outcome for the cancelled call, the permit decides by
            // `cancelled_counts_after`.
            let age = self.permit.age();
            match age.and_then(|age| self.classifier.cancelled(call, age)) {
                Some(outcome) => self.permit.record_in_place(outcome, self.permit.measured(), Text::NONE),
                None => self.permit.cancel_in_place(age),
            }
        }
    }
}

/// Guards the permit of a call while the classifier runs. If the classifier panics, the call counts as cancelled,
/// because the panic is not a fault of the service.
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
