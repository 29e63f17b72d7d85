//! Health probes of a circuit. A successful health probe can end the open state early. A circuit can also require a
//! successful health probe before calls may be probes.
//!
//! A runner (a task of the module `health`) checks the service while the circuit is not closed, and reports the result
//! of each check here. A check that succeeds while the circuit is open ends the open state early. A check that fails
//! enters no window and decides no verdict, because a check is no call of a user.
//!
//! A successful check does not end the open state in three cases:
//!
//! * The service has sent a `Retry-After`, and its time has not passed.
//! * A successful check made the circuit half-open earlier, but the circuit then opened again, for example because
//!   calls failed. The checks succeed although calls fail. Therefore a success ends the open state again only after
//!   three checks in a row have failed, or after the circuit has closed. Otherwise the circuit would become half-open
//!   at each check, and would never wait for its open duration.
//! * The check began in another era (the time between two transitions), the circuit is under a hold or under the kill
//!   switch, or only a reset by an operator ends the open state.
//!
//! If a health probe is *required*, no call may be a probe until a check has succeeded since the circuit opened. An era
//! is *cleared* if its calls may be probes. If a reset or the fleet makes the circuit half-open, the new era is cleared
//! from its start. Two bounds end the wait for a successful check, so that calls are not rejected for ever. First,
//! calls probe if no check has ended for the duration `silence`, which is ten check intervals plus a deadline. The
//! runner is then *silent*, and is perhaps gone. Second, calls probe after ten times `silence` without a successful
//! check, because the health endpoint may not exist.
//!
//! ```text
//! open:       the open duration is over, or a check succeeds ──▶ half-open, cleared
//!             the open duration is over, required            ──▶ held back until a check succeeds, or a bound is met
//! half-open:  not cleared, required                          ──▶ held back likewise
//! ```
//!
//! The runner decides when to check, and applies the deadline. This file is longer than others, because it has the
//! rules about one era for the gate, the runner and the transitions.

use std::sync::Arc;
use std::time::Duration;

use super::cold::{Cold, Past};
use super::gate::Due;
use super::inner::Inner;
use super::word::Word;
use super::{Branch, Circuit};
use crate::clock::{Tick, nanos};
use crate::config::Recovery;
use crate::event::Event;
use crate::state::text;
use crate::state::{Act, HealthResult, HealthStatus, Mode, Reason, State, Transition};
use crate::sync::{AtomicU64, Relaxed};
use crate::telemetry;
use crate::window::tagged::Tagged;

/// The health-probe data that the gate reads for a call.
#[derive(Debug)]
pub(super) struct Health {
    /// The longest time, in nanoseconds, for which calls wait for a check to end. If no check ends for this long, the
    /// runner is silent, and calls probe. Zero if calls need no health probe.
    silence: AtomicU64,
    /// The time at which the last check ended or the runner began, whichever is later. In nanoseconds of the clock.
    answered: AtomicU64,
    /// 1 if calls of this era may probe without a further health probe. 0 if they must wait for a successful health
    /// probe.
    cleared: Tagged,
}

/// The health-probe data that no call reads.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// The number of the present runner. Each new runner gets the next number, and a runner with an earlier number
    /// ends.
    runner: u64,
    running: bool,
    required: bool,
    every: Duration,
    deadline: Duration,
    /// The number of instances that share the checks of the service. Zero and 1 both mean that this instance makes all
    /// checks.
    instances: u32,
    last: Option<(HealthResult, Tick, Option<Arc<str>>)>,
    passed: u64,
    failed: u64,
    /// True if a successful health probe began the present half-open era.
    began_round: bool,
    /// True if a successful health probe made the circuit half-open, but the circuit then opened again. Becomes false
    /// after three failed health probes in a row, or when the circuit closes.
    contradicted: bool,
    failed_in_row: u8,
    /// True once the log has an entry for a call that became a probe although the required health probe had not
    /// succeeded. Only the first such call is logged.
    is_logged: bool,
}

/// The next step of a runner of health probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The runner should check the service. The result counts only in the era `era`.
    Check { era: u64 },
    /// The runner should not check the service now. The runner must query the circuit for its next step again after the
    /// next transition. If a duration is given, the runner must query the circuit after that duration at the latest.
    /// The duration is the rest of a hold, or the interval at which a closed circuit checks its hanging calls.
    Nothing(Option<Duration>),
    /// Another runner has taken over, or the circuit has left its registry. This runner must end.
    Replaced,
}

