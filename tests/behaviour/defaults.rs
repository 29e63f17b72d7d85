//! What the default rules make of traffic: calls arrive at random, fail independently, and nobody has set anything.
//!
//! Hours of a mock clock. The seeds are committed, so a test sees the same calls every time; with others, a rare trip is no
//! fault: of 10 % hard errors at one call a second, five in a row come about once in thirty hours.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::io;
use std::task::{Context, Waker};
use std::time::Duration;

use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::{Circuit, Config, Failure, Outcome, State};

use crate::dice::Dice;

#[test]
fn an_hour_of_10_percent_hard_errors_does_not_trip() {
    for (seed, per_second) in (1..).zip([1, 5, 50, 1_000]) {
        Traffic::new(seed, per_second).flow(HOUR, |random| random.fail(10, Failure::hard())).has_never_tripped();
    }
}

#[test]
fn an_hour_of_35_percent_errors_at_high_load_does_not_trip() {
    Traffic::new(5, 500).flow(HOUR, |random| random.fail(35, Failure::hard())).has_never_tripped();
}

#[test]
fn timeouts_alone_do_not_trip_at_70_percent() {
    for (seed, per_second) in (6..).zip([50, 200]) {
        Traffic::new(seed, per_second).flow(HOUR, |random| random.fail(70, Failure::timeout())).has_never_tripped();
    }
}

#[test]
fn timeouts_alone_trip_at_80_percent() {
    for (seed, per_second) in (8..).zip([50, 200, 1_000]) {
        let mut traffic = Traffic::new(seed, per_second);
        traffic.until_open(|random| random.fail(80, Failure::timeout()));
        assert!(traffic.elapsed < MINUTE, "{per_second} calls a second: it took {:?}", traffic.elapsed);
    }
}

#[test]
fn a_full_outage_after_a_healthy_minute_opens_within_20_calls() {
    // At 5 calls a second the rate is sometimes there before the run.
    for (per_second, hard) in [(1, 5..=5), (5, 10..=20), (10, 20..=20), (100, 20..=20), (1_000, 20..=20)] {
        for seed in 20..30 {
            let outage = |failure| {
                let mut traffic = Traffic::new(seed, per_second).flow(MINUTE, |_| Outcome::Success);
                traffic.until_open(|_| Outcome::Failure(failure))
            };
            let calls = outage(Failure::hard());
            assert!(hard.contains(&calls), "{per_second} calls a second, seed {seed}: {calls} hard failures");
            let (calls, timeouts) = (outage(Failure::timeout()), hard.start() * 2..=hard.end() * 2);
            assert!(timeouts.contains(&calls), "{per_second} calls a second, seed {seed}: {calls} timeouts");
        }
    }
}

/// Two calls an hour: no window of seconds ever sees more than one of them.
#[test]
fn a_quiet_service_opens_after_five_failures_and_closes_after_one_success() {
    for (failure, calls) in [(Failure::hard(), 5), (Failure::timeout(), 10)] {
        let Traffic { clock, circuit, .. } = Traffic::new(1, 1);
        for call in 1..=calls {
            clock.advance(HOUR / 2);
            circuit.try_acquire().unwrap().failure(failure);
            assert_eq!(circuit.status().state == State::Open, call == calls, "after call {call} of {calls}");
        }
        clock.advance(HOUR);
        let probe = circuit.try_acquire().unwrap();
        assert!(probe.is_probe());
        probe.success();
        assert_eq!(circuit.status().state, State::HalfOpen, "one of three");
        clock.advance(HOUR / 2);
        assert!(!circuit.try_acquire().unwrap().is_probe(), "it did not wait for two more, an hour apart");
        assert_eq!(circuit.status().state, State::Closed);
    }
}

/// No outcome ever comes back: all that the circuit sees is that calls are dropped, long after they began.
#[test]
fn hanging_calls_dropped_by_an_outer_timeout_trip() {
    for (per_second, at_most) in
        [(1, Duration::from_secs(20)), (10, Duration::from_secs(8)), (100, Duration::from_secs(3))]
    {
        let mut traffic = Traffic::new(3, per_second).flow(MINUTE, |_| Outcome::Success);
        let outage = traffic.elapsed;
        let mut hanging = VecDeque::new();
        while traffic.circuit.status().state == State::Closed {
            let arrival = traffic.elapsed + traffic.gap();
            while hanging.front().is_some_and(|(timeout, _)| *timeout <= arrival) {
                let (timeout, call) = hanging.pop_front().unwrap();
                traffic.wait(timeout - traffic.elapsed);
                drop(call);
            }
            traffic.wait(arrival - traffic.elapsed);
            let mut call = Box::pin(traffic.circuit.call(pending::<Result<(), io::Error>>()));
            if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                hanging.push_back((arrival + Duration::from_secs(2), call));
            }
            assert!(traffic.elapsed - outage < at_most, "{per_second} calls a second hang, and nobody notices");
        }
    }
}

/// A caller of a service, behind a circuit of which only the name is set.
struct Traffic {
    clock: MockClock,
    circuit: Circuit,
    random: Random,
    per_second: f64,
    elapsed: Duration,
}

impl Traffic {
    fn new(seed: u64, per_second: u32) -> Self {
        let clock = MockClock::new();
        let builder = Config::builder("defaults").clock(clock.clone()).seed(seed).without_shipped_observers();
        let circuit = Circuit::new(builder.build().expect("the defaults can work"));
        Self { clock, circuit, random: Random(Dice::new(seed)), per_second: per_second.into(), elapsed: Duration::ZERO }
    }

    fn wait(&mut self, duration: Duration) {
        self.clock.advance(duration);
        self.elapsed += duration;
    }

    /// Returns the time to the next arrival.
    fn gap(&mut self) -> Duration {
        Duration::from_secs_f64(self.random.exponential() / self.per_second)
    }

    /// Makes the next call, if it is permitted.
    fn call(&mut self, outcome: impl Fn(&mut Random) -> Outcome) {
        let gap = self.gap();
        self.wait(gap);
        let outcome = outcome(&mut self.random);
        if let Ok(permit) = self.circuit.try_acquire() {
            permit.record(outcome);
        }
    }

    fn flow(mut self, duration: Duration, outcome: impl Fn(&mut Random) -> Outcome) -> Self {
        let end = self.elapsed + duration;
        while self.elapsed < end {
            self.call(&outcome);
        }
        self
    }

    /// Returns how many calls it took.
    fn until_open(&mut self, outcome: impl Fn(&mut Random) -> Outcome) -> u32 {
        let mut calls = 0;
        while self.circuit.status().state == State::Closed {
            assert!(calls < 1_000_000, "it never opens");
            self.call(&outcome);
            calls += 1;
        }
        calls
    }

    fn has_never_tripped(&self) {
        let status = self.circuit.status();
        assert_eq!(status.era, 1, "{} calls a second: {:?}", self.per_second, status.transitions.first());
    }
}

/// The same calls every time.
struct Random(Dice);

impl Random {
    fn next(&mut self) -> f64 {
        let bits = u32::try_from(self.0.next() >> 32).expect("32 bits");
        f64::from(bits) / 4_294_967_296.0
    }

    /// Lets that share of the calls fail.
    fn fail(&mut self, percent: u32, failure: Failure) -> Outcome {
        if self.next() * 100.0 < f64::from(percent) { failure.into() } else { Outcome::Success }
    }

    /// Gaps of this distribution, with a mean of 1, make Poisson arrivals.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.next()).ln()
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
