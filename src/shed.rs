//! Load shedding, which refuses heavy operations while the machine is busy, so that light operations still succeed.
//!
//! A [`LoadSheddingLayer`] is a separate layer outside the breaker, and reports its events on the circuit of the
//! breaker. The layer refuses a call if two loads exceed their limits: the load of the system (by default 85 %) and the
//! estimated load of the operation (by default 100). The caller of a refused call gets a [`Rejected`](crate::Rejected)
//! with [`RejectReason::LoadShed`], and the call is counted as shed. The service is not at fault. Therefore such a call
//! does not count as a failure, is not a probe and does not enter the window.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_circuit_breaker::shed::{CpuProbe, LoadSheddingLayer};
//! use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config};
//!
//! # struct Query { rows: u64 }
//! # let database = tower::service_fn(|_: Query| async { Ok::<_, std::io::Error>(1) });
//! let circuit = Circuit::new(Config::new("database")?);
//! let shedding = LoadSheddingLayer::new(&circuit, CpuProbe::new())
//!     .above(0.85)
//!     .for_operations_over(100)
//!     .operation(|query: &Query| ("query", query.rows))
//!     .build()?;
//! let service = ServiceBuilder::new().layer(shedding).layer(CircuitBreakerLayer::new(&circuit)).service(database);
//! # fn usable<S: tower::Service<Query>>(_: S) {} usable(service);
//! # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
//! ```
//!
//! # Calls that are not shed
//!
//! A call is not shed if one of these conditions holds:
//!
//! * The circuit itself would reject the call, because the circuit is open, forced open, or half-open with all probes
//!   under way. The state of the circuit is then the reason of the rejection.
//! * The circuit is disabled, or `CIRCUIT_BREAKER_DISABLED` names the circuit. In both cases the layer lets every call
//!   through.
//! * The call is made inside another call, which is a probe of the same half-open circuit.
//! * The circuit is in shadow. The call goes through and is counted in [`Totals::would_reject`].
//! * The load is unknown, because the [`LoadProbe`] returns no load, panics, or has not returned for two seconds.
//!
//! # Polling the load
//!
//! The layer needs no task and no runtime. At most every 250 ms by the circuit's clock, one call polls the load. All
//! other calls use the last reading. A `LoadProbe` that blocks delays only the call that polls it. Shedding begins
//! above the limit and ends, by default, 5 percentage points below the limit. Therefore small changes of the load do
//! not switch shedding on and off.
//!
//! [`RejectReason::LoadShed`]: crate::state::RejectReason::LoadShed
//! [`Totals::would_reject`]: crate::circuit::Totals::would_reject

mod builder;
mod cpu;
mod future;
mod gauge;
mod layer;
#[cfg(all(test, breaker_loom))]
mod loom_tests;
mod shedder;

use std::sync::Arc;

pub use builder::LoadSheddingBuilder;
pub use cpu::CpuProbe;
pub use future::SheddingFuture;
pub use layer::{LoadShedding, LoadSheddingLayer};

/// Measures the load of the system. [`CpuProbe`] measures the load of the CPU, and a closure can measure any
/// other load.
///
/// # Examples
///
/// A probe of a scarce resource other than the CPU:
///
/// ```
/// use std::sync::Arc;
/// use tokio::sync::Semaphore;
/// use tower_circuit_breaker::shed::LoadSheddingLayer;
/// # use tower_circuit_breaker::{Circuit, Config};
///
/// # let circuit = Circuit::new(Config::new("database")?);
/// let connections = Arc::new(Semaphore::new(20));
/// let free = Arc::clone(&connections);
/// let shedding = LoadSheddingLayer::new(&circuit, move || 1.0 - free.available_permits() as f64 / 20.0);
/// # drop(shedding);
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
pub trait LoadProbe: Send + Sync + 'static {
    /// Returns the load of the system. 1.0 is the capacity of the system, and a larger value means that work
    /// piles up.
    ///
    /// `None`, a negative number, infinity and NaN mean that the load is unknown, and nothing is shed. One call at a
    /// time calls this method and waits for it, so the method should take microseconds. A panic is caught and counts as
    /// `None`.
    fn load(&self) -> Option<f64>;
}

/// Measures the load with a closure that returns an `f64` or an `Option<f64>`.
impl<F, L> LoadProbe for F
where
    F: Fn() -> L + Send + Sync + 'static,
    L: Into<Option<f64>>,
{
    fn load(&self) -> Option<f64> {
        self().into()
    }
}

/// Measures the load with a probe that several layers share.
impl<P: LoadProbe + ?Sized> LoadProbe for Arc<P> {
    fn load(&self) -> Option<f64> {
        (**self).load()
    }
}

/// Estimates the load of the operation that a request asks for. A closure that is given to
/// [`operation`](LoadSheddingBuilder::operation) is an `Estimate` too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot estimate a `{Req}`",
    note = "give `.operation(|request: &{Req}| (\"its name\", 150))`: a name that the request or the program owns, and a `u64`"
)]
pub trait Estimate<Req> {
    /// Returns the name of the operation, and its load in a unit of your own.
    ///
    /// The layer calls this method only while heavy operations are shed.
    fn estimate<'a>(&self, request: &'a Req) -> (&'a str, u64);
}

impl<F, Req> Estimate<Req> for F
where
    F: Fn(&Req) -> (&str, u64),
{
    fn estimate<'a>(&self, request: &'a Req) -> (&'a str, u64) {
        self(request)
    }
}

/// The default estimate, which a layer without [`operation`](LoadSheddingBuilder::operation) uses. No operation is
/// heavy, so nothing is shed. The load is still reported.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct NoEstimate;

impl<Req> Estimate<Req> for NoEstimate {
    fn estimate<'a>(&self, _: &'a Req) -> (&'a str, u64) {
        ("", 0)
    }
}
