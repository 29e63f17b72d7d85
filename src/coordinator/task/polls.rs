//! The polls, which load records at regular times. Polls are needed because a store without a watch reports no changes,
//! and a watch can lose changes.
//!
//! Each desk has a pace, which sets the interval of its polls. `tripped` and `closed` are the two intervals of the
//! setting `poll_every`. A circuit is at rest if it is tripped neither in this process nor in the record, and no
//! operator holds the circuit. New counts of failures do not change the pace. A desk needs the counts of other
//! instances only for a write, and the answer to a write brings them if the known record is old. While the watch
//! reports every change, polls are slow, because they only find changes whose hint was lost. Without such a watch, the
//! polls find the changes of other instances.
//!
//! | pace | circuits | interval with a watch | interval without a watch |
//! |---|---|---|---|
//! | `Bound` | their fleet votes or probes, or the version in the store is not known, or the store refuses to load the record | `tripped` | `tripped` |
//! | `Eventful` | not at rest, and none of the above | `tripped`, at least 5 s | `tripped` |
//! | `AtRest` | at rest | `closed`, at least 60 s | `closed` |
//!
//! The polls of one pace visit its desks one after the other. Each poll loads one batch, and the batches are spread
//! evenly over the interval. A registry of ten thousand circuits makes many small polls, and a small registry makes one
//! poll in an interval. A desk with a new pace is polled within about 1.2 intervals, unless the store has answered for
//! the desk within the last half of an interval.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use super::jobs::BATCH;
use super::{Ledger, Task};
use crate::clock::{Tick, nanos};
use crate::coordinator::desk::Pace;
use crate::coordinator::desks::DeskId;
use crate::coordinator::terms;
use crate::random::Dice;
use crate::store::Watch;

/// The polls of all desks.
#[derive(Debug)]
pub(super) struct Polls {
    terms: terms::Polls,
    /// True while the watch reports every change.
    is_watched: bool,
    /// The rounds, one for each pace.
    rounds: [Round; PACES.len()],
}

/// The desks with one pace. Polls visit these desks in turn.
#[derive(Debug)]
struct Round {
    desks: BTreeSet<DeskId>,
    /// The last desk that was polled. The next batch begins after this desk, so that all desks have their turn.
    last: Option<DeskId>,
    /// The time of the next poll. `None` if the round has no desk.
    next: Option<Tick>,
}

impl Polls {
    pub(super) fn new(terms: terms::Polls) -> Self {
        let rounds = std::array::from_fn(|_| Round { desks: BTreeSet::new(), last: None, next: None });
        Self { terms, is_watched: false, rounds }
    }

    /// Returns the time of the next poll.
    fn next(&self) -> Option<Tick> {
        self.rounds.iter().filter_map(|round| round.next).min()
    }

    /// Sets the pace of a desk.
    fn set(&mut self, at: DeskId, pace: Pace, now: Tick, dice: &mut Dice) {
        if self.rounds[pace as usize].desks.contains(&at) {
            return;
        }
        self.forget(at);
        let interval = self.interval(pace);
        let round = &mut self.rounds[pace as usize];
        round.desks.insert(at);
        round.plan_by(round.spread(interval, now, dice));
    }

    /// Removes a desk that is gone.
    pub(super) fn forget(&mut self, at: DeskId) {
        for round in &mut self.rounds {
            if round.desks.remove(&at) && round.desks.is_empty() {
                round.next = None;
            }
        }
    }

    /// Returns the mean time between two polls of a desk.
    fn interval(&self, pace: Pace) -> Duration {
        let terms::Polls { tripped, closed } = self.terms;
        match pace {
            Pace::AtRest if self.is_watched => closed.max(AT_REST),
            Pace::AtRest => closed,
            Pace::Eventful if self.is_watched => tripped.max(EVENTFUL),
            Pace::Eventful | Pace::Bound => tripped,
        }
    }

    /// Notes if the watch reports every change at present. If the interval becomes shorter, the next polls come
    /// earlier.
    fn watched(&mut self, is_watched: bool, now: Tick, dice: &mut Dice) {
        if std::mem::replace(&mut self.is_watched, is_watched) == is_watched {
            return;
        }
        for pace in PACES {
            let interval = self.interval(pace);
            let round = &mut self.rounds[pace as usize];
            if round.next.is_some() {
                round.plan_by(round.spread(interval, now, dice));
            }
        }
    }

    /// Returns the desks to poll now, and plans the next polls. `is_fresh` returns true if the store has answered for
    /// the desk since the given time. A desk that is not at rest is left out if its last answer is younger than half of
    /// the interval. Its circuit writes often, so such answers are common.
    fn take(&mut self, now: Tick, dice: &mut Dice, is_fresh: impl Fn(DeskId, Tick) -> bool) -> Vec<DeskId> {
        let mut due = Vec::new();
        for pace in PACES {
            let interval = self.interval(pace);
            let round = &mut self.rounds[pace as usize];
            if round.next.is_none_or(|next| next > now) {
                continue;
            }
            let batch = round.take();
            round.next = Some(round.spread(interval, now, dice));
            let recent = Tick::from_nanos(now.as_nanos().saturating_sub(nanos(interval / 2)));
            due.extend(batch.into_iter().filter(|at| pace == Pace::AtRest || !is_fresh(*at, recent)));
        }
        due
    }
}

impl Round {
    /// Returns the time of a poll that waits from now on. The wait is 80 % to 120 % of its mean, so that many instances
    /// do not poll the store at the same time.
    fn spread(&self, interval: Duration, now: Tick, dice: &mut Dice) -> Tick {
        let batches = u32::try_from(self.desks.len().div_ceil(BATCH)).unwrap_or(u32::MAX).max(1);
        now.saturating_add((interval / batches).mul_f64(0.8 + 0.4 * dice.share()))
    }