impl Circuit {
    /// Registers a new runner, which replaces any earlier runner. Returns the number of the new runner.
    pub(crate) fn begin_checks(&self, every: Duration, deadline: Duration, required: bool) -> u64 {
        let inner = self.inner();
        let now = inner.now();
        let runner = {
            let mut cold = inner.cold.lock();
            let checks = cold.past_mut().checks_mut();
            checks.runner += 1;
            (checks.running, checks.required, checks.every, checks.deadline) = (true, required, every, deadline);
            let health = inner.health_or_new();
            // Relaxed, because the time publishes no other data.
            health.answered.store(now.as_nanos(), Relaxed);
            health.expect(checks);
            checks.runner
        };
        // An earlier runner wakes up, finds that it was replaced, and ends.
        inner.wakers.wake();
        inner.notify(&Event::HealthBegan);
        runner
    }

    /// Notes that a runner has ended. Calls then need no health probe, because no runner is left to make one. Does
    /// nothing if another runner has replaced this runner.
    pub(crate) fn end_checks(&self, runner: u64) {
        let inner = self.inner();
        {
            let mut cold = inner.cold.lock();
            let checks = cold.past_mut().checks_mut();
            if checks.runner != runner {
                return;
            }
            checks.running = false;
            inner.expect_answers(checks);
        }
        // A task that waits for a health probe may call now.
        inner.wakers.wake();
    }

    /// Ends the runner of a circuit that has left its registry.
    #[cfg(feature = "store")]
    pub(crate) fn stop_checks(&self) {
        let inner = self.inner();
        {
            let mut cold = inner.cold.lock();
            let Some(checks) = cold.checks_if_any_mut() else { return };
            checks.runner += 1;
            checks.running = false;
            inner.expect_answers(checks);
        }
        inner.wakers.wake();
    }

    /// Returns the interval at which all instances together check the service, and the number of these instances.
    pub(crate) fn check_every(&self) -> (Duration, u32) {
        self.inner().cold.lock().checks().map_or((Duration::ZERO, 1), |checks| (checks.every, checks.instances.max(1)))
    }

    /// Returns true if a runner checks the service.
    #[cfg(feature = "store")]
    pub(crate) fn has_checks(&self) -> bool {
        self.inner().cold.lock().checks().is_some_and(|checks| checks.running)
    }

    /// Sets the number of live instances that share the checks of the service.
    #[cfg(feature = "store")]
    pub(crate) fn share_checks(&self, instances: u32) {
        let inner = self.inner();
        let mut cold = inner.cold.lock();
        if let Some(checks) = cold.checks_if_any_mut().filter(|checks| checks.instances != instances.max(1)) {
            checks.instances = instances.max(1);
            inner.expect_answers(checks);
        }
    }

    /// Returns the next step of a runner, which is to check the service, to wait or to end.
    pub(crate) fn wanted(&self, runner: u64) -> Wanted {
        let inner = self.inner();
        if inner.cold.lock().checks().is_none_or(|checks| checks.runner != runner) {
            return Wanted::Replaced;
        }
        inner.open_if_hanging();
        let (word, now) = (inner.load(), inner.now());
        if word.bypassed() {
            return Wanted::Nothing(None);
        }
        if word.counts_calls() {
            // A closed circuit wants no check. The runner queries again after an interval, so that the slow-call rule
            // is checked even if no new call comes while other calls hang.
            return Wanted::Nothing(inner.looks_every());
        }
        let until = inner.hold_until().known().filter(|_| word.mode().is_hold());
        let left = until.map(|until| until.saturating_since(now));
        let is_tripped = match word.mode() {
            // With automatic recovery the circuit becomes half-open after the hold, so health probes are needed. With
            // manual recovery the circuit returns to its state from before the hold (`word.state()`), and health probes
            // are needed only if that state is not closed.
            Mode::ForcedOpen => inner.config.recovery == Recovery::Automatic || word.state() != State::Closed,
            Mode::Automatic | Mode::Shadow | Mode::Disabled => word.state() != State::Closed,
        };
        match left {
            _ if !is_tripped => Wanted::Nothing(None),
            Some(left) if !left.is_zero() => Wanted::Nothing(Some(left)),
            None if word.mode().is_hold() => Wanted::Nothing(None),
            Some(_) | None => Wanted::Check { era: word.era() },
        }
    }

