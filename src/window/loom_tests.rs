//! Loom models of the windows. No outcome that two threads record at the same time is lost, counted twice, or counted
//! in another era. A straggler is a call that ends after its era.
//!
//! `scripts/loom-mutants` breaks one step of the code at a time, and checks that a model fails:
//!
//! | model | faults that make the model fail |
//! |---|---|
//! | `loom_a_number_loses_no_change` | `Tagged::update` stores instead of exchanging |
//! | `loom_a_number_belongs_to_one_era` | `Tagged::update` ignores the era |
//! | `loom_the_sums_of_a_ring_equal_its_slots` | a slot is stored instead of exchanged, or a thread changes the sums although another thread has replaced the slot |
//! | `loom_a_ring_keeps_eras_apart` | a straggler replaces a slot of a later era, or a slot of an older era is subtracted from the sums |
//! | `loom_overtaking_a_bucket_loses_no_count` | a bucket is stored instead of exchanged, a thread that has lost the exchange does not try again, or the count of the overtaken bucket is dropped |
//! | `loom_the_totals_count_no_call_of_an_overtaken_bucket_twice` | `retired` is read after the buckets, or is increased Relaxed |
//! | `loom_a_bucket_keeps_eras_apart` | a straggler adds to a bucket of a later era or overtakes such a bucket, or its call is missing from the totals |
//! | `loom_overtaking_loses_no_call_under_way` | a bucket is stored instead of exchanged, the count of the overtaken bucket is dropped, or an end ignores the tag of its bucket |
//! | `loom_no_overtaken_call_hangs_twice` | `old` is read after the buckets, or gets the calls before their bucket is overtaken |
//! | `loom_calls_under_way_keep_eras_apart` | a straggler overtakes a bucket of a later era, or the calls of an older era move to `old` |
//! | `loom_a_cell_shows_no_success_of_another_era` | the spot is stored or loaded Relaxed, a reader ignores the spot, or the buckets are not emptied |
//! | `loom_one_thread_owns_the_first_cell` | the owner is loaded and stored instead of exchanged |
//! | `loom_cells_are_spread_under_their_owner` | the first cell is not read after the circuit is spread |
//! | `loom_a_seat_passes_its_cell_on` | two threads take the same number |
//! | `loom_an_index_passes_its_cell_on` | two threads take the same index, or an index is taken or given back Relaxed |
//! | `loom_two_reports_share_the_calls` | the reported count is loaded and stored instead of exchanged |
//! | `loom_a_report_of_all_takes_nothing_from_the_next` | an older reading of a cell replaces a later reading |

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::calls::CallRing;
use super::cells::{Cells, Counted};
use super::tagged::Tagged;
use super::time::TimeWindow;
use super::under_way::UnderWay;
use super::{Mark, Stamp, Tally};
use crate::clock::Tick;
use crate::sync::{AtomicU32, Indices, Numbers, Relaxed, Seat};

#[test]
fn loom_a_number_loses_no_change() {
    loom::model(|| {
        let number = Arc::new(Tagged::new());
        number.begin(1, 0);
        beside(&number, |number| add(number, 1), |number| add(number, 2));
        assert_eq!(number.get(1), Some(3));
    });
}

#[test]
fn loom_a_number_belongs_to_one_era() {
    loom::model(|| {
        let number = Arc::new(Tagged::new());
        number.begin(1, 0);
        let next_era = |number: &Tagged| {
            number.begin(2, 10);
            assert_eq!(number.update(2, |number| number + 10), Some(20), "the era is this thread's own");
        };
        beside(&number, |straggler| add(straggler, 1), next_era);
        assert_eq!((number.get(1), number.get(2)), (None, Some(20)));
    });
}

