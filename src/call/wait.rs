//! The waits of tasks and threads until a circuit admits a call, changes, or is restored.
//!
//! A circuit wakes its waiting tasks after a change and after a slot has become free. A circuit has no timer, so the
//! end of an opening, of a hold or of a probe deadline wakes no task. Therefore a waiting task has its own timer of
//! tokio, and a waiting thread sleeps until the deadline. A task or thread registers with the circuit before its last
//! check, because a change between the last check and a later registration would not wake the task.
//!
//! The file is longer than others, because all waits share one registration with the wakers, and most of its lines are
//! documentation.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::{Sleep, sleep, timeout};

use crate::circuit::{Admission, Asking, Circuit, Drawn, Peek, Permit, Place, Rejected, Start};
use crate::clock::Deadline;
use crate::state::Standing;

/// The wait of one task or thread for an event of its circuit.
#[derive(Debug)]
pub(crate) struct Wait {
    circuit: Circuit,
    place: Place,
    /// The timer is boxed, because a timer must not move, and the service that has this wait may move.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The time until a deadline that ends the wait. `None` if only an event of the circuit can end the wait.
type Deferred = Option<Duration>;

impl Wait {
    pub(crate) fn new(circuit: &Circuit) -> Self {
        Self { circuit: circuit.clone(), place: Place::default(), timer: None }
    }

    /// Is ready once a call may pass.
    ///
    /// # Cancel safety
    ///
    /// If the task stops polling, the circuit wakes the task at most once more. If the wait is dropped, the circuit
    /// does not wake the task.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_for(context, |circuit| deferred(circuit.peek()).map_or(Ok(()), Err))
    }

    /// Is ready once the circuit no longer awaits its restore. Returns the answer of the circuit to the next call.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`poll`](Self::poll).
    pub(crate) fn poll_restored(&mut self, context: &mut Context<'_>) -> Poll<Peek> {
        self.poll_for(context, |circuit| match circuit.peek() {
            Peek::AwaitsRestore => Err(None),
            peek @ (Peek::MayPass | Peek::Rejecting(_) | Peek::ProbesTaken(_)) => Ok(peek),
        })
    }