    /// Records the result of a check that began in `era`. `error` is the error text of a failed check.
    pub(crate) fn checked(&self, runner: u64, era: u64, result: HealthResult, error: Option<&str>) {
        let inner = self.inner();
        let now = inner.now();
        let passed = result == HealthResult::Passed;
        let text = error.and_then(text::of_failure);
        {
            let mut cold = inner.cold.lock();
            let checks = cold.past_mut().checks_mut();
            if checks.runner != runner {
                return;
            }
            checks.last = Some((result, now, text));
            if passed {
                checks.passed += 1;
                checks.failed_in_row = 0;
            } else {
                checks.failed += 1;
                checks.failed_in_row = checks.failed_in_row.saturating_add(1);
                // Checks that succeed while calls fail are `contradicted` and cannot end the open state. Once checks
                // fail as well, later successes mean more. One failed check is not enough, because perhaps only the
                // backend that this check reached has failed.
                checks.contradicted &= checks.failed_in_row < BELIEVED_AFTER;
            }
            if let Some(health) = inner.health() {
                // Relaxed, because the time publishes no other data. A call that still reads the earlier time is held
                // back for a shorter time.
                health.answered.store(now.as_nanos(), Relaxed);
            }
        }
        inner.notify(&Event::HealthProbe { result });
        if passed {
            inner.passed_check(era, now);
        }
    }
}

impl Inner {
    /// Handles a successful check that began in `era`. Lets calls of this era probe, and makes an open circuit
    /// half-open if the success may end the open state. Does nothing if `era` is over.
    fn passed_check(&self, era: u64, now: Tick) {
        let mut word = self.load();
        if word.era() != era || word.bypassed() {
            return;
        }
        // The time of a hold may have passed without a call since then. This successful check then ends the hold.
        if word.mode().is_hold()
            && let Err(due @ Due::HoldEnded { .. }) = self.scene(word, now).gate()
        {
            self.carry_out(word, now, due);
            word = self.load();
        }
        if word.mode().is_hold() || word.state() == State::Closed {
            return;
        }
        if let Some(health) = self.health() {
            health.clear(word.era());
        }
        if word.state() == State::Open && self.config.recovery == Recovery::Automatic {
            self.change(word, |cold| {
                let past = cold.past();
                let leaves_alone = past.is_some_and(|past| now < past.leave_alone_until);
                let contradicted = past.and_then(Past::checks).is_some_and(|checks| checks.contradicted);
                let waited = now.saturating_since(self.entered());
                let reason = Reason::HealthProbe { waited };
                (!leaves_alone && !contradicted).then(|| Self::probing(word, now, reason))
            });
        }
        // Perhaps the success has only cleared the era, without a transition.
        // A task that was held back may call now, also if the state is as before.
        self.wakers.wake();
    }

    /// Returns the time until which no call of this era may be a probe, because no health probe has succeeded. Zero if
    /// calls may probe.
    #[inline(always)]
    pub(super) fn held_back_until(&self, word: Word, now: Tick) -> Tick {
        match self.health() {
            Some(health) if health.is_required() => self.held_back_by(health, word, now),
            _ => Tick::ZERO,
        }
    }

    /// Sets the `silence` of [`Health`] after a change of the runner or of the number of instances. Does nothing for a
    /// circuit that never had a runner.
    fn expect_answers(&self, checks: &Checks) {
        if let Some(health) = self.health() {
            health.expect(checks);
        }
    }

    #[cold]
    fn held_back_by(&self, health: &Health, word: Word, now: Tick) -> Tick {
        // Relaxed, for the reason in `is_required`.
        let silence = Duration::from_nanos(health.silence.load(Relaxed));
        if word.mode().is_hold() {
            // The circuit is under a hold here. The gate reads the returned time only if the time of the hold is over.
            // A half-open era then begins. The calls of that era must wait for a successful health probe, but for at
            // most `silence` if no check ends.
            return now.saturating_add(silence);
        }
        if health.cleared.is(word.era(), 1) {
            return Tick::ZERO;
        }
        let entered = self.entered();
        let due = if word.state() == State::Open { self.open_until().max(entered) } else { entered };
        // Relaxed, for the reason in `is_required`.
        let answered = Tick::from_nanos(health.answered.load(Relaxed)).max(entered);
        let until = answered.saturating_add(silence).min(due.saturating_add(silence.saturating_mul(PATIENCE)));
        if now < until { until } else { Tick::ZERO }
    }

    /// Returns true if the circuit holds calls back because no health probe has succeeded.
    pub(super) fn waits_for_health(&self, now: Tick) -> bool {
        let word = self.load();
        let is_due = match word.state() {
            State::Closed => false,
            State::Open => now >= self.open_until(),
            State::HalfOpen => true,
        };
        is_due && !word.mode().is_hold() && !word.bypassed() && self.held_back_until(word, now) > now
    }

    /// Logs the first call that is a probe although the required health probe has not succeeded.
    pub(super) fn note_unchecked(&self, era: u64) {
        if self.health().is_some_and(|health| health.is_required() && !health.cleared.is(era, 1)) {
            self.log_unchecked();
        }
    }

