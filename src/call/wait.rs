//! Lets tasks and threads wait until a circuit admits a call, changes, or is restored.
//!
//! A circuit wakes its waiting tasks after a change, and after a probe slot has become free. A circuit has no timer, so
//! the end of an open duration, of a hold or of a probe deadline wakes no task. Therefore a waiting task has a tokio
//! timer of its own, and a waiting thread sleeps until the deadline. A task or thread registers with the circuit before
//! its last check of the circuit. If the last check came first, a change between the check and the registration would
//! not wake the task.
//!
//! The file is longer than most files, because all waits share one registration with the circuit. Most lines are
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

/// The wait of one task or thread for a circuit. Contains the registration with the circuit and the timer.
#[derive(Debug)]
pub(crate) struct Wait {
    circuit: Circuit,
    place: Place,
    /// The timer of the wait. The timer is boxed, because a timer must not move, but the service that contains this
    /// wait may move.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The time until a deadline at which a waiting task checks the circuit again. `None` if there is no deadline, so that
/// only the circuit can wake the task.
type Deferred = Option<Duration>;

impl Wait {
    pub(crate) fn new(circuit: &Circuit) -> Self {
        Self { circuit: circuit.clone(), place: Place::default(), timer: None }
    }

    /// Is ready when the circuit would admit a call.
    ///
    /// # Cancel safety
    ///
    /// If the task stops polling, the circuit wakes the task at most once more. If the wait is dropped, the circuit
    /// does not wake the task.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_for(context, |circuit| deferred(circuit.peek()).map_or(Ok(()), Err))
    }

    /// Is ready when the circuit is not being restored from its store. Returns the answer that the circuit would give
    /// to the next call.
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

    /// Is ready when `check` returns `Ok`. If `check` returns `Err`, the value is the time until the next deadline, or
    /// `None` without a deadline.
    fn poll_for<T>(&mut self, context: &mut Context<'_>, check: impl Fn(&Circuit) -> Result<T, Deferred>) -> Poll<T> {
        loop {
            // This check comes before the registration, because the registration takes a lock. A task that need not
            // wait does not take the lock.
            if let Ok(found) = check(&self.circuit) {
                return Poll::Ready(found);
            }
            self.circuit.register_at(&mut self.place, context);
            match check(&self.circuit) {
                Ok(found) => return Poll::Ready(found),
                Err(None) => return Poll::Pending,
                Err(Some(left)) => {
                    // Creates a new timer each time, because the deadline may have moved. The allocation costs a call
                    // nothing if the circuit is closed, because the call does not wait.
                    let timer = self.timer.insert(Box::pin(sleep(left)));
                    ready!(timer.as_mut().poll(context));
                }
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // Removes the registration, if there is one. A wait that never registered has the default place. Such a wait
        // must not call `leave`, because all tasks of `poll_changed` register at the default place, and `leave` would
        // remove one of these tasks.
        if self.place != Place::default() {
            self.circuit.leave(self.place);
        }
    }
}

/// Returns `None` if the circuit would admit the next call. Otherwise returns the time until the next deadline, or
/// `Some(None)` if there is no deadline.
const fn deferred(peek: Peek) -> Option<Deferred> {
    match peek {
        Peek::MayPass => None,
        Peek::AwaitsRestore => Some(None),
        Peek::Rejecting(left) => Some(left),
        Peek::ProbesTaken(left) => Some(Some(left)),
    }
}

/// The version of a circuit that a task has observed last, for [`Circuit::changed`].
///
/// The default value is for a task that has not observed the circuit yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Observed {
    /// The era of the circuit, a number that increases with each transition.
    pub era: u64,
    /// True if the circuit would have admitted a call when the task observed the circuit.
    pub would_admit: bool,
}

impl Circuit {
    /// Returns a reference with which a call acquires a permit later. If the circuit is being restored from a store,
    /// also returns the wait for the end of the restore. The wait is boxed, so that a call that need not wait stays
    /// small.
    #[inline]
    pub(super) fn asking_after_restore(&self) -> (Asking, Option<Box<Wait>>) {
        let (asking, awaits_restore) = self.asking();
        (asking, awaits_restore.then(|| Box::new(Wait::new(self))))
    }
}

/// Methods that wait, for users without tower.
impl Circuit {
    /// Waits until the circuit admits a call, and returns the permit.
    ///
    /// The task checks the circuit again after each transition, when a probe slot becomes free, and at the end of the
    /// open duration or of a hold. If an operator holds the circuit without an end, or if
    /// [`Recovery::Manual`](crate::config::Recovery::Manual) is set, only a transition can end the wait. If several
    /// tasks wait for one slot, one task gets the permit and the other tasks continue to wait. A wait normally counts
    /// neither as a call nor as a rejection. If another thread takes the slot between the check and the admission of
    /// this task, one rejection is counted.
    ///
    /// If the circuit is being restored from a store and `first_call_waits` is set, the task first waits for the end of
    /// the restore.
    ///
    /// # Panics
    ///
    /// If the task has to wait for a deadline outside a tokio runtime with time enabled. Threads without a runtime use
    /// [`acquire_blocking`](Self::acquire_blocking). In a test with paused time, give the circuit a
    /// [`TokioClock`](crate::clock::TokioClock), so that the timer of the task and the deadlines of the circuit use the
    /// same time.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no permit is taken, no probe slot is lost, and the circuit does not wake the task.
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