    /// Is ready once `check` returns `Ok`. The `Err` of `check` is the time until the next deadline, if a deadline is
    /// known.
    fn poll_for<T>(&mut self, context: &mut Context<'_>, check: impl Fn(&Circuit) -> Result<T, Deferred>) -> Poll<T> {
        loop {
            // The first check comes before the registration, so that a task without a reason to wait does not lock the
            // wakers.
            if let Ok(found) = check(&self.circuit) {
                return Poll::Ready(found);
            }
            self.circuit.register_at(&mut self.place, context);
            match check(&self.circuit) {
                Ok(found) => return Poll::Ready(found),
                Err(None) => return Poll::Pending,
                Err(Some(left)) => {
                    // Each turn creates a new timer, because the deadline may have moved. The allocation slows no
                    // healthy call, because a healthy call does not wait.
                    let timer = self.timer.insert(Box::pin(sleep(left)));
                    ready!(timer.as_mut().poll(context));
                }
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // Only a wait that has registered removes its registration. A wait that never registered has the default place,
        // which belongs to the tasks of `poll_changed`. Those tasks must stay registered.
        if self.place != Place::default() {
            self.circuit.leave(self.place);
        }
    }
}

/// Returns the time to wait if the circuit does not admit the next call, where `Some(None)` means that no deadline is
/// known. Returns `None` if a call may pass.
const fn deferred(peek: Peek) -> Option<Deferred> {
    match peek {
        Peek::MayPass => None,
        Peek::AwaitsRestore => Some(None),
        Peek::Rejecting(left) => Some(left),
        Peek::ProbesTaken(left) => Some(Some(left)),
    }
}

/// The last change of a circuit that a task has observed, for [`Circuit::changed`].
///
/// The default is for a task that has observed no change yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Observed {
    /// The era of the circuit, a number that increases with each transition.
    pub era: u64,
    /// True if the circuit would have admitted the next call when the task observed the circuit.
    pub would_admit: bool,
}

impl Circuit {
    /// Returns a reference to the circuit, by which a call acquires its permit later. If the circuit is being restored,
    /// also returns the wait for the restore. The wait is boxed, so that a healthy call does not move the bytes of a
    /// wait.
    #[inline]
    pub(super) fn asking_after_restore(&self) -> (Asking, Option<Box<Wait>>) {
        let (asking, awaits_restore) = self.asking();
        (asking, awaits_restore.then(|| Box::new(Wait::new(self))))
    }
}

/// Waits of users without tower.
impl Circuit {
    /// Waits until the circuit admits a call, and returns the permit.
    ///
    /// A transition, a freed slot of a probe, and the end of the open duration or of a hold end the wait. While no
    /// deadline is known, because an operator holds the circuit without an end or
    /// [`Recovery::Manual`](crate::config::Recovery::Manual) is set, only a transition ends the wait. If several tasks
    /// wait for one slot, one task gets the permit and the others continue to wait. A wait counts neither as a call nor
    /// as a rejection, with one exception. If another thread takes the slot between the check and the admission of this
    /// task, one rejection is counted.
    ///
    /// If the circuit is being restored from a store and `first_call_waits` is set, the task also waits for the
    /// restore.
    ///
    /// # Panics
    ///
    /// If the task has to wait for a deadline outside a tokio runtime with time enabled. Threads without a runtime use
    /// [`acquire_blocking`](Self::acquire_blocking). In a test with paused time, give the circuit a
    /// [`TokioClock`](crate::clock::TokioClock). Otherwise the timer of the task follows the paused time, and the
    /// deadlines of the circuit do not.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no permit is taken, no slot is lost, and the circuit forgets the task.
    ///
    /// # Examples
    ///
    /// A worker that pauses while the circuit is open:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_circuit_breaker::{Circuit, Config};
    /// # struct Job; impl Job { async fn run(&self) -> Result<(), std::io::Error> { Ok(()) } }
    /// async fn work(circuit: Circuit, jobs: Vec<Job>) {
    ///     for job in jobs {
    ///         let permit = circuit.acquire().await;
    ///         if let Err(error) = permit.call_within(Duration::from_secs(2), job.run()).await {
    ///             println!("{error}");
    ///         }
    ///     }
    /// }
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(work(Circuit::new(Config::new("jobs")?), vec![Job]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn acquire(&self) -> Permit {
        if let Ok(permit) = self.admit_waiting() {
            return permit;
        }
        let mut wait = Wait::new(self);
        poll_fn(|context| wait.poll_for(context, Self::admit_waiting)).await
    }

    /// Waits until the circuit admits a call, for at most `patience`, and returns the permit.
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the circuit has admitted no call within `patience`. The rejection counts like every other
    /// rejection.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled, if the task has to wait.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub async fn acquire_within(&self, patience: Duration) -> Result<Permit, Rejected> {
        if let Ok(permit) = self.admit_waiting() {
            return Ok(permit);
        }
        match timeout(patience, self.acquire()).await {
            Ok(permit) => Ok(permit),
            Err(_) => self.try_acquire(),
        }
    }

    /// Waits until the circuit admits a call, for at most `patience`, and returns the permit. The function is for
    /// threads without a runtime.
    ///
    /// The thread sleeps until a transition, a freed slot or the end of the open duration wakes the thread, as
    /// [`acquire`](Self::acquire) describes. `patience` is real time, even if the circuit has another clock. A task of
    /// a runtime must not call this function, because the thread of the runtime would sleep too.
    ///
    /// A worker that waits as long as the circuit is open passes [`Duration::MAX`]. In a loop with a shorter
    /// `patience`, each wait that returns [`Rejected`] counts as a rejected call, and the log says `n calls were
    /// rejected meanwhile`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_circuit_breaker::{Circuit, Config};
    /// # let circuit = Circuit::new(Config::new("database")?);
    /// let permit = circuit.acquire_blocking(Duration::MAX)?;
    /// let text = permit.call_blocking(|| std::fs::read_to_string("Cargo.toml"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the circuit has admitted no call within `patience`. The rejection counts like every other
    /// rejection.
    pub fn acquire_blocking(&self, patience: Duration) -> Result<Permit, Rejected> {
        if let Ok(permit) = self.admit_waiting() {
            return Ok(permit);
        }
        let end = Deadline::after(patience);
        let waker = Waker::from(Arc::new(Sleeper(thread::current())));
        let mut wait = Wait::new(self);
        loop {
            // The thread registers again in each turn, because a wake removes the registration. A change before the
            // registration wakes no thread. An observer that parks this thread may also have consumed a wake. Therefore
            // the circuit is checked after each registration.
            self.register_at(&mut wait.place, &Context::from_waker(&waker));
            let deferred = match self.admit_waiting() {
                Ok(permit) => return Ok(permit),
                Err(deferred) => deferred,
            };
            let left = end.left();
            if left.is_zero() {
                return self.try_acquire();
            }
            thread::park_timeout(deferred.map_or(left, |deferred| left.min(deferred)));
        }
    }

    /// Waits until the circuit differs from `observed`, the last change that the task has observed. A circuit differs
    /// after a transition, and after a change of [`would_admit`](Self::would_admit). Returns the standing (the state
    /// and the mode) and updates `observed`.
    ///
    /// Start with `Observed::default()` to get the present standing immediately. The task is woken when the open
    /// duration or a hold is over, although the circuit makes the transition only at the next call. The returned
    /// standing is then still the standing before that transition, and [`would_admit`](Self::would_admit) is true.
    /// Changes that follow each other quickly are observed as one. The task is not woken when a call takes the last
    /// slot of a half-open circuit. Otherwise every probe would wake every task.
    ///
    /// # Panics
    ///
    /// The same as for [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, `observed` is as before and nothing is lost, because the next wait compares the
    /// circuit with `observed` again.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use tower_circuit_breaker::{Circuit, call::Observed};
    ///
    /// async fn watch(circuit: Circuit) {
    ///     let mut observed = Observed::default();
    ///     loop {
    ///         let standing = circuit.changed(&mut observed).await;
    ///         println!("{} is {standing}, the next call is admitted: {}", circuit.name(), observed.would_admit);
    ///     }
    /// }
    /// ```
    pub async fn changed(&self, observed: &mut Observed) -> Standing {
        let mut wait = Wait::new(self);
        let before = *observed;
        let check = |circuit: &Self| {
            let (era, standing) = circuit.era_and_standing();
            let deferred = deferred(circuit.peek_at_gate());
            let now = Observed { era, would_admit: deferred.is_none() };
            // While a hold lets calls through, the end of the hold may change `would_admit` without a transition.
            let check_again = deferred.unwrap_or_else(|| circuit.held_for());
            if now == before { Err(check_again) } else { Ok((now, standing)) }
        };
        let (now, standing) = poll_fn(|context| wait.poll_for(context, check)).await;
        *observed = now;
        standing
    }

    /// Returns a permit, or the time to wait. The circuit is asked for a permit only if a call may pass, because a
    /// rejection would be counted although no call was made. A ramp or a throttle does not reject the caller, who would
    /// only wait and try again.
    fn admit_waiting(&self) -> Result<Permit, Deferred> {
        match deferred(self.peek()) {
            Some(deferred) => Err(deferred),
            // The circuit rejects the call if another thread was faster. A wait of zero lets the caller check the
            // circuit again immediately.
            None => {
                let admitted = self.admit(Start::Coarse, || Drawn::No).map(Admission::permit);
                admitted.map_err(|_| Some(Duration::ZERO))
            }
        }
    }
}

/// A thread that sleeps until the circuit unparks the thread.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use std::future::Future;
    use std::pin::pin;