    #[cold]
    fn log_unchecked(&self) {
        let is_first = {
            let mut cold = self.cold.lock();
            !std::mem::replace(&mut cold.past_mut().checks_mut().is_logged, true)
        };
        if is_first {
            telemetry::warn(&format!(
                "circuit `{}` lets a call probe although its required health probe has not succeeded: the health endpoint fails or \
                 the task of the health probes does not answer",
                self.config.name()
            ));
        }
    }

    /// Returns the state of the health probes for a status. `None` if the circuit never had a runner.
    pub(super) fn health_status(&self, cold: &Cold, now: Tick) -> Option<HealthStatus> {
        let checks = cold.checks()?;
        let (last, at, text) = checks
            .last
            .as_ref()
            .map_or((None, None, None), |(result, at, text)| (Some(*result), Some(*at), text.clone()));
        Some(HealthStatus {
            running: checks.running,
            required: checks.required,
            holds_back: self.waits_for_health(now),
            last,
            last_for: at.map(|at| now.saturating_since(at)),
            last_text: text,
            passed: checks.passed,
            failed: checks.failed,
        })
    }
}

impl Health {
    /// Returns the data for a circuit whose present era is `era`. The era is not cleared (its calls may not probe yet).
    /// The caller holds the cold mutex.
    pub(super) fn new(era: u64) -> Self {
        let health = Self { silence: AtomicU64::new(0), answered: AtomicU64::new(0), cleared: Tagged::new() };
        health.cleared.begin(era, 0);
        health
    }

    #[inline]
    fn is_required(&self) -> bool {
        // Relaxed, because the time publishes no other data. A thread that reads an earlier value decides as if the
        // runner had begun or ended later.
        self.silence.load(Relaxed) > 0
    }

    /// Begins an era with the transition `edge`. The transition decides if calls of the era may probe before a health
    /// probe succeeds. The caller holds the cold mutex, and publishes the era afterwards.
    pub(super) fn begin(&self, from: Word, era: u64, edge: &Transition) {
        let goes_on = edge.from.state == edge.to.state && edge.reason != Reason::AtOnce;
        // True if calls may probe after this transition. Either a health probe has succeeded, the gate has let a call
        // probe, or an operator or the fleet has made the circuit half-open.
        let clears = matches!(
            edge.reason,
            Reason::HealthProbe { .. }
                | Reason::WaitElapsed { .. }
                | Reason::Fleet
                | Reason::Operator { act: Act::Reset, .. }
        );
        let cleared = clears && edge.to.state == State::HalfOpen || goes_on && self.cleared.is(from.era(), 1);
        self.cleared.begin(era, u64::from(cleared));
    }

    /// Lets calls of this era probe.
    fn clear(&self, era: u64) {
        self.cleared.update(era, |_| 1);
    }

    /// Sets `silence`, which is zero unless a runner is running and its health probe is required.
    fn expect(&self, checks: &Checks) {
        let silence = if checks.required && checks.running { nanos(checks.silence()).max(1) } else { 0 };
        // Relaxed, because the time publishes no other data.
        self.silence.store(silence, Relaxed);
    }
}

impl Checks {
    fn silence(&self) -> Duration {
        let interval = self.every.saturating_mul(self.instances.max(1));
        interval.saturating_mul(PATIENCE).saturating_add(self.deadline)
    }

    /// Updates the health-probe data after a transition. If a health probe began a half-open era, and the circuit
    /// opened again at the end of that era, the era has contradicted the health probes.
    pub(super) fn note(&mut self, edge: &Transition) {
        match (&edge.reason, edge.to.state) {
            // The fleet makes this circuit half-open after a successful health probe of another instance. Therefore the
            // era is treated as one that a health probe began.
            (Reason::HealthProbe { .. }, _) | (Reason::Fleet, State::HalfOpen) => self.began_round = true,
            // Only the mode has changed.
            (_, State::HalfOpen) if edge.from.state == State::HalfOpen => {}
            (_, State::HalfOpen) => self.began_round = false,
            (_, State::Open) => self.contradicted |= std::mem::take(&mut self.began_round),
            (_, State::Closed) => (self.began_round, self.contradicted) = (false, false),
        }
    }
}

impl Branch {
    /// Returns true if the circuit holds calls back because no health probe has succeeded.
    pub(super) fn waits_for_health(&self) -> bool {
        self.inner.waits_for_health(self.inner.now())
    }
}

/// The number of check intervals for which calls wait for a check to end. Also the number of `silence` durations for
/// which calls wait for a check to succeed.
const PATIENCE: u32 = 10;
/// The number of failed checks in a row that show that the checks notice the failure of the service. If calls failed
/// although the checks succeeded, a successful check ends the open state only after that many failed checks.
const BELIEVED_AFTER: u8 = 3;
