//! The desks of a registry, by id. A desk is all that the background task knows about one circuit.
//!
//! Keyed circuits come and go without end, and the list of desks must not grow with them. Therefore a closed desk
//! leaves its place to a later desk, and an id alone does not identify a desk. The answer to a load names the id and
//! the turn of its desk. The turn is a number that only increases, and the next desk of a place begins with a higher
//! turn. Therefore the task can ignore an answer that was meant for the previous desk.

use std::ops::{Index, IndexMut};

use super::desk::Desk;

/// The number of the place of a desk. A later desk can get the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeskId(usize);

/// The desks of a registry, and the places that are free.
#[derive(Debug, Default)]
pub(super) struct Desks {
    /// The desks by id. `add` fills a place, and `remove` empties it.
    places: Vec<Option<Desk>>,
    /// The free places, each with the first turn of its next desk. This turn is higher than each turn of the previous
    /// desk, so that an answer for the previous desk is ignored.
    free: Vec<(DeskId, u64)>,
}

impl Desks {
    /// Adds the desk that `make` creates from its id and its first turn.
    pub(super) fn add(&mut self, make: impl FnOnce(DeskId, u64) -> Desk) -> DeskId {
        let (id, turn) = self.free.pop().unwrap_or((DeskId(self.places.len()), 0));
        let desk = Some(make(id, turn));
        match self.places.get_mut(id.0) {
            Some(place) => *place = desk,
            None => self.places.push(desk),
        }
        id
    }

    /// Returns `count` ids that have no desks, for tests.
    #[cfg(all(test, not(breaker_loom)))]
    pub(super) fn ids_of(count: usize) -> Vec<DeskId> {
        (0..count).map(DeskId).collect()
    }

    /// Removes a desk and frees its place.
    pub(super) fn remove(&mut self, id: DeskId) -> Option<Desk> {
        let desk = self.places.get_mut(id.0)?.take()?;
        self.free.push((id, desk.turn() + 1));
        Some(desk)
    }

    pub(super) fn get(&self, id: DeskId) -> Option<&Desk> {
        self.places.get(id.0)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: DeskId) -> Option<&mut Desk> {
        self.places.get_mut(id.0)?.as_mut()
    }

    /// Returns the ids of all places, even of free places. The iterator borrows nothing, so that the caller can change,
    /// add and remove desks during the iteration.
    pub(super) fn places(&self) -> impl Iterator<Item = DeskId> + use<> {
        (0..self.places.len()).map(DeskId)
    }

    /// Returns the ids of the desks.
    pub(super) fn ids(&self) -> impl Iterator<Item = DeskId> {
        self.places.iter().enumerate().filter(|(_, desk)| desk.is_some()).map(|(at, _)| DeskId(at))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Desk> {
        self.places.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Desk> {
        self.places.iter_mut().flatten()
    }
}

impl Index<DeskId> for Desks {
    type Output = Desk;

    fn index(&self, id: DeskId) -> &Desk {
        self.get(id).expect("a desk is closed together with all that waits for it")
    }
}

impl IndexMut<DeskId> for Desks {
    fn index_mut(&mut self, id: DeskId) -> &mut Desk {
        self.get_mut(id).expect("a desk is closed together with all that waits for it")
    }
}
