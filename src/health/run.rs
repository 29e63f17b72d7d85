//! The runner of one health probe, which is the task that makes the checks.
//!
//! ```text
//!        ┌────────────── closed, held: sleeps until a transition ─────────────┐
//!        ▼                                                                    │
//!  wait for the interval ──▶ wait for a place ──▶ check, within the deadline ─┴─▶ report to the circuit
//! ```
//!
//! After the report, the runner sleeps only while the circuit is closed, held by an operator or disabled by
//! `CIRCUIT_BREAKER_DISABLED`. For any other circuit, the wait for the next interval begins at once.
//!
//! A place is a permit of the [`HealthLimit`], which limits the number of checks at the same time. If a closed circuit
//! has a slow-call rule, its runner also wakes at intervals, so that the circuit detects hanging calls without a
//! further call.
//!
//! Any transition ends the wait that is under way. A transition also ends a check under way, because the result would
//! be about the earlier state. The runner registers its waker with the circuit each time before it reads the state, so
//! that it misses no transition.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Answer, Check, HealthLimit, HealthProbe};
use crate::circuit::{Place, Wanted, WeakCircuit};
use crate::event::guarded;
use crate::random;
use crate::state::HealthResult;
use crate::telemetry;

/// The future that runs a health probe. [`HealthProbe::run`] returns the future.
///
/// # Cancel safety
///
/// If the future is dropped, the check under way is dropped and has no result. A [required](HealthProbe::required)
/// health probe is then not required any more, so that calls may probe without a successful check.
#[must_use = "a health probe checks nothing until its future is spawned"]
pub struct HealthRun(Pin<Box<dyn Future<Output = ()> + Send>>);

impl HealthRun {
    pub(super) fn new(probe: HealthProbe) -> Self {
        Self(Box::pin(run(probe)))
    }
}

impl Future for HealthRun {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for HealthRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthRun").finish_non_exhaustive()
    }
}

async fn run(probe: HealthProbe) {
    let HealthProbe { circuit, every, deadline, required, check, limit, name } = probe;
    let Some(present) = circuit.upgrade() else { return };
    let number = present.begin_checks(every, deadline, required);
    drop(present);
    let mut runner = Runner { circuit, number, place: Place::default() };
    let mut panics = Panics::default();
    while let Some(era) = runner.until_wanted().await {
        let Some((every, instances)) = runner.circuit.upgrade().map(|circuit| circuit.check_every()) else { return };
        let interval = interval(every, instances, random::share(random::bits()), random::share(random::bits()));
        if runner.unless_changed(era, sleep(interval)).await.is_none() {
            continue;
        }
        // `place` is a permit of the semaphore, and is held until the check ends.
        let place = async {
            let HealthLimit(semaphore) = limit.clone()?;
            semaphore.acquire_owned().await.ok()
        };
        let Some(place) = runner.unless_changed(era, place).await else { continue };
        let Some((result, text)) = runner.unless_changed(era, checked(&check, deadline)).await else { continue };
        drop(place);
        if result == HealthResult::Panicked {
            panics.log(&name);
        }
        if let Some(circuit) = runner.circuit.upgrade() {
            circuit.checked(number, era, result, text.as_deref());
        }
    }
}

/// Returns the time until the next check. `jitter` and `turn` are random numbers between 0 and 1. `jitter` varies the
/// configured interval `every`. `turn` varies an additional wait, which leaves time for the checks of the other
/// instances of the fleet.
///
/// In a fleet of n instances, each instance waits n intervals on average, so that the fleet makes about one check in
/// each interval. The circuits of all instances open at the same time. Therefore the wait is random, from about one
/// interval to 2n - 1 intervals, so that the instances do not check at the same time.
fn interval(every: Duration, instances: u32, jitter: f64, turn: f64) -> Duration {
    let others = f64::from(instances.saturating_sub(1));
    every.mul_f64(1.0 - JITTER + 2.0 * JITTER * jitter + 2.0 * others * turn)
}