    /// Plans the next poll at this time, unless an earlier poll is planned already.
    fn plan_by(&mut self, by: Tick) {
        self.next = Some(self.next.map_or(by, |next| next.min(by)));
    }

    /// Returns the next batch of desks, which begins after the last desk of the previous batch.
    fn take(&mut self) -> Vec<DeskId> {
        let after = self.last.map_or(Unbounded, Excluded);
        let later = self.desks.range((after, Unbounded));
        let batch: Vec<_> = later.chain(&self.desks).take(BATCH.min(self.desks.len())).copied().collect();
        self.last = batch.last().copied();
        batch
    }
}

impl Task {
    /// Sets the pace of a desk again. The pace depends on the circuit, on the record and on the time.
    pub(super) fn set_pace(&mut self, at: DeskId, now: Tick) {
        let store = self.ledger.link.time(now);
        let is_refused = self.to_load.is_alone(at);
        let pace = if is_refused { Pace::Bound } else { self.ledger.desks[at].pace(self.ledger.who.sharing, store) };
        self.polls.set(at, pace, now, &mut self.ledger.dice);
    }

    /// Plans the loads of the desks whose poll is due.
    pub(super) fn poll(&mut self, now: Tick) {
        let is_watched = self.watch.as_ref().is_some_and(Watch::is_complete);
        self.polls.watched(is_watched, now, &mut self.ledger.dice);
        let Ledger { desks, dice, .. } = &mut self.ledger;
        let due = self.polls.take(now, dice, |at, time| desks[at].was_answered_after(time));
        self.load_polled(due, now);
    }

    /// Returns the time of the next poll.
    pub(super) fn next_poll(&self) -> Option<Tick> {
        self.polls.next()
    }
}

const PACES: [Pace; 3] = [Pace::Bound, Pace::Eventful, Pace::AtRest];
/// The shortest mean time between two polls of a desk with the pace `Eventful`, while the watch reports every change.
const EVENTFUL: Duration = Duration::from_secs(5);
/// The shortest mean time between two polls of a desk with the pace `AtRest`, while the watch reports every change.
const AT_REST: Duration = Duration::from_secs(60);

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::coordinator::desks::Desks;

    const SECOND: Duration = Duration::from_secs(1);

    /// Polls of this number of desks, each at rest.
    fn at_rest(count: usize, is_watched: bool) -> (Polls, Vec<DeskId>, Dice) {
        let terms = terms::Polls { tripped: SECOND * 2, closed: SECOND * 10 };
        let (mut polls, mut dice) = (Polls::new(terms), Dice::new(Some(1)));
        polls.watched(is_watched, Tick::ZERO, &mut dice);
        let ids = Desks::ids_of(count);
        ids.iter().for_each(|at| polls.set(*at, Pace::AtRest, Tick::ZERO, &mut dice));
        (polls, ids, dice)
    }

    /// Runs the polls until this time. Returns the time of each poll with its desks.
    fn play(polls: &mut Polls, until: Tick, dice: &mut Dice) -> Vec<(Tick, Vec<DeskId>)> {
        let mut played = Vec::new();
        while let Some(next) = polls.next().filter(|next| *next <= until) {
            played.push((next, polls.take(next, dice, |_, _| false)));
        }
        played
    }

    fn tick(seconds: u64) -> Tick {
        Tick::ZERO.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn each_desk_is_polled_in_each_interval_in_small_batches() {
        for (count, is_watched, longest) in
            [(1, true, 72), (256, true, 72), (257, true, 72), (10_000, true, 72), (10_000, false, 12)]
        {
            let (mut polls, ids, mut dice) = at_rest(count, is_watched);
            let mut before: BTreeMap<_, _> = ids.iter().map(|at| (*at, Tick::ZERO)).collect();
            for (when, desks) in play(&mut polls, tick(600), &mut dice) {
                assert!(desks.len() <= BATCH, "{count} desks");
                for at in desks {
                    let waited = when.saturating_since(before.insert(at, when).unwrap());
                    assert!(waited <= SECOND * longest, "{count} desks: {waited:?}");
                }
            }
            for at in ids {
                assert!(tick(600).saturating_since(before[&at]) <= SECOND * longest, "{count} desks: the polls end");
            }
        }
    }

    #[test]
    fn the_end_of_the_reports_brings_the_polls_forward() {
        let (mut polls, ids, mut dice) = at_rest(20, true);
        polls.watched(false, tick(1), &mut dice);
        let (when, desks) = play(&mut polls, tick(600), &mut dice).swap_remove(0);
        assert!((tick(9)..=tick(13)).contains(&when), "{when:?}");
        assert_eq!(desks, ids);
    }

    #[test]
    fn a_round_without_desks_has_no_poll() {
        let (mut polls, ids, mut dice) = at_rest(1, true);
        polls.set(ids[0], Pace::Bound, tick(1), &mut dice);
        assert!(polls.next() <= Some(tick(4)), "a desk that joins is polled within the interval of its pace");
        polls.forget(ids[0]);
        assert_eq!(polls.next(), None);
    }

    #[test]
    fn a_recent_answer_spares_the_poll_of_an_eventful_circuit_only() {
        for (pace, polled) in [(Pace::Bound, 0), (Pace::Eventful, 0), (Pace::AtRest, 1)] {
            let (mut polls, ids, mut dice) = at_rest(1, true);
            polls.set(ids[0], pace, Tick::ZERO, &mut dice);
            let next = polls.next().expect("the round has a desk");
            let half = nanos(polls.interval(pace)) / 2;
            let desks = polls.take(next, &mut dice, |_, time| next.as_nanos() - time.as_nanos() == half);
            assert_eq!(desks.len(), polled, "{pace:?}");
        }
    }
}
