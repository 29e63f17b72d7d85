//! The desks of a registry, by id. A desk is all that the background task knows about one circuit.
//!
//! Keyed circuits come and go without end, and the list of desks must not grow with them. Therefore a new desk takes
//! the place and the id of a closed desk. Each desk also has a turn, a number that only increases, and a new desk
//! begins with a higher turn than the closed desk. The answer to a load names the id and the turn. Therefore the task
//! can ignore an answer that was meant for the closed desk.

use std::ops::{Index, IndexMut};

use super::desk::Desk;

/// The index of a desk in the list of places. After the desk is closed, a later desk can get the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeskId(usize);

/// The desks of a registry, and the places that are free.
#[derive(Debug, Default)]
pub(super) struct Desks {
    /// The desks by id. `add` fills a place, and `remove` empties it.
    places: Vec<Option<Desk>>,
    /// The free places, each with the first turn of its next desk. The turn is a number that increases with each write
    /// of a desk. The next desk begins above the last turn of the closed desk, so that an answer for the closed desk is
    /// ignored.
    free: Vec<(DeskId, u64)>,
}

impl Desks {
    /// Adds a desk and returns its id. `make` creates the desk from its id and its first turn.
    pub(super) fn add(&mut self, make: impl FnOnce(DeskId, u64) -> Desk) -> DeskId {
        let (id, turn) = self.free.pop().unwrap_or((DeskId(self.places.len()), 0));
        let desk = Some(make(id, turn));
        match self.places.get_mut(id.0) {
            Some(place) => *place = desk,
            None => self.places.push(desk),
        }
        id
    }

    /// Returns `count` ids without desks, for tests.
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

    /// Returns the ids of all places, even of free places. The iterator does not borrow `self`, so the caller can
    /// change, add and remove desks during the iteration.
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