    /// Blocks the thread until the circuit admits a call, for at most `patience`, and returns the permit. This function
    /// is for threads without a runtime.
    ///
    /// The thread sleeps, and checks the circuit again at the same events as [`acquire`](Self::acquire). `patience` is
    /// measured in real time, even if the circuit has a clock with another time. An async task must not call this
    /// function, because the thread of the runtime would sleep too.
    ///
    /// To wait without a time limit, pass [`Duration::MAX`]. In a loop with a shorter `patience`, each [`Rejected`]
    /// counts as a rejected call, and the log says `n calls were rejected meanwhile`.
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
            // The thread registers again in each pass of the loop, because a wake removes the registration. The circuit
            // is checked after each registration, for two reasons. A change before the registration does not wake the
            // thread. Also, a wake can be lost, because an observer that runs on this thread may park the thread and so
            // consume the wake.
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

    /// Waits until the circuit differs from `observed`, and returns the standing (the state and the mode). The circuit
    /// differs after a transition, and after a change of [`would_admit`](Self::would_admit). `observed` is updated.
    ///
    /// Start with `Observed::default()` to get the present standing immediately. The task is also woken when the open
    /// duration or a hold is over, although the circuit makes the transition only at the next call. In this case the
    /// returned standing is the standing before the transition, and [`would_admit`](Self::would_admit) is true. Several
    /// quick changes can wake the task only once. A call that takes the last probe slot of a half-open circuit does not
    /// wake the task, because otherwise every probe would wake every task.
    ///
    /// # Panics
    ///
    /// The same as for [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, `observed` is unchanged. No change is lost, because the next wait compares the circuit
    /// with `observed` again.
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
            // If the circuit admits calls because of a hold, the end of the hold may change `would_admit` without a
            // transition.
            let check_again = deferred.unwrap_or_else(|| circuit.held_for());
            if now == before { Err(check_again) } else { Ok((now, standing)) }
        };
        let (now, standing) = poll_fn(|context| wait.poll_for(context, check)).await;
        *observed = now;
        standing
    }

    /// Returns a permit, or the time until the next deadline. The function first checks if the circuit would admit a
    /// call, because a failed request for a permit would count as a rejected call. A ramp or a throttle does not reject
    /// this caller, because a rejected caller would only wait and try again.
    fn admit_waiting(&self) -> Result<Permit, Deferred> {
        match deferred(self.peek()) {
            Some(deferred) => Err(deferred),
            // The circuit rejects the call if another thread took the last slot after the check. The wait of zero then
            // lets the caller check the circuit again immediately.
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

    /// Returns an open circuit. For the duration `lasts`, the probes of the circuit need a permission of the
    /// coordinator.
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
