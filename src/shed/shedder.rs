//! The shedder, which rejects heavy operations while the machine is busy. All services of one load-shedding layer share
//! one shedder. The shedder has the circuit, the load probe, the limits and the last reading of the load.

use std::fmt;
use std::time::Duration;

use super::LoadProbe;
use super::gauge::Gauge;
use crate::circuit::Circuit;
use crate::clock::Tick;
use crate::error::Rejected;
use crate::event::guarded;
use crate::state::Shed;

/// The limits of load shedding. Shedding begins when the load of the system is over `above`, and ends when the load is
/// under `below`. An operation is heavy if its estimated load is over `operations_over`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) above: f64,
    pub(super) below: f64,
    pub(super) operations_over: u64,
}

impl Limits {
    /// Returns true if heavy operations are shed at `load`. `before` is true if heavy operations were shed until now.
    pub(super) fn shed_at(&self, load: Option<f64>, before: bool) -> bool {
        match load {
            Some(load) if before => load >= self.below,
            Some(load) => load > self.above,
            None => false,
        }
    }
}

pub(super) struct Shedder {
    circuit: Circuit,
    probe: Box<dyn LoadProbe>,
    limits: Limits,
    gauge: Gauge,
}

impl Shedder {
    pub(super) fn new(circuit: Circuit, probe: Box<dyn LoadProbe>, limits: Limits) -> Self {
        Self { circuit, probe, limits, gauge: Gauge::new() }
    }

    /// Returns a rejection if the machine is busy and the operation of the call is heavy, and otherwise `None`. Polls
    /// the load first, if a poll is due.
    #[inline]
    pub(super) fn refuse<'a>(&self, estimate: impl FnOnce() -> (&'a str, u64)) -> Option<Rejected> {
        let now = self.now();
        if self.gauge.is_due(now) {
            self.look(now);
        }
        if self.gauge.seen().shedding() { self.weigh(now, estimate()) } else { None }
    }

    /// Returns a rejection if the operation must be shed. Returns `None` if the operation is light, or if the last
    /// reading of the load is too old. Also returns `None` if the circuit rejects the call anyway, without regard to
    /// the load, or must let the call through.
    fn weigh(&self, now: Tick, (operation, operation_load): (&str, u64)) -> Option<Rejected> {
        let Limits { above, below, operations_over } = self.limits;
        if operation_load <= operations_over || self.gauge.is_stale(now) {
            return None;
        }
        // After `refuse` has checked the reading, another call may have polled again, and the load probe may have
        // returned no load. In that case this call is not shed.
        let load = self.gauge.seen().load()?;
        self.circuit.shed(now, RETRY_AFTER, || {
            let end = (0..=NAME).rfind(|&at| operation.is_char_boundary(at)).unwrap_or(0);
            let operation = operation[..end].into();
            Shed { load, above, below, operation, operation_load, operations_over }
        })
    }

    /// Polls and reports the load, unless another call is polling the load already.
    #[cold]
    fn look(&self, now: Tick) {
        let Some(look) = self.gauge.elect(now) else { return };
        let load = guarded(|| self.probe.load()).flatten().filter(|load| load.is_finite() && *load >= 0.0);
        // Reads the clock again, because the load probe may have taken long.
        let (shedding, news) = look.end(self.now(), load, &self.limits);
        self.circuit.report_load(load, shedding, news);
    }

    #[inline]
    fn now(&self) -> Tick {
        self.circuit.config().clock.now()
    }
}

impl fmt::Debug for Shedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { circuit, probe: _, limits, gauge } = self;
        f.debug_struct("Shedder")
            .field("circuit", circuit)
            .field("limits", limits)
            .field("seen", &gauge.seen())
            .finish_non_exhaustive()
    }
}

/// The `retry_after` of a rejection. The load is polled every 250 ms, but 1 s is the smallest `Retry-After` of HTTP.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest name of an operation in a rejection, in bytes. A longer name is cut, because the name may come from the
/// request.
const NAME: usize = 200;