#[test]
fn loom_the_sums_of_a_ring_equal_its_slots() {
    loom::model(|| {
        let ring = Arc::new(CallRing::new(1));
        ring.begin(1);
        ring.record(1, GOOD);
        // The ring has one slot, so every outcome replaces the same slot.
        let two = |ring: &CallRing| {
            ring.record(1, SLOW);
            ring.record(1, GOOD);
        };
        beside(&ring, |ring| ring.record(1, BAD), two);
        assert_eq!(ring.tally(1), ring.recount(1));
        assert_eq!(ring.tally(1).calls, 1, "the ring is full");
        assert_eq!(ring.recorded(), 4);
    });
}

#[test]
fn loom_a_ring_keeps_eras_apart() {
    loom::model(|| {
        let ring = Arc::new(CallRing::new(1));
        ring.begin(1);
        ring.record(1, SLOW);
        let next_era = |ring: &CallRing| {
            ring.begin(2);
            ring.record(2, SLOW);
        };
        beside(&ring, |straggler| straggler.record(1, BAD), next_era);
        assert_eq!(ring.tally(2), ring.recount(2));
        assert_eq!(ring.tally(2), Tally { calls: 1, units: 0, slow: 1 }, "the slow call of era 2 and nothing else");
        assert_eq!(ring.recorded(), 3);
    });
}

#[test]
fn loom_overtaking_a_bucket_loses_no_count() {
    loom::model(|| {
        let window = Arc::new(two_buckets());
        // Time slot 2 uses the bucket of time slot 0, and both threads find the old count in the bucket.
        window.record(at(1, 0), BAD);
        window.record(at(1, 0), BAD);
        beside(&window, |window| window.record(at(1, 2), BAD), |window| window.record(at(1, 2), GOOD));
        assert_eq!(window.tally(1, at(1, 2).now), Tally { calls: 2, units: 256, slow: 0 });
        assert_eq!(window.recorded(), 4, "the totals forget nothing");
    });
}

#[test]
fn loom_the_totals_count_no_call_of_an_overtaken_bucket_twice() {
    loom::model(|| {
        let window = Arc::new(two_buckets());
        window.record(at(1, 0), GOOD);
        window.record(at(1, 0), GOOD);
        beside(&window, |window| window.record(at(1, 2), GOOD), |window| assert!(window.recorded() <= 3));
        assert_eq!(window.recorded(), 3, "the totals forget nothing");
    });
}

#[test]
fn loom_a_bucket_keeps_eras_apart() {
    loom::model(|| {
        let window = Arc::new(two_buckets());
        window.record(at(1, 0), BAD);
        let next_era = |window: &TimeWindow| {
            window.begin(2);
            window.record(at(2, 0), SLOW);
            window.record(at(2, 0), SLOW);
        };
        beside(&window, |straggler| straggler.record(at(1, 0), BAD), next_era);
        assert_eq!(window.tally(2, at(2, 0).now), Tally { calls: 2, units: 0, slow: 2 });
        assert_eq!(window.recorded(), 4, "a straggler counts for the totals, wherever else it does not");
    });
}

#[test]
fn loom_overtaking_loses_no_call_under_way() {
    loom::model(|| {
        let calls = Arc::new(under_way());
        calls.start(at(1, 0));
        calls.start(at(1, 0));
        // Time slot 3 uses the bucket of time slot 0.
        let ends = |calls: &UnderWay| calls.end(at(1, 0));
        let begins = |calls: &UnderWay| {
            calls.start(at(1, 3));
        };
        beside(&calls, ends, begins);
        assert_eq!(calls.hanging(1, at(1, 4).now), 1);
        assert_eq!(calls.hanging(1, at(1, 9).now), 2);
        calls.end(at(1, 0));
        calls.end(at(1, 3));
        assert_eq!(calls.hanging(1, at(1, 9).now), 0);
    });
}

