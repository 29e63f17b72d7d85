//! Load shedding: heavy operations are refused while the machine is busy, so that the light ones still go through.
//!
//! A [`LoadSheddingLayer`] is a layer of its own, outside the breaker, and reports on the same circuit. It refuses a call if two
//! things are so: the load of the system is above its limit, 85 % by default, and the operation is estimated at more than its
//! own, 100 by default. Such a call is a [`Rejected`](crate::Rejected) with [`RejectReason::LoadShed`], counted as shed: it is no
//! failure, no probe, and in no window.
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
//! # When it steps aside
//!
//! * The circuit rejects the call anyway, as it is open, forced open, or half-open with its probes taken: then that is the reason.
//! * The circuit is disabled, or `CIRCUIT_BREAKER_DISABLED` names it: what lets every call through lets every call through here.
//! * The circuit is in shadow: the call goes through, and is counted in [`Totals::would_reject`].
//! * Nobody knows the load: a probe that gives none, panics, or has been looking for longer than two seconds sheds nothing.
//!
//! # How the load is looked at
//!
//! No task and no runtime: at most every 250 ms by the circuit's clock, one call looks, and the others go by what was seen last.
//! A probe that blocks keeps that one call waiting. Shedding begins above the limit and ends below another, 5 points lower,
//! so that it does not flutter.
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

/// Says how busy the system is. [`CpuProbe`] looks at the CPU; a closure is a probe too.
///
/// # Examples
///
/// What is scarce may be something else than the CPU:
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
    /// Returns the load, where 1.0 is all that the system can do, and more than that where work piles up.
    ///
    /// `None`, a negative number and what is no number mean that nobody knows: then nothing is shed. Called by one call at a
    /// time, which waits for it: it should take microseconds. A panic is caught, and counts as `None`.
    fn load(&self) -> Option<f64>;
}

/// A closure that gives an `f64` or an `Option<f64>`.
impl<F, L> LoadProbe for F
where
    F: Fn() -> L + Send + Sync + 'static,
    L: Into<Option<f64>>,
{
    fn load(&self) -> Option<f64> {
        self().into()
    }
}

/// One probe for several layers.
impl<P: LoadProbe + ?Sized> LoadProbe for Arc<P> {
    fn load(&self) -> Option<f64> {
        (**self).load()
    }
}

/// Says what operation a request asks for, and how heavy that is. Closures are made ones by
/// [`operation`](LoadSheddingBuilder::operation).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot estimate a `{Req}`",
    note = "give `.operation(|request: &{Req}| (\"its name\", 150))`: a name that the request or the program owns, and a `u64`"
)]
pub trait Estimate<Req> {
    /// Returns the name of the operation, and its load in a unit of your own.
    ///
    /// Asked only while heavy operations are shed.
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

/// No operation is heavy, so nothing is shed; the load is shown all the same. The default.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct NoEstimate;

impl<Req> Estimate<Req> for NoEstimate {
    fn estimate<'a>(&self, _: &'a Req) -> (&'a str, u64) {
        ("", 0)
    }
}