    use super::*;
    use crate::clock::TokioClock;
    use crate::config::{Config, OpenDuration};
    use crate::outcome::Failure;
    use crate::state::State;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    /// Returns an open circuit whose probes need a permission of the coordinator until `lasts` has passed.
    fn leased(lasts: Duration) -> Circuit {
        let settings = Config::builder("orders").consecutive_failures(1).clock(TokioClock::new());
        let config = settings.open_for(OpenDuration::fixed(OPEN_FOR)).build();
        let circuit = Circuit::new(config.expect("the settings are valid"));
        circuit.try_acquire().expect("it is closed").failure(Failure::hard());
        circuit.lease_probes(lasts);
        circuit
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_task_requests_a_lease_and_gets_the_next_grant() {
        let circuit = leased(Duration::from_secs(3600));
        let mut context = Context::from_waker(Waker::noop());
        let mut permit = pin!(circuit.acquire());
        assert!(permit.as_mut().poll(&mut context).is_pending());
        tokio::time::advance(OPEN_FOR).await;
        assert!(permit.as_mut().poll(&mut context).is_pending(), "the opening is over, and no grant is there");
        assert_eq!(circuit.state(), State::HalfOpen, "the transition is the demand for a lease");
        let (era, _) = circuit.era_and_standing();
        assert!(circuit.grant(era));
        assert!(permit.await.is_probe());
        assert_eq!(circuit.totals().rejected, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_task_probes_when_the_leases_run_out() {
        let leases = OPEN_FOR + Duration::from_secs(5);
        let circuit = leased(leases);
        let began = circuit.now();
        assert!(circuit.acquire().await.is_probe());
        let waited = circuit.now().saturating_since(began);
        let exact = leases..leases + Duration::from_millis(5);
        assert!(exact.contains(&waited), "the timer of the task is exact to a few milliseconds: {waited:?}");
        assert_eq!(circuit.totals().rejected, 0);
    }

    #[tokio::test]
    async fn a_waiting_task_and_a_thread_wait_for_the_restore() {
        let circuit = Circuit::new(Config::new("orders").expect("it is valid"));
        circuit.await_restore();
        let mut context = Context::from_waker(Waker::noop());
        let mut permit = pin!(circuit.acquire());
        assert!(permit.as_mut().poll(&mut context).is_pending());
        let thread = thread::spawn({
            let circuit = circuit.clone();
            move || circuit.acquire_blocking(Duration::from_secs(3600)).map(Permit::success)
        });
        circuit.restored();
        permit.await.success();
        assert!(thread.join().expect("it does not panic").is_ok());
    }
}