/// Runs one check until its end or the deadline, and catches its panics. Returns the result, and the error text if the
/// check returned an error.
async fn checked(check: &Check, deadline: Duration) -> (HealthResult, Option<String>) {
    let Some(answer) = guarded(|| check()) else { return (HealthResult::Panicked, None) };
    match timeout(deadline, caught(answer)).await {
        Err(_) => (HealthResult::TimedOut, None),
        Ok(None) => (HealthResult::Panicked, None),
        Ok(Some(Ok(()))) => (HealthResult::Passed, None),
        Ok(Some(Err(text))) => (HealthResult::Failed, Some(text)),
    }
}

/// Waits for the result of a check. Returns `None` if the future of the check panics, and never polls that future
/// again.
async fn caught(mut answer: Answer) -> Option<Result<(), String>> {
    poll_fn(|context| match guarded(|| answer.as_mut().poll(context)) {
        Some(polled) => polled.map(Some),
        None => Poll::Ready(None),
    })
    .await
}

/// The runner of a circuit. The circuit has one runner at a time, and recognises the runner by `number`.
struct Runner {
    circuit: WeakCircuit,
    number: u64,
    place: Place,
}

impl Runner {
    /// Waits until the circuit needs checks. Returns the era of the circuit (the version of its state), or `None` if
    /// the circuit is gone or another runner has replaced this runner.
    async fn until_wanted(&mut self) -> Option<u64> {
        loop {
            // A timer is needed, because no waker is called when a hold of an operator ends or when a call hangs.
            let mut hold = None;
            let wanted = poll_fn(|context| match self.look(context) {
                None => Poll::Ready(None),
                Some(Wanted::Check { era }) => Poll::Ready(Some(Some(era))),
                Some(Wanted::Nothing(None)) => Poll::Pending,
                Some(Wanted::Nothing(Some(left))) => {
                    let timer = hold.insert(Box::pin(sleep(left)));
                    timer.as_mut().poll(context).map(|()| Some(None))
                }
                Some(Wanted::Replaced) => Poll::Ready(None),
            })
            .await;
            match wanted {
                None => return None,
                Some(Some(era)) => return Some(era),
                Some(None) => {}
            }
        }
    }

    /// Returns the output of the future. Drops the future and returns `None` if the state of the circuit changes first,
    /// if no further checks are needed, or if the circuit is gone.
    async fn unless_changed<T>(&mut self, era: u64, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|context| match self.look(context) {
            Some(Wanted::Check { era: present }) if present == era => future.as_mut().poll(context).map(Some),
            _ => Poll::Ready(None),
        })
        .await
    }

    /// Registers the waker of this task with the circuit, and returns whether the circuit needs a check now. Returns
    /// `None` if the circuit is gone.
    fn look(&mut self, context: &Context<'_>) -> Option<Wanted> {
        let circuit = self.circuit.upgrade()?;
        circuit.register_at(&mut self.place, context);
        Some(circuit.wanted(self.number))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(circuit) = self.circuit.upgrade() {
            if self.place != Place::default() {
                circuit.leave(self.place);
            }
            circuit.end_checks(self.number);
        }
    }
}

/// The number of checks that panicked. Only some panics are logged, because a check can panic several times a second.
#[derive(Debug, Default)]
struct Panics(u64);

impl Panics {
    fn log(&mut self, circuit: &str) {
        self.0 = self.0.saturating_add(1);
        // The panics with the numbers 1, 2, 4, 8, 16 and so on are logged.
        if self.0.is_power_of_two() {
            telemetry::warn(&format!(
                "the health probe of circuit `{circuit}` panicked, which counts as a failure of the health probe ({} panics so far)",
                self.0
            ));
        }
    }
}

/// The largest change that `jitter` makes to an interval, as a fraction of the configured interval.
const JITTER: f64 = 0.2;
