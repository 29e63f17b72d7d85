//! The permit of a call, which records the outcome of the call.
//!
//! Every permit ends in exactly one outcome. If the caller records no outcome, the drop of the permit does. The file
//! `outcomes` decides on the effect of an outcome.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::branch::Branch;
use super::failed::Text;
use super::inner::{Inner, Start, Timing, taken};
use super::limit::Drawn;
use super::mark::{Mark, Right};
use super::outcomes::{End, Took};
use super::rejected::Rejected;
use super::word::Word;
use crate::clock::Tick;
use crate::event::Ended;
use crate::outcome::{Failure, FailureKind, Outcome};
use crate::state::text::beginning;

/// The right to make one call.
///
/// Make the call with [`call`](Self::call), or record its outcome by [`judge`](Self::judge) or by a shorter method such
/// as [`success`](Self::success). A permit belongs to the era (the time between two transitions) in which it was given.
/// An outcome that is recorded after the end of this era counts only in the totals.
///
/// A permit that is dropped without an outcome counts as a failure of weight 0.5, because most such permits are dropped
/// by a `?` behind a call that failed. The kind of the failure is `unrecorded`, or `cancelled` for a drop after
/// `cancelled_counts_after`. If you give up a call without knowing the outcome, use [`cancel`](Self::cancel) or
/// [`ignore`](Self::ignore). If the future that holds the permit can be dropped, by a timeout, `select!` or an abort,
/// make the call with [`call`](Self::call), [`call_with`](Self::call_with) or
/// [`call_classified`](Self::call_classified), which count such a drop as cancelled. A drop by a panic counts as a hard
/// failure. With `cancelled_never_counts`, only a drop by a panic counts.
///
/// A probe that is dropped before `cancelled_counts_after` gives its slot back without a verdict, because the caller
/// may have given up on a healthy service. Three such probes in a row close the circuit on trust, which means without a
/// proof that the service is healthy. If a failure of weight 0.5, such as one more dropped permit, follows before the
/// first success, the circuit opens again for a longer open duration. If a `?` drops the permits during an outage, four
/// failed calls (three probes and one later call) therefore reach the service before the circuit opens again. If the
/// failures are recorded, only one failed call reaches the service.
// The three fields are whole words. The compiler would write smaller fields one by one and then move them together. A
// processor stalls at such a move for longer than the rest of a call takes.
#[must_use = "a permit that is dropped without an outcome counts as a failure"]
pub struct Permit {
    pub(super) branch: Arc<Branch>,
    pub(super) mark: Mark,
    /// The start of the call, or zero if the start was not read.
    started: Tick,
}

/// A permit that has no counted reference to its circuit yet. The fields stay in registers until the call has begun.
#[derive(Clone, Copy)]
#[must_use = "a slot may have been taken for it"]
pub(crate) struct Admission<'a> {
    pub(super) branch: &'a Arc<Branch>,
    pub(super) mark: Mark,
    started: Tick,
}

impl<'a> Admission<'a> {
    #[inline(always)]
    pub(super) const fn new(branch: &'a Arc<Branch>, mark: Mark, started: Tick) -> Self {
        Self { branch, mark, started }
    }

    /// Returns the admission of a counted call, by a circuit that is closed in automatic mode or in shadow.
    #[inline(always)]
    pub(super) fn flowing(branch: &'a Arc<Branch>, era: u64, start: Start) -> Self {
        let (started, measured) = branch.inner.start(start, None);
        Self { branch, mark: Mark::new(era, Right::Counted).with_measured(measured), started }
    }

    #[inline(always)]
    pub(crate) fn permit(self) -> Permit {
        let Self { branch, mark, started } = self;
        Permit { branch: Arc::clone(branch), mark, started }
    }
}

/// The reference to the circuit for a call that asks for its permit later. The permit takes this reference over, so
/// that the reference count changes only once.
pub(crate) struct Asking(Arc<Branch>);

impl Asking {
    #[inline]
    pub(super) fn new(root: &Arc<Branch>, word: Word) -> Self {
        Self(Arc::clone(root.own(word)))
    }

    #[inline]
    pub(crate) fn admit(self, start: Start) -> Result<Permit, Rejected> {
        let admission = Branch::admit(&self.0, start, || Drawn::YES)?;
        if !std::ptr::eq(admission.branch, &self.0) {
            return Ok(admission.permit());
        }
        let Admission { mark, started, .. } = admission;
        Ok(Permit { branch: self.0, mark, started })
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asking").field(&self.0.inner.config.name()).finish()
    }
}

