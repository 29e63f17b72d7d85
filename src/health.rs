//! Health probes, which check a service while its circuit is not closed. Thus no call of a user has to find out that
//! the service is back.
//!
//! [`Circuit::probe_with`] creates a [`HealthProbe`] from a closure, and [`Circuit::health_probe`] creates a
//! [`HealthProbe`] from the address in the configuration. A registry with a store has a background task. The task runs
//! the probes of addresses, and the probes that the application passes to [`Registry::probe`](crate::Registry::probe).
//! Without such a registry, the application spawns the future that [`HealthProbe::run`] returns. The first success
//! while the circuit is open makes the circuit half-open at once, with
//! [`Reason::HealthProbe`](crate::Reason::HealthProbe).
//!
//! ```
//! use std::time::Duration;
//! use tower_circuit_breaker::{Circuit, Config};
//!
//! async fn ping() -> std::io::Result<()> {
//!     Ok(()) // your client
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let circuit = Circuit::new(Config::new("payments")?);
//! let probe = circuit.probe_with(Duration::from_millis(250), || async { ping().await });
//! tokio::spawn(probe.deadline(Duration::from_secs(1)).run()?);
//! # Ok(()) }
//! ```
//!
//! The runner is the task that makes the checks. While the circuit is closed or held by an operator, the runner sleeps
//! until the next transition or the end of the hold. In this time no check begins, and a check under way is dropped. If
//! the closed circuit has a slow-call rule, the runner also wakes at intervals of `slower_than` (at least 100 ms). Thus
//! calls that [hang](crate::Status::hanging) can open the circuit without a further call. The runner holds only a weak
//! handle to its circuit, and ends when the circuit is dropped.
//!
//! `circuit/health.rs` applies the result of a check to the circuit. The clients for addresses are in `http.rs` and
//! `grpc.rs`.

#[cfg(feature = "health")]
mod connect;
#[cfg(feature = "health")]
mod grpc;
#[cfg(feature = "health")]
mod http;
mod run;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::circuit::{Circuit, WeakCircuit};
use crate::config::{ConfigError, HEALTH_DEADLINE, check_times};
#[cfg(feature = "health")]
use crate::config::{HealthAddress, Protocol};
use crate::state::text;
pub use run::HealthRun;

/// The health probe of one circuit. Its checks begin with [`run`](Self::run) or
/// [`Registry::probe`](crate::Registry::probe).
///
/// Clones share one closure. A circuit has one runner, which is the task that makes its checks. A later runner replaces
/// an earlier runner.
#[derive(Clone)]
#[must_use = "a health probe checks nothing until its future is spawned, or a registry runs it"]
pub struct HealthProbe {
    circuit: WeakCircuit,
    name: Arc<str>,
    every: Duration,
    deadline: Duration,
    required: bool,
    check: Check,
    limit: Option<HealthLimit>,
}

/// A limit on the number of checks that several health probes make at the same time. Clones share the limit.
#[derive(Debug, Clone)]
pub struct HealthLimit(Arc<Semaphore>);

impl HealthLimit {
    /// Returns a limit that allows `at_once` checks at the same time. Range: at least 1. Zero is treated as 1.
    #[must_use]
    pub fn new(at_once: u16) -> Self {
        Self(Arc::new(Semaphore::new(usize::from(at_once.max(1)))))
    }
}

