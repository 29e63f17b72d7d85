//! The group of the circuit: which of its members have open slots.

use std::time::Duration;

use tower_circuit_breaker::state::State;

use super::Model;
use crate::rig::millis;
use crate::schedules::settings::Share;

/// The group, with the circuit of the model and its neighbours.
#[derive(Debug)]
pub(super) struct Group {
    share: Share,
    /// Whether the circuit has a slot.
    has_slot: bool,
    /// Whether each neighbour is open. An open neighbour has a slot.
    neighbours: Vec<bool>,
    /// The era and the time of the last suppressed opening.
    last: Option<(u64, u64)>,
    /// The time from which on a suppressed opening is reported.
    next_report: u64,
}

impl Group {
    pub(super) fn new(share: Share) -> Self {
        Self { share, has_slot: false, neighbours: Vec::new(), last: None, next_report: 0 }
    }

    fn members(&self) -> u32 {
        u32::try_from(self.neighbours.len()).expect("few") + 1
    }

    fn taken(&self) -> u32 {
        let open = self.neighbours.iter().filter(|open| **open).count();
        u32::try_from(open).expect("few") + u32::from(self.has_slot)
    }

    fn slots(&self) -> u32 {
        (self.members() * self.share.part / self.share.of).max(1)
    }

    fn has_room(&self) -> bool {
        self.taken() < self.slots()
    }
}

impl Model {
    /// Whether the closed circuit may open. Counts the opening if it may not. An opening without an outcome counts once in an
    /// era, and then once in ten seconds.
    pub(super) fn may_open(&mut self, has_outcome: bool) -> bool {
        let (era, now) = (self.era().number, self.now);
        let Some(group) = &mut self.group else { return true };
        if group.has_room() {
            return true;
        }
        let counts = has_outcome || group.last.is_none_or(|(of, _)| of != era) || now >= group.next_report;
        group.last = Some((era, now));
        if counts {
            self.totals.suppressed += 1;
            group.next_report = if now >= group.next_report { now + 10_000 } else { group.next_report };
        }
        false
    }

    /// Takes a slot for a circuit that opens, if one is free.
    pub(super) fn take_slot(&mut self) {
        if let Some(group) = &mut self.group {
            group.has_slot |= group.has_room();
        }
    }

    /// Gives the slot of a circuit back that has closed.
    pub(super) fn give_slot_back(&mut self) {
        if let Some(group) = &mut self.group {
            group.has_slot = false;
        }
    }

    pub(in super::super) fn join(&mut self) {
        self.neighbours().push(false);
    }

    pub(in super::super) fn leave(&mut self, neighbour: usize) {
        self.neighbours().remove(neighbour);
    }

    /// A call of a neighbour fails.
    pub(in super::super) fn open_neighbour(&mut self, neighbour: usize) {
        let has_room = self.group.as_ref().is_some_and(Group::has_room);
        self.neighbours()[neighbour] |= has_room;
    }

    pub(in super::super) fn close_neighbour(&mut self, neighbour: usize) {
        self.neighbours()[neighbour] = false;
    }

    fn neighbours(&mut self) -> &mut Vec<bool> {
        &mut self.group.as_mut().expect("only a group has neighbours").neighbours
    }

    /// Returns the taken slots, the slots, the members, and whether each neighbour is open.
    pub(in super::super) fn counts(&self) -> Option<(u32, u32, u32, Vec<bool>)> {
        let group = self.group.as_ref()?;
        Some((group.taken(), group.slots(), group.members(), group.neighbours.clone()))
    }

    /// Returns the time since the last suppressed opening, with the taken slots and the members, while a status shows them.
    pub(super) fn suppressed(&self) -> Option<(Duration, u32, u32)> {
        let group = self.group.as_ref()?;
        let (era, at) = group.last?;
        let shows = era == self.era().number && self.era().state == State::Closed && self.now - at <= 60_000;
        shows.then(|| (millis(self.now - at), group.taken(), group.members()))
    }
}