impl Inner {
    /// Returns the start time of a call, or zero if no start time is needed. The second value is true if the duration
    /// of the call must be measured. `now` is the time by the coarse clock, if the caller has already read that clock.
    #[inline(always)]
    pub(super) fn start(&self, start: Start, now: Option<Tick>) -> (Tick, bool) {
        if start == Start::Precise || self.timing != Timing::Nothing {
            (taken(self.precise()), start == Start::Precise || self.timing == Timing::Measured)
        } else if start == Start::Coarse && self.config.cancelled_counts_after.is_some() {
            (taken(now.unwrap_or_else(|| self.now())), false)
        } else {
            (Tick::ZERO, false)
        }
    }
}

impl Permit {
    /// Records a success.
    #[inline(always)]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// Records a failure.
    #[inline(always)]
    pub fn failure(self, failure: Failure) {
        self.record(Outcome::Failure(failure));
    }

    /// Records a failure with the text of its error, for an error that no classifier knows, such as an error of a
    /// database.
    ///
    /// If the failure opens the circuit, status, log, audit and rejections show the text. One line of at most 200
    /// characters is kept, and every address in the line that has `://` is cut to its scheme and host. The text of any
    /// other failure is not kept, and usually not even formatted.
    ///
    /// ```
    /// # use tower_circuit_breaker::{Circuit, Config, Failure};
    /// # fn query() -> Result<u32, std::fmt::Error> { Err(std::fmt::Error) }
    /// # let circuit = Circuit::new(Config::builder("database").consecutive_failures(1).build()?);
    /// let permit = circuit.try_acquire()?;
    /// match query() {
    ///     Ok(_) => permit.success(),
    ///     Err(error) => permit.failure_because(Failure::hard(), &error),
    /// }
    /// assert!(circuit.try_acquire().unwrap_err().to_string().contains("an error occurred"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn failure_because(mut self, failure: Failure, error: &dyn fmt::Display) {
        let elapsed = self.measured();
        self.record_in_place(failure.into(), elapsed, Text::new(&|| Some(beginning(error))));
    }

    /// Records that the call says nothing about the service.
    #[inline(always)]
    pub fn ignore(self) {
        self.record(Outcome::Ignored);
    }

    /// Records that the caller gave up before the outcome was known, for example because a user closed the page.
    ///
    /// A call that is cancelled before `cancelled_counts_after` is no evidence. A call that is cancelled later counts
    /// as a failure of weight 0.5. A probe gives its slot back in both cases.
    pub fn cancel(mut self) {
        let age = self.age();
        self.cancel_in_place(age);
    }

    /// Records the outcome of the call.
    #[inline(always)]
    pub fn record(mut self, outcome: Outcome) {
        let elapsed = self.measured();
        self.record_in_place(outcome, elapsed, Text::NONE);
    }

    /// Calls `judge` with the result of the call, records the outcome that `judge` returns, and gives the result back.
    ///
    /// Put the `?` after `judge`, as below. A `?` before `judge` would drop the permit without an outcome.
    ///
    /// If the outcome opens the circuit, the reason has no error text, because the result can be of any type. If the
    /// usual judgement of errors is enough, make the call with [`call`](Self::call), [`call_within`](Self::call_within)
    /// or [`call_blocking`](Self::call_blocking), which record the text too.
    ///
    /// ```
    /// # use tower_circuit_breaker::{BoxError, Circuit, Config, Outcome, classify::outcome_of};
    /// # async fn query() -> Result<u32, std::io::Error> { Ok(1) }
    /// async fn rows(circuit: &Circuit) -> Result<u32, BoxError> {
    ///     let permit = circuit.try_acquire()?;
    ///     let result = query().await;
    ///     let rows = permit.judge(result, |result| match result {
    ///         Ok(_) => Outcome::Success,
    ///         Err(error) => outcome_of(error),
    ///     })?;
    ///     Ok(rows)
    /// }
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(rows(&Circuit::new(Config::new("database")?)))?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn judge<T>(self, result: T, judge: impl FnOnce(&T) -> Outcome) -> T {
        let outcome = judge(&result);
        self.record(outcome);
        result
    }

    /// Returns true if the call is a probe of a half-open circuit.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.mark.is_probe()
    }

    /// Returns the same permit for a call whose duration is measured. The start of the call is now, unless the
    /// admission has read the precise clock. In that case the start does not change, because the call is counted as
    /// under way with that start.
    pub(crate) fn measured_from_now(mut self) -> Self {
        let inner = &self.branch.inner;
        if !self.mark.is_measured() && inner.timing == Timing::Nothing {
            self.started = taken(inner.precise());
        }
        self.mark = self.mark.with_measured(true);
        self
    }

    /// Reads the start time if the admission has not done so. Only a call that was pending needs a start time, because
    /// only such a call can last long enough for its cancellation to count.
    #[inline]
    pub(crate) fn begin_waiting(&mut self) {
        if self.started == Tick::ZERO {
            self.started = taken(self.branch.inner.now());
        }
    }

    /// Returns the time since the start of the call. `None` if the start was not read.
    pub(crate) fn age(&self) -> Option<Duration> {
        age(&self.branch.inner, self.mark, self.started)
    }

    /// Returns the time since the start of the call. `None` if the duration of the call need not be measured.
    #[inline]
    pub(crate) fn measured(&self) -> Option<Duration> {
        if self.mark.is_measured() { self.age() } else { None }
    }

    /// Records the outcome without moving the permit, because the move would cost a short call more than the recording.
    #[inline(always)]
    pub(crate) fn record_in_place(&mut self, outcome: Outcome, elapsed: Option<Duration>, text: Text<'_>) {
        let mark = std::mem::replace(&mut self.mark, Mark::RECORDED);
        // The code for a success is inlined into the future of the call. An outcome has five words, and copying the
        // words for a function call costs more than counting the success.
        if let Outcome::Success = outcome
            && mark.is_counted()
        {
            self.branch.record_success(mark, self.started, elapsed);
        } else {
            end(&self.branch, mark, self.started, outcome.into(), elapsed, text);
        }
    }

    /// Records that the service has answered. The call goes on with a body, but no longer counts as hanging.
    #[cfg(feature = "http")]
    pub(crate) fn answered(&mut self) {
        let inner = &self.branch.inner;
        let word = inner.load();
        if word.is_watched() && self.mark.is_of(word.era()) && self.mark.awaits_answer() {
            inner.note_end(word, self.mark, self.started);
            self.mark = self.mark.answered();
        }
    }

    /// Returns the time by the clock of the circuit.
    #[cfg(feature = "http")]
    pub(crate) fn now(&self) -> Tick {
        self.branch.inner.now()
    }

    /// Records that the call was dropped. `waited` is the time that the call had waited for the service, or `None` if
    /// the call did not wait.
    pub(crate) fn cancel_in_place(&mut self, waited: Option<Duration>) {
        let ended = self.branch.inner.cancelled(waited);
        self.end_in_place(ended, 0);
    }

    /// Records the drop of a permit that has no outcome.
    #[inline(never)]
    fn abandon(&mut self) {
        let inner = &self.branch.inner;
        let cancelled = inner.cancelled(self.age());
        let counts = cancelled == Ended::Cancelled && inner.config.cancelled_counts_after.is_some();
        let (ended, doubt) = if std::thread::panicking() {
            (Ended::Failure(Failure::hard().with_kind(FailureKind::Panicked)), 0)
        } else if counts && self.mark.is_counted() {
            (Ended::Failure(UNRECORDED), 0)
        } else {
            (cancelled, if counts { UNRECORDED.weight().units() } else { 0 })
        };
        self.end_in_place(ended, doubt);
    }

    fn end_in_place(&mut self, ended: Ended, doubt: u16) {
        let elapsed = self.measured();
        let mark = std::mem::replace(&mut self.mark, Mark::RECORDED);
        let took = Took::new(elapsed, self.started, self.branch.inner.timing);
        self.branch.record(&End { mark, started: self.started, ended, took, doubt, text: Text::NONE });
    }
}

