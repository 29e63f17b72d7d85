//! The cold data of a circuit behind one mutex, such as the history of transitions, the number of openings in a row and
//! the ids of orders. Transitions, acts of operators, status reads and the texts of rejections use the data. No healthy
//! call waits for the mutex.
//!
//! A lock is the simplest way to give each change one winner, and transitions are rare enough for a lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::health::Checks;
use crate::clock::Tick;
use crate::group::OpenSlot;
use crate::state::order_hash::{Earlier, OrderHash};
use crate::state::{EarlierReason, FleetBrief, Generation, Reason, State, Transition};

/// The data that no healthy call needs.
#[derive(Debug)]
pub(super) struct Cold {
    /// The last transitions, oldest first, at most 128. The queue does not reserve its full length, because most
    /// circuits never trip.
    pub(super) history: VecDeque<Transition>,
    /// The generation of the stored record that this instance has read or written last.
    pub(super) generation: Generation,
    /// The number of openings in a row. A trip first subtracts the decay for the time that the circuit was closed. If
    /// the open duration doubles with each opening, the number stops growing at the largest open duration, because a
    /// larger number would only make the decay longer.
    pub(super) attempt: u32,
    /// The number of half-open eras in a row that ended without a success because a probe was overdue. Each such era
    /// doubles the time that the next era waits for a first success, so that the circuit can close even if the calls of
    /// a service take long.
    pub(super) overdue: u8,
    /// The duration of the last opening. `attempt` decreases by one for each time that this duration fits into the time
    /// spent closed.
    pub(super) last_open: Duration,
    /// The time that the circuit has been closed since the last opening, without the present era. The time is summed
    /// over eras, so that a change of the mode, which begins an era, does not restart the decay of `attempt`.
    pub(super) closed_for: Duration,
    /// The total number of rejections at the last transition from a standing (state and mode) that is not tripped. Each
    /// transition reports the rejections since then.
    pub(super) rejected_before: u64,
    /// True once a call was made inside a probe of this circuit. Only the first such call is logged.
    pub(super) has_nested: bool,
    /// True if the circuit has inherited the evidence of an evicted circuit of the same name.
    #[cfg(feature = "keyed")]
    pub(super) has_inherited: bool,
    /// The data that most circuits never need, because most circuits never trip and get no orders. Allocated at the
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

    /// Returns the open slot and the suppressed opening of a circuit in a group. `None` if the circuit has had neither.
    pub(super) fn grouped(&self) -> Option<&Grouped> {
        self.past()?.grouped.as_deref()
    }

    pub(super) fn grouped_mut(&mut self) -> &mut Grouped {
        self.past_mut().grouped.get_or_insert_default()
    }

    /// Removes the open slot of the group from these data. Returns the slot, or `None` if the circuit holds no slot.
    /// The caller gives the slot back to the group by dropping the slot.
    pub(super) fn slot_back(&mut self) -> Option<OpenSlot> {
        self.past.as_deref_mut()?.grouped.as_deref_mut()?.slot.take()
    }

    pub(super) fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }

    /// Returns the time since the circuit has left the closed state or an operator last tripped the circuit. `None` if
    /// neither happened, or if the circuit has closed since.
    pub(super) fn tripped_for(&self, now: Tick) -> Option<Duration> {
        self.past()?.tripped.map(|since| since.passed(now))
    }

    /// Returns the decision of the fleet. `None` for a circuit without a fleet.
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

/// The past of a circuit, on which the answers to orders, the reasons in a snapshot and the reports to observers
/// depend.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The time when the circuit left the closed state or an operator tripped the circuit. `None` once the circuit has
    /// closed again. The cooldown of a reset starts at this time.
    pub(super) tripped: Option<Since>,
    /// The time when the circuit was tripped according to the stored record, by an instance or by an operator. `None`
    /// if the record is not tripped. While `tripped` is `None`, the cooldown of a reset starts at this time, because
    /// another instance may have tripped.
    pub(super) tripped_elsewhere: Option<Since>,
    /// A number that increases with every change that an operator could have observed. Such changes are the transitions
    /// of this circuit and the changes loaded from the store.
    pub(super) latest: Generation,
    /// The time that the present state lasted before the present era. For a state taken over from a snapshot this is
    /// the time on another instance or before a restart. For an opening it also includes the earlier eras of the same
    /// opening, for example in another mode. Reasons add this time, so that their durations count from the start of the
    /// state.
    pub(super) state_before: Duration,
    /// The time that the present hold lasted before the present era, for example on the instance where the operator
    /// acted.
    pub(super) hold_before: Duration,
    /// The reason of the last opening, for a snapshot. `None` once the circuit has closed again.
    pub(super) opening: Option<Opening>,
    /// The era of the last transition that was reported to the observers.
    pub(super) reported: u64,
    /// True while a thread notifies the observers of transitions. That thread also reports the transitions that come
    /// during the notification.
    pub(super) is_reporting: bool,
    /// The ids and the hashes of the last orders of operators, given on this and on other instances, the newest last.
    orders: VecDeque<(Arc<str>, Option<OrderHash>)>,
    /// The time until which the service wants no calls, by its `Retry-After`. A health probe does not end an opening
    /// before this time.
    pub(super) leave_alone_until: Tick,
    /// The open slot and the suppressed opening. Allocated by itself, so that a circuit without a group stays small.
    grouped: Option<Box<Grouped>>,
    /// The health probes of the circuit. Allocated for the first runner (the task that checks the service), because
    /// most circuits have no runner.
    checks: Option<Box<Checks>>,
    /// The decision of the fleet. Allocated by itself, so that a circuit without a fleet stays small.
    #[cfg(feature = "store")]
    pub(super) fleet: Option<Box<FleetBrief>>,
}

impl Past {
    /// Keeps the reason of an opening until the circuit closes. For a state that was taken over from a snapshot, `ago`
    /// is the time since the state with the snapshot's `earlier` reason began.
    pub(super) fn note_opening(&mut self, edge: &Transition, ago: Option<Duration>) {
        let is_restored = edge.reason == Reason::Restored;
        match (edge.to.state, &edge.earlier) {
            (State::Closed, _) => self.opening = None,
            // A half-open circuit keeps the reason of its last opening, unless a restore brings the reason of an
            // opening.
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

    /// Returns the earlier order with this id, if the circuit still remembers that order. An order that is sent again
    /// does nothing.
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

/// The open slot of a circuit in a group, and the reason of its suppressed opening.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    /// The open slot that the circuit holds while it is not closed. `None` if the circuit has taken no slot. The drop
    /// of the circuit gives the slot back to the group.
    pub(super) slot: Option<OpenSlot>,
    /// The reason of a suppressed opening, for the status. A later suppressed opening replaces this reason only if the
    /// later opening is the first of its era, or is reported to the observers.
    pub(super) suppressed: Option<Reason>,
}

/// The reason of an opening, and the time of the opening if the time is known.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) reason: Arc<EarlierReason>,
    pub(super) at: Option<Since>,
}

/// A time in the past, which may lie before the origin of the clock. A `Tick` cannot express such a time.
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

/// The number of order ids that a circuit remembers, so that it recognises an order that is sent again.
const ORDERS: usize = 16;
