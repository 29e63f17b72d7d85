//! Sums: observers that accept them get each success and each rejection once, in whichever event.

use std::sync::mpsc;
use std::thread;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::event::{Ended, Event, Observer};
use tower_circuit_breaker::state::RejectReason;
use tower_circuit_breaker::{Circuit, OpenDuration, Window};

use crate::rig::{admit, alice, close, fail, millis, open, reject, rig, secs, succeed};

/// The calls of one event, or of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Calls {
    successes: u64,
    tripped: u64,
    half_open: u64,
}

impl Calls {
    fn of(event: &Event<'_>) -> Option<Self> {
        let none = Self::default();
        Some(match *event {
            Event::Sums { successes, tripped, half_open, .. } => Self { successes, tripped, half_open },
            Event::Finished { ended: Ended::Success, .. } => Self { successes: 1, ..none },
            Event::Rejected { reason: RejectReason::Tripped, .. } => Self { tripped: 1, ..none },
            Event::Rejected { reason: RejectReason::HalfOpen, .. } => Self { half_open: 1, ..none },
            Event::Transition(_) | _ => return None,
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            successes: self.successes + other.successes,
            tripped: self.tripped + other.tripped,
            half_open: self.half_open + other.half_open,
        }
    }
}

#[derive(Debug)]
struct Adder {
    to: mpsc::Sender<Calls>,
    accepts_sums: bool,
}

impl Observer for Adder {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        Calls::of(event).map(|calls| self.to.send(calls));
    }

    fn wants_calls(&self) -> bool {
        true
    }

    fn accepts_sums(&self) -> bool {
        self.accepts_sums
    }
}

fn adder(accepts_sums: bool) -> (Adder, mpsc::Receiver<Calls>) {
    let (to, reported) = mpsc::channel();
    (Adder { to, accepts_sums }, reported)
}

/// The events since the last look: how many there were, and their sum.
fn since(reported: &mpsc::Receiver<Calls>) -> (usize, Calls) {
    let all: Vec<_> = reported.try_iter().collect();
    (all.len(), all.into_iter().fold(Calls::default(), Calls::plus))
}

fn successes(reported: &mpsc::Receiver<Calls>) -> u64 {
    since(reported).1.successes
}

#[test]
fn a_rarely_called_service_reports_each_call_at_once() {
    for run_only in [false, true] {
        let (adder, reported) = adder(true);
        let (circuit, clock) = rig(|settings| {
            let settings = settings.observer(adder).without_shipped_observers();
            if run_only { settings.without_failure_rate() } else { settings }
        });
        for call in 0..50 {
            succeed(&circuit, 1);
            assert_eq!(since(&reported), (1, Calls { successes: 1, ..Calls::default() }), "call {call}");
            clock.advance(millis([1, 7, 1_000, 10_000][call % 4]));
        }
    }
}

#[test]
fn a_busy_thread_reports_after_256_calls_and_after_a_millisecond() {
    let (adder, reported) = adder(true);
    let (circuit, clock) = rig(|settings| settings.observer(adder).without_shipped_observers());
    succeed(&circuit, 1);
    assert_eq!(successes(&reported), 1, "the first one");
    succeed(&circuit, 10_000);
    let (events, sum) = since(&reported);
    assert!((39..=40).contains(&events), "{events} events for 10 000 calls at once");
    assert!(sum.successes > 10_000 - 256, "{sum:?}");
    clock.advance(millis(1));
    succeed(&circuit, 1);
    assert_eq!(successes(&reported), 10_001 - sum.successes, "all that was left, and the call itself");
}

#[test]
fn unreported_calls_are_reported_by_transition_refresh_and_last_handle() {
    type End = fn(Circuit);
    let transition: End = |circuit| drop(circuit.trip(&alice(), None));
    let refresh: End = |circuit| circuit.refresh_metrics();
    for (name, end) in [("a transition", transition), ("a refresh", refresh), ("the last handle", drop)] {
        for spread in [false, true] {
            let (adder, reported) = adder(true);
            let (circuit, _) = rig(|settings| {
                let settings = settings.observer(adder).without_shipped_observers();
                if spread { settings.sharded() } else { settings }
            });
            succeed(&circuit, 100);
            let other = circuit.clone();
            thread::spawn(move || succeed(&other, 50)).join().unwrap();
            end(circuit);
            assert_eq!(successes(&reported), 150, "{name}, spread: {spread}");
        }
    }
}