fn age(inner: &Inner, mark: Mark, started: Tick) -> Option<Duration> {
    let is_precise = mark.is_measured() || inner.timing != Timing::Nothing;
    let now = || if is_precise { inner.precise() } else { inner.now() };
    (started != Tick::ZERO).then(|| now().saturating_since(started))
}

/// The failure of a call whose permit was dropped without an outcome. The failure weighs only 0.5, because the permit
/// may belong to a cancelled task instead of a failed call.
const UNRECORDED: Failure = Failure::timeout().with_kind(FailureKind::Named("unrecorded"));

#[inline(never)]
fn end(branch: &Branch, mark: Mark, started: Tick, mut ended: Ended, elapsed: Option<Duration>, text: Text<'_>) {
    let mut doubt = 0;
    if let Ended::Failure(failure) = ended
        && failure.weighs_by_wait()
    {
        let waited = elapsed.or_else(|| age(&branch.inner, mark, started));
        (ended, doubt) = branch.inner.weighed_by_wait(failure, waited, mark);
    }
    let took = Took::new(elapsed, started, branch.inner.timing);
    branch.record(&End { mark, started, ended, took, doubt, text });
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.mark != Mark::RECORDED {
            self.abandon();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("mark", &self.mark).finish_non_exhaustive()
    }
}