/// Health probes of a circuit.
impl Circuit {
    /// Returns a health probe that calls the closure `check` at intervals of `every`. Each interval is up to 20 %
    /// longer or shorter at random.
    ///
    /// The closure returns `Ok(())` if the service is healthy. A check is not a call of the circuit, so a failed check
    /// enters no window. The closure runs only while the circuit is open or half-open. The closure does not run while
    /// an operator holds the circuit or `CIRCUIT_BREAKER_DISABLED` disables the circuit. A panic of the closure or of
    /// its future counts as a failed check.
    ///
    /// Range of `every`: 10 ms to 1 h, which [`HealthProbe::run`] checks. The first check begins one interval after the
    /// circuit opened. Each further check begins one interval after the end of the previous check. In a fleet of n live
    /// instances (`Sharing::Quorum` or `Sharing::Follow`) each instance waits n times as long on average. Thus the
    /// whole fleet makes about one check in each interval.
    ///
    /// A success makes an open circuit half-open at once, except in three cases:
    ///
    /// * The service has sent a `Retry-After`, and its time is not over.
    /// * The last successful check made the circuit half-open, and failed calls opened the circuit again. In this case
    ///   the checks do not notice the failure of the service. The open state then lasts for its full duration. A
    ///   success ends the open state early again after three checks in a row have failed, or after the circuit has
    ///   closed.
    /// * The circuit has [`Recovery::Manual`](crate::config::Recovery::Manual), with which only an operator ends the
    ///   open state.
    pub fn probe_with<F, R, E>(&self, every: Duration, check: F) -> HealthProbe
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let check: Check = Arc::new(move || {
            let answer = check();
            Box::pin(async move { answer.await.map_err(|error| text::beginning(&error)) })
        });
        HealthProbe {
            circuit: self.downgrade(),
            name: self.name().into(),
            every,
            deadline: HEALTH_DEADLINE,
            required: false,
            check,
            limit: None,
        }
    }

    /// Returns a health probe for the address in the configuration, or `None` if the configuration has no address.
    ///
    /// For a circuit of a registry with a store, the task of the registry runs this probe by itself. For any other
    /// circuit, spawn the future of [`HealthProbe::run`].
    #[cfg(feature = "health")]
    #[must_use]
    pub fn health_probe(&self) -> Option<HealthProbe> {
        let settings = self.config().health().cloned()?;
        let address = HealthAddress::parse(&settings.address).ok()?;
        let deadline = settings.deadline;
        let probe = self.probe_with(settings.every, move || {
            let address = address.clone();
            async move {
                match &address.protocol {
                    Protocol::Http { path } => http::check(&address, path).await.map_err(|error| error.to_string()),
                    Protocol::Grpc { service } => grpc::check(&address, service, deadline).await,
                }
            }
        });
        let probe = probe.deadline(deadline);
        Some(if settings.required { probe.required() } else { probe })
    }
}

impl HealthProbe {
    /// Sets the time after which a check is dropped and counts as a failure. Range: 1 ms to 60 s. Default: 1 s.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Lets the circuit admit a call as a probe of the half-open state only after a check has succeeded since the
    /// circuit opened.
    ///
    /// Until a check has succeeded, the open or half-open circuit rejects calls. Such a rejection has no `retry_after`,
    /// and its [`Rejected::waits_for_health_probe`](crate::Rejected::waits_for_health_probe) is true. After a reset by
    /// an operator, the circuit admits calls as probes at once.
    ///
    /// If the health endpoint is missing or broken, calls would be rejected for ever. Therefore the circuit admits
    /// calls as probes in two further cases:
    ///
    /// * No check has ended for ten intervals plus one deadline. The runner is perhaps gone.
    /// * No check has succeeded, and the open duration ended at least 100 intervals plus ten deadlines ago.
    ///
    /// With an interval of 250 ms and a deadline of 1 s, these times are 3.5 s and 35 s. In a fleet of n live
    /// instances, the interval in this calculation is n times as long. The first call that is admitted as a probe
    /// without a successful check is logged. The requirement ends when the runner (the task that makes the checks)
    /// ends.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Sets the limit on checks that run at the same time. Health probes with clones of one limit share the limit. A
    /// check above the limit waits, and its deadline does not include the wait. Default: the limit of the registry that
    /// runs the probe, or no limit.
    pub fn limit(mut self, limit: &HealthLimit) -> Self {
        self.limit = Some(limit.clone());
        self
    }

    /// Returns the future that makes the checks. Pass the future to [`tokio::spawn`].
    ///
    /// The future ends when the circuit is dropped, or when another runner of the circuit begins. A runner begins with
    /// the first poll of its future.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `every` or `deadline` is out of range.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled, the future panics as soon as its circuit is not closed. If the
    /// circuit has a slow-call rule, the future panics at the first poll. In a test with paused time, give the circuit
    /// a [`TokioClock`](crate::clock::TokioClock).
    pub fn run(self) -> Result<HealthRun, ConfigError> {
        self.check_times()?;
        Ok(HealthRun::new(self))
    }

    /// Returns an error if a time is out of range.
    pub(crate) fn check_times(&self) -> Result<(), ConfigError> {
        check_times(("health_probe.every", self.every), ("health_probe.deadline", self.deadline))
    }

    /// Returns true if the circuit of the health probe still exists.
    #[cfg(feature = "store")]
    pub(crate) fn has_circuit(&self) -> bool {
        self.circuit.upgrade().is_some()
    }

    /// Sets the limit of the registry, unless the application has set a limit for this health probe.
    #[cfg(feature = "store")]
    pub(crate) fn or_limit(mut self, limit: &HealthLimit) -> Self {
        self.limit.get_or_insert_with(|| limit.clone());
        self
    }
}

impl fmt::Debug for HealthProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, every, deadline, required, .. } = self;
        f.debug_struct("HealthProbe")
            .field("circuit", name)
            .field("every", every)
            .field("deadline", deadline)
            .field("required", required)
            .finish_non_exhaustive()
    }
}

type Check = Arc<dyn Fn() -> Answer + Send + Sync>;
/// The future of one check. The error is a text that describes the problem.
type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