#[test]
fn loom_no_overtaken_call_hangs_twice() {
    loom::model(|| {
        let calls = Arc::new(under_way());
        calls.start(at(1, 0));
        let begins = |calls: &UnderWay| {
            calls.start(at(1, 3));
        };
        beside(&calls, begins, |calls| assert!(calls.hanging(1, at(1, 3).now) <= 1));
        assert_eq!(calls.hanging(1, at(1, 3).now), 1);
    });
}

#[test]
fn loom_calls_under_way_keep_eras_apart() {
    loom::model(|| {
        let calls = Arc::new(under_way());
        calls.start(at(1, 0));
        let straggler = |calls: &UnderWay| {
            calls.end(at(1, 0));
            calls.start(at(1, 3));
        };
        let next_era = |calls: &UnderWay| {
            calls.begin(2);
            calls.start(at(2, 0));
            calls.start(at(2, 3));
        };
        beside(&calls, straggler, next_era);
        assert_eq!(calls.hanging(2, at(2, 9).now), 2);
        calls.end(at(2, 0));
        assert_eq!(calls.hanging(2, at(2, 9).now), 1);
    });
}

#[test]
fn loom_a_cell_shows_no_success_of_another_era() {
    loom::model(|| {
        let cells = Arc::new(cells(1));
        count(&cells, FIRST, at(0, 0));
        count(&cells, FIRST, at(0, 0));
        // A tag has 8 bits of the era, so era 0 and era 256 have the same tag.
        let owner = |cells: &Cells| count(cells, FIRST, at(256, 0));
        let reader = |cells: &Cells| assert!(cells.calls(256, at(256, 0).now) <= 1, "those of era 0 are over");
        beside(&cells, owner, reader);
        assert_eq!((cells.calls(256, at(256, 0).now), cells.successes()), (1, 3));
    });
}

#[test]
fn loom_one_thread_owns_the_first_cell() {
    loom::model(|| {
        let cells = Arc::new(cells(1));
        let shared = Arc::new(AtomicU32::new(0));
        let its = Arc::clone(&shared);
        beside(&cells, move |cells| count_in(cells, SECOND, &its), |cells| count_in(cells, FIRST, &shared));
        assert_eq!((cells.successes(), cells.calls(1, at(1, 0).now)), (1, 1), "the one that came first");
        assert_eq!(shared.load(Relaxed), 1, "the other counts in the shared window");
    });
}

#[test]
fn loom_cells_are_spread_under_their_owner() {
    loom::model(|| {
        let cells = Arc::new(cells(1));
        count(&cells, FIRST, at(1, 0));
        let aside = |cells: &Cells| {
            cells.spread();
            count(cells, SECOND, at(1, 0));
        };
        beside(&cells, aside, |owner| count(owner, FIRST, at(1, 0)));
        assert_eq!((cells.calls(1, at(1, 0).now), cells.successes()), (3, 3));
    });
}

#[test]
fn loom_a_seat_passes_its_cell_on() {
    loom::model(|| {
        let shared = Arc::new((Numbers::default(), cells(1), AtomicU32::new(0)));
        // One number is free from an earlier thread. Both threads take a number, count and leave. The second thread may
        // take the number that the first thread has left, and continues its cell.
        shared.0.leave(shared.0.take());
        let visit = |(numbers, cells, without): &(Numbers, Cells, AtomicU32)| {
            let seat = numbers.take();
            count_in(cells, seat, without);
            numbers.leave(seat);
        };
        beside(&shared, visit, visit);
        let counted = shared.1.successes() + u64::from(shared.2.load(Relaxed));
        assert_eq!((counted, shared.1.calls(1, at(1, 0).now)), (2, shared.1.successes()));
    });
}

#[test]
fn loom_an_index_passes_its_cell_on() {
    loom::model(|| {
        let shared = Arc::new((Indices::default(), cells(1)));
        shared.1.spread();
        let visit = |(indices, cells): &(Indices, Cells)| {
            let index = indices.take(2).expect("there are two");
            count(cells, Seat::with_both(7).with_index(index), at(1, 0));
            indices.leave(index);
        };
        beside(&shared, visit, visit);
        assert_eq!((shared.1.successes(), shared.1.calls(1, at(1, 0).now)), (2, 2));
    });
}

