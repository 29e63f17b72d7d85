//! The rarely used data of a circuit behind one mutex, such as the history of transitions, the number of openings in a
//! row and the ids of orders. Transitions, orders of operators, status reads and the texts of rejections use the data.
//! A successful call of a closed circuit does not wait for the mutex.
//!
//! With the mutex, only one of several threads makes a transition. Transitions are rare enough for a lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::health::Checks;
use crate::clock::Tick;
use crate::group::OpenSlot;
use crate::state::order_hash::{Earlier, OrderHash};
use crate::state::{EarlierReason, FleetBrief, Generation, Reason, State, Transition};

/// The data that the successful calls of a closed circuit do not need.
#[derive(Debug)]
pub(super) struct Cold {
    /// The last transitions, oldest first, at most 128. The memory for the queue grows on demand, because most circuits
    /// never trip.
    pub(super) history: VecDeque<Transition>,
    /// The generation of the stored record that this instance has read or written last.
    pub(super) generation: Generation,
    /// The number of openings in a row. A trip first reduces the number by the time spent closed, and then adds one. If
    /// the open duration doubles with each opening, the number stops growing at the longest open duration. A larger
    /// number would not change the open duration, but would take longer to decrease.
    pub(super) attempt: u32,
    /// The number of successive half-open eras that ended with an overdue probe and without a success. Each of these
    /// eras doubles the time that the next half-open era waits for a first success. Therefore the circuit can close
    /// even if each call takes long.
    pub(super) overdue: u8,
    /// The last open duration. After each period of this length in the closed state, `attempt` decreases by one.
    pub(super) last_open: Duration,
    /// The time spent closed since the circuit was last open, without the present era. The times of several eras are
    /// added, so that a change of the mode (which begins an era) does not restart the decrease of `attempt`.
    pub(super) closed_for: Duration,
    /// The total number of rejections at the last transition from a standing that is not tripped. In an outage, this
    /// transition was the trip. Each transition reports how many rejections have come since.
    pub(super) rejected_before: u64,
    /// True if a call was made inside a probe of this circuit. Only the first such call is logged.
    pub(super) has_nested: bool,
    /// True if the circuit has inherited the evidence of an evicted circuit of the same name.
    #[cfg(feature = "keyed")]
    pub(super) has_inherited: bool,
    /// Data that most circuits never need, because they never trip and get no orders. The data are allocated at the
    /// first need, for example at the first transition or for a stored record.
    past: Option<Box<Past>>,
}

impl Cold {
    pub(super) fn new() -> Self {
        Self {
            history: VecDeque::new(),
            generation: Generation::default(),
            attempt: 0,
            overdue: 0,
            last_open: Duration::ZERO,
            closed_for: Duration::ZERO,
            rejected_before: 0,
            has_nested: false,
            #[cfg(feature = "keyed")]
            has_inherited: false,
            past: None,
        }
    }

    pub(super) fn past(&self) -> Option<&Past> {
        self.past.as_deref()
    }

    /// Returns the data of a circuit in a group: the open slot and the suppressed opening. `None` if the circuit has
    /// never had a slot or a suppressed opening.
    pub(super) fn grouped(&self) -> Option<&Grouped> {
        self.past()?.grouped.as_deref()
    }

    pub(super) fn grouped_mut(&mut self) -> &mut Grouped {
        self.past_mut().grouped.get_or_insert_default()
    }

    /// Takes the open slot out of the data. Returns the slot, or `None` if the circuit holds no slot. When the caller
    /// drops the slot, the group gets the slot back.
    pub(super) fn slot_back(&mut self) -> Option<OpenSlot> {
        self.past.as_deref_mut()?.grouped.as_deref_mut()?.slot.take()
    }

    pub(super) fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }

    /// Returns the time since the circuit left the closed state, or since an operator last tripped the circuit. `None`
    /// if the circuit is closed and not forced open.
    pub(super) fn tripped_for(&self, now: Tick) -> Option<Duration> {
        self.past()?.tripped.map(|since| since.passed(now))
    }

    /// Returns the decision of the fleet about the circuit. `None` for a circuit without a fleet.
    #[cfg(feature = "store")]
    pub(super) fn fleet(&self) -> Option<FleetBrief> {
        self.past()?.fleet.as_deref().copied()
    }

    #[cfg(not(feature = "store"))]
    pub(super) const fn fleet(&self) -> Option<FleetBrief> {
        None
    }

    pub(super) fn checks(&self) -> Option<&Checks> {
        self.past()?.checks()
    }

    pub(super) fn checks_if_any_mut(&mut self) -> Option<&mut Checks> {
        self.past.as_deref_mut()?.checks.as_deref_mut()
    }

    pub(super) fn latest(&self) -> Generation {
        self.past().map_or_else(Generation::default, |past| past.latest)
    }
}

