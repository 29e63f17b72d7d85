//! The desks of a registry, by number. A number is given again once its desk is gone, as keys come and go without end.

use std::ops::{Index, IndexMut, Range};

use super::desk::Desk;

/// The desks, and the numbers that are free.
#[derive(Debug, Default)]
pub(super) struct Desks {
    places: Vec<Option<Desk>>,
    /// Each with the turn that its next desk begins with: an answer to a question of the last one must not fit.
    free: Vec<(usize, u64)>,
}

impl Desks {
    /// Adds the desk that `make` makes of its number and its first turn.
    pub(super) fn add(&mut self, make: impl FnOnce(usize, u64) -> Desk) -> usize {
        let (at, turn) = self.free.pop().unwrap_or((self.places.len(), 0));
        let desk = Some(make(at, turn));
        match self.places.get_mut(at) {
            Some(place) => *place = desk,
            None => self.places.push(desk),
        }
        at
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<Desk> {
        let desk = self.places.get_mut(at)?.take()?;
        self.free.push((at, desk.turn + 1));
        Some(desk)
    }

    pub(super) fn get(&self, at: usize) -> Option<&Desk> {
        self.places.get(at)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Desk> {
        self.places.get_mut(at)?.as_mut()
    }

    /// Every number there is, free ones too.
    pub(super) fn places(&self) -> Range<usize> {
        0..self.places.len()
    }

    /// The numbers of the desks.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.places.iter().enumerate().filter(|(_, desk)| desk.is_some()).map(|(at, _)| at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Desk> {
        self.places.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Desk> {
        self.places.iter_mut().flatten()
    }
}

impl Index<usize> for Desks {
    type Output = Desk;

    fn index(&self, at: usize) -> &Desk {
        self.get(at).expect("a desk goes with all that waits for it")
    }
}

impl IndexMut<usize> for Desks {
    fn index_mut(&mut self, at: usize) -> &mut Desk {
        self.get_mut(at).expect("a desk goes with all that waits for it")
    }
}