#[test]
fn loom_two_reports_share_the_calls() {
    loom::model(|| {
        let cells = Arc::new(cells(1));
        count(&cells, FIRST, at(1, 0));
        count(&cells, FIRST, at(1, 0));
        let reported = Arc::new(AtomicU32::new(0));
        let its = Arc::clone(&reported);
        beside(&cells, move |cells| report(cells, &its), |cells| report(cells, &reported));
        assert_eq!(reported.load(Relaxed), 2, "each call is reported once");
    });
}

#[test]
fn loom_a_report_of_all_takes_nothing_from_the_next() {
    loom::model(|| {
        let cells = Arc::new(cells(1));
        count(&cells, FIRST, at(1, 0));
        let reported = Arc::new(AtomicU32::new(0));
        let its = Arc::clone(&reported);
        // Another thread reports all cells, as a refresh does, while the owner of the cell counts and reports.
        let owner = |cells: &Cells| {
            count(cells, FIRST, at(1, 0));
            report(cells, &reported);
        };
        beside(&cells, move |cells| report(cells, &its), owner);
        report(&cells, &reported);
        assert_eq!(reported.load(Relaxed), 2, "each call is reported once");
    });
}

/// Returns cells that report sums, for a window with this number of buckets of one second.
fn cells(buckets: u32) -> Cells {
    Cells::new(Some((1_000_000_000, buckets)), true)
}

fn count(cells: &Cells, seat: Seat, stamp: Stamp) {
    assert_ne!(cells.success_at(seat, stamp.era, stamp.now), Counted::No, "the seat has a cell");
}

/// Counts in the cell of the seat, or in the shared count if the seat has no cell.
fn count_in(cells: &Cells, seat: Seat, shared: &AtomicU32) {
    if cells.success_at(seat, 1, at(1, 0).now) == Counted::No {
        shared.fetch_add(1, Relaxed);
    }
}

fn report(cells: &Cells, reported: &AtomicU32) {
    reported.fetch_add(u32::try_from(cells.take_sums().successes).expect("two at most"), Relaxed);
}

/// Runs `aside` on another thread at the same time as `here`.
fn beside<T: Send + Sync + 'static>(shared: &Arc<T>, aside: impl FnOnce(&T) + Send + 'static, here: impl FnOnce(&T)) {
    let (its, start) = (Arc::clone(shared), Arc::new(AtomicU32::new(0)));
    let its_start = Arc::clone(&start);
    let thread = thread::spawn(move || {
        its_start.fetch_add(1, Relaxed);
        aside(&its);
    });
    // Both threads begin with a step on one word, so that loom also tries the orders in which each thread runs first.
    // `begin` in the models of the circuit has the reason.
    start.fetch_add(1, Relaxed);
    here(shared);
    thread.join().expect("it does not panic");
}

fn add(number: &Tagged, by: u64) {
    number.update(1, |number| number + by);
}

fn two_buckets() -> TimeWindow {
    TimeWindow::new(Duration::from_secs(2), 2, true)
}

/// Returns the counts of era 1, whose calls hang two time slots after their own.
fn under_way() -> UnderWay {
    let calls = UnderWay::new(Duration::from_secs(1), Duration::from_secs(1));
    calls.begin(1);
    calls
}

fn at(era: u64, slot: u64) -> Stamp {
    Stamp { era, now: Tick::from_nanos(slot * 1_000_000_000) }
}

const FIRST: Seat = Seat::with_both(0);
const SECOND: Seat = Seat::with_both(1);
const GOOD: Mark = Mark { units: 0, slow: false };
const SLOW: Mark = Mark { units: 0, slow: true };
const BAD: Mark = Mark { units: 256, slow: false };