/// The past of a circuit. The data are needed to accept or refuse orders, for the reasons in a snapshot, and for the
/// reports to observers.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The time when the circuit left the closed state, or when an operator tripped the circuit. `None` if the circuit
    /// is closed and not forced open. The cooldown of a reset starts at this time.
    pub(super) tripped: Option<Since>,
    /// The time of the trip in the stored record. `None` if the record is not tripped. If another instance has tripped
    /// while this circuit is closed, `tripped` is `None`, and the cooldown of a reset starts at the time in this field.
    pub(super) tripped_elsewhere: Option<Since>,
    /// A number that increases with every transition of this circuit, and with every change of the stored record. By
    /// this number, an order can name the last change that the operator has seen.
    pub(super) latest: Generation,
    /// The time for which the present state lasted before the present era. For a state from a snapshot, this is the
    /// time on another instance or before a restart. For an open state, this includes earlier open eras, for example in
    /// another mode. The durations in reasons include this time, so that they begin at the start of the state.
    pub(super) state_before: Duration,
    /// The time for which the present hold lasted before the present era. For example, the hold may have begun on
    /// another instance.
    pub(super) hold_before: Duration,
    /// The reason for which the circuit opened, for a snapshot. `None` if the circuit is closed.
    pub(super) opening: Option<Opening>,
    /// The era of the last transition that was reported to the observers.
    pub(super) reported: u64,
    /// True while a thread reports transitions to the observers. The thread also reports new transitions that come in
    /// this time.
    pub(super) is_reporting: bool,
    /// The ids and the hashes of the last orders of operators on all instances, newest last.
    orders: VecDeque<(Arc<str>, Option<OrderHash>)>,
    /// The end of the `Retry-After` of the service. A successful health probe does not end the open state before this
    /// time.
    pub(super) leave_alone_until: Tick,
    /// The data of a circuit in a group. The box is allocated only in a group, so that other circuits stay small.
    grouped: Option<Box<Grouped>>,
    /// The state of the health probes. The box is allocated when the first runner (the task that sends health probes)
    /// starts, because most circuits have no runner.
    checks: Option<Box<Checks>>,
    /// The decision of the fleet about the circuit. The box is allocated only with a fleet, so that other circuits stay
    /// small.
    #[cfg(feature = "store")]
    pub(super) fleet: Option<Box<FleetBrief>>,
}

impl Past {
    /// Records the reason for which the circuit opened, and keeps the reason until the circuit closes. If the state
    /// comes from a snapshot, `ago` is the time since the beginning of the state that the snapshot's `earlier` reason
    /// explains.
    pub(super) fn note_opening(&mut self, edge: &Transition, ago: Option<Duration>) {
        let is_restored = edge.reason == Reason::Restored;
        match (edge.to.state, &edge.earlier) {
            (State::Closed, _) => self.opening = None,
            // A half-open circuit keeps the reason for which it opened, unless the circuit is restored with an
            // `earlier` reason.
            (State::HalfOpen, None) => {}
            (State::HalfOpen, Some(_)) if !is_restored => {}
            (State::Open | State::HalfOpen, Some(earlier)) => {
                let at = ago.map(|ago| Since::new(edge.at, ago));
                self.opening = Some(Opening { reason: Arc::clone(earlier), at });
            }
            (State::Open, None) if edge.from.state == State::Open => {}
            (State::Open, None) => {
                let reason = EarlierReason::new(&edge.because().to_string()).since(edge.wall);
                let at = Some(Since::new(edge.at, Duration::ZERO));
                self.opening = Some(Opening { reason: Arc::new(reason), at });
            }
        }
    }

    pub(super) fn checks(&self) -> Option<&Checks> {
        self.checks.as_deref()
    }

    pub(super) fn checks_mut(&mut self) -> &mut Checks {
        self.checks.get_or_insert_default()
    }

    /// Returns the hash of an earlier order with this id, or `Earlier::None` if the circuit remembers no such order. An
    /// order that is sent again must do nothing.
    pub(super) fn earlier(&self, id: &str) -> Earlier {
        self.orders.iter().find(|(done, _)| **done == *id).map_or(Earlier::None, |(_, hash)| Earlier::Done(*hash))
    }

    pub(super) fn remember(&mut self, id: &str, hash: Option<OrderHash>) {
        if self.earlier(id) != Earlier::None {
            return;
        }
        if self.orders.len() == ORDERS {
            self.orders.pop_front();
        }
        self.orders.push_back((id.into(), hash));
    }
}

/// The data of a circuit in a group.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    /// The open slot (the permission of the group to leave the closed state), while the circuit is not closed. `None`
    /// if the circuit holds no slot. If the circuit is dropped, the group gets the slot back.
    pub(super) slot: Option<OpenSlot>,
    /// The reason for which the circuit would have opened if the group had had a free slot. The status shows the
    /// reason. The first suppressed opening of each later era replaces the reason. A further suppressed opening of the
    /// same era replaces the reason only if the observers get a report of that opening.
    pub(super) suppressed: Option<Reason>,
}

/// The reason for which a circuit opened, and the time at which it opened, if the time is known.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) reason: Arc<EarlierReason>,
    pub(super) at: Option<Since>,
}

/// A time in the past, which may be before the origin of the clock. A `Tick` alone cannot have such a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since {
    at: Tick,
    before: Duration,
}

impl Since {
    pub(super) const fn new(now: Tick, ago: Duration) -> Self {
        Self { at: now, before: ago }
    }

    pub(super) const fn passed(self, now: Tick) -> Duration {
        now.saturating_since(self.at).saturating_add(self.before)
    }
}

/// The largest number of order ids that a circuit remembers. By its id, the circuit recognises an order that is sent
/// again.
const ORDERS: usize = 16;