#[test]
fn the_sums_of_an_era_come_before_the_ending_transition() {
    #[derive(Debug)]
    struct Order(mpsc::Sender<&'static str>);

    impl Observer for Order {
        fn on_event(&self, _: &str, event: &Event<'_>) {
            match event {
                Event::Sums { .. } => self.0.send("sums").unwrap(),
                Event::Transition(_) => self.0.send("transition").unwrap(),
                Event::Refresh { .. } | _ => {}
            }
        }

        fn wants_calls(&self) -> bool {
            true
        }

        fn accepts_sums(&self) -> bool {
            true
        }
    }

    let (to, order) = mpsc::channel();
    let (circuit, _) = rig(|settings| settings.observer(Order(to)).without_shipped_observers());
    succeed(&circuit, 2);
    circuit.trip(&alice(), None);
    assert_eq!(order.try_iter().collect::<Vec<_>>(), ["sums", "sums", "transition"]);
}

#[test]
fn rejections_come_in_sums_by_their_reason() {
    let (adder, reported) = adder(true);
    let five = OpenDuration::fixed(secs(5));
    let (circuit, clock) = rig(|settings| settings.observer(adder).without_shipped_observers().open_for(five));
    open(&circuit);
    for _ in 0..1_000 {
        reject(&circuit);
    }
    let (events, sum) = since(&reported);
    assert!(events <= 5, "{events} events for a thousand rejections at once");
    clock.advance(secs(5));
    let probe = admit(&circuit);
    for _ in 0..300 {
        reject(&circuit);
    }
    circuit.refresh_metrics();
    let all = sum.plus(since(&reported).1);
    assert_eq!(all, Calls { successes: 0, tripped: 1_000, half_open: 300 });
    assert_eq!(circuit.totals().rejected, 1_300);
    drop(probe);
}

#[test]
fn a_call_that_no_sum_can_carry_is_reported_alone() {
    type Change = fn(ConfigBuilder) -> ConfigBuilder;
    let ring: Change = |settings| settings.window(Window::calls(100));
    let wants_each: Change = |settings| settings.observer(adder(false).0);
    let durations: Change = ConfigBuilder::measure_durations;
    for (name, change) in [("durations", durations), ("a ring", ring), ("an observer that wants each", wants_each)] {
        let (adder, reported) = adder(true);
        let (circuit, _) = rig(|settings| change(settings.observer(adder).without_shipped_observers()));
        for call in 0..300 {
            succeed(&circuit, 1);
            assert_eq!(since(&reported), (1, Calls { successes: 1, ..Calls::default() }), "{name}, call {call}");
        }
        circuit.refresh_metrics();
        assert_eq!(since(&reported).0, 0, "{name}: none is reported twice");
    }
}

#[test]
fn slow_calls_and_probes_are_reported_once_each() {
    let (adder, reported) = adder(true);
    let (circuit, clock) = rig(|settings| {
        let settings = settings.observer(adder).without_shipped_observers().slow_call_rate(1.0).slower_than(secs(1));
        settings.min_calls(1_000).probes(3)
    });
    for took in [0, 999, 1_000, 5_000, 0] {
        let permit = admit(&circuit);
        clock.advance(millis(took));
        permit.success();
    }
    circuit.refresh_metrics();
    assert_eq!(successes(&reported), 5);
    circuit.reset(&alice(), To::HalfOpen);
    succeed(&circuit, 3);
    circuit.refresh_metrics();
    assert_eq!((successes(&reported), circuit.totals().successes), (3, 8));
}

#[test]
fn observers_of_both_kinds_always_add_up_to_the_totals() {
    for accepts in [[true, true], [true, false]] {
        let (adders, reported): (Vec<_>, Vec<_>) = accepts.map(adder).into_iter().unzip();
        let (circuit, clock) = rig(|settings| {
            let settings = settings.without_shipped_observers().open_for(OpenDuration::fixed(secs(5)));
            adders.into_iter().fold(settings, ConfigBuilder::observer)
        });
        for round in 0..50_u32 {
            succeed(&circuit, round * 7);
            fail(&circuit, 1);
            if round % 5 == 0 {
                open(&circuit);
                (0..round * 3).for_each(|_| drop(reject(&circuit)));
                close(&circuit, &clock);
            }
            clock.advance(millis(u64::from(round)));
        }
        circuit.refresh_metrics();
        let totals = circuit.totals();
        for reported in &reported {
            let Calls { successes, tripped, half_open } = since(reported).1;
            assert_eq!((successes, tripped + half_open), (totals.successes, totals.rejected), "{accepts:?}");
        }
    }
}
