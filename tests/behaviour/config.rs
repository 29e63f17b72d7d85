//! What a configuration refuses, what it says, and the two classic ones.

use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, MockClock};
use tower_circuit_breaker::config::{ConfigBuilder, Recovery};
use tower_circuit_breaker::state::{Reason, Snapshot};
use tower_circuit_breaker::{Circuit, Config, Failure, OpenDuration, State, Window};

use crate::rig::{
    admit, alice, fail, last, millis, no_rules, open, probe, reject, rig, secs, settings, state, succeed, time_out, why,
};

type Change = fn(ConfigBuilder) -> ConfigBuilder;

#[test]
fn impossible_settings_are_refused_with_field_value_and_range() {
    const MAX: Duration = Duration::MAX;
    let refused: [(&str, Change, &str); 49] = [
        ("failure_rate", |c| c.failure_rate(0.0), "0, allowed is more than 0 and at most 1"),
        ("failure_rate", |c| c.failure_rate(-0.1), "-0.1, allowed is more than 0 and at most 1"),
        ("failure_rate", |c| c.failure_rate(1.01), "1.01, allowed is more than 0 and at most 1"),
        ("failure_rate", |c| c.failure_rate(f64::NAN), "NaN, allowed is more than 0 and at most 1"),
        ("min_calls", |c| c.min_calls(0), "0, allowed is 1 to 4294967295"),
        ("min_calls", |c| c.min_calls(20).window(Window::calls(19)), "20, allowed is 1 to 19"),
        ("consecutive_failures", |c| c.consecutive_failures(0), "0, allowed is 1 to 4294967295"),
        ("failure_score", |c| c.failure_score(0.0), "0, allowed is more than 0 and at most 4294967295"),
        ("failure_score", |c| c.failure_score(-1.0), "-1, allowed is more than 0 and at most 4294967295"),
        ("failure_score", |c| c.failure_score(f64::NAN), "NaN, allowed is more than 0 and at most 4294967295"),
        ("failure_score", |c| c.failure_score(f64::INFINITY), "inf, allowed is more than 0 and at most 4294967295"),
        (
            "failure_score",
            |c| c.failure_score(51.0).window(Window::calls(50)),
            "51, allowed is more than 0 and at most 50",
        ),
        ("slow_call_rate", |c| c.slow_call_rate(0.0).slower_than(secs(1)), "0, allowed is more than 0 and at most 1"),
        ("slow_call_rate", |c| c.slow_call_rate(2.0).slower_than(secs(1)), "2, allowed is more than 0 and at most 1"),
        ("slow_call_rate", |c| c.slower_than(secs(1)), "not set, allowed is a rate, beside slower_than"),
        ("slower_than", |c| c.slow_call_rate(0.5), "not set, allowed is a duration, beside slow_call_rate"),
        ("slower_than", |c| c.slow_call_rate(0.5).slower_than(Duration::ZERO), "0 s, allowed is 1 ms to 365 days"),
        ("slower_than", |c| c.slow_call_rate(0.5).slower_than(MAX), "allowed is 1 ms to 365 days"),
        ("window", |c| c.window(Window::time(Duration::ZERO)), "0 s, allowed is 100 ms to 24 hours"),
        ("window", |c| c.window(Window::time(millis(99))), "99 ms, allowed is 100 ms to 24 hours"),
        ("window", |c| c.window(Window::time(secs(24 * 3600 + 1))), "86401 s, allowed is 100 ms to 24 hours"),
        ("window", |c| c.window(Window::time(MAX)), "allowed is 100 ms to 24 hours"),
        ("window.buckets", |c| c.window(Window::time(secs(1)).buckets(0)), "0, allowed is 2 to 60"),
        ("window.buckets", |c| c.window(Window::time(secs(1)).buckets(1)), "1, allowed is 2 to 60"),
        ("window.buckets", |c| c.window(Window::time(secs(1)).buckets(61)), "61, allowed is 2 to 60"),
        ("window.calls", |c| c.window(Window::calls(0)), "0, allowed is 1 to 16777216"),
        ("window.calls", |c| c.window(Window::calls(u32::MAX)), "4294967295, allowed is 1 to 16777216"),
        ("open_for", |c| c.open_for(OpenDuration::fixed(Duration::ZERO)), "0 s, allowed is 1 ms to 365 d"),
        ("open_for", |c| c.open_for(OpenDuration::fixed(MAX)), "allowed is 1 ms to 365 d"),
        ("open_for.base", |c| c.open_for(exponential(Duration::ZERO, secs(1))), "0 s, allowed is 1 ms to 1 s"),
        ("open_for.base", |c| c.open_for(exponential(secs(2), secs(1))), "2 s, allowed is 1 ms to 1 s"),
        ("open_for.max", |c| c.open_for(exponential(secs(2), MAX)), "allowed is 1 ms to 365 d"),
        ("open_for.jitter", |c| c.open_for(OpenDuration::fixed(secs(1)).jitter(-0.1)), "-0.1, allowed is 0 to 0.5"),
        ("open_for.jitter", |c| c.open_for(OpenDuration::fixed(secs(1)).jitter(0.6)), "0.6, allowed is 0 to 0.5"),
        ("open_for.jitter", |c| c.open_for(OpenDuration::fixed(secs(1)).jitter(f64::NAN)), "NaN, allowed is 0 to 0.5"),
        ("probes", |c| c.probes(0), "0, allowed is 1 to 10000"),
        ("probes", |c| c.probes(10_001), "10001, allowed is 1 to 10000"),
        ("probes_in_flight", |c| c.probes_in_flight(0), "0, allowed is 1 to 1000"),
        ("probes_in_flight", |c| c.probes_in_flight(1_001), "1001, allowed is 1 to 1000"),
        ("probe_failures_tolerated", |c| c.probe_failures_tolerated(10_001), "10001, allowed is 0 to 10000"),
        ("probe_deadline", |c| c.probe_deadline(Duration::ZERO), "0 s, allowed is 1 ms to 365 days"),
        ("probe_deadline", |c| c.probe_deadline(MAX), "allowed is 1 ms to 365 days"),
        ("quiet_after", |c| c.quiet_after(MAX), "allowed is 1 ms to 365 days"),
        ("throttle", |c| c.throttle(1.0), "1, allowed is 1.1 to 100"),
        ("throttle", |c| c.throttle(100.1), "100.1, allowed is 1.1 to 100"),
        (
            "throttled_failure_rate",
            |c| c.throttle(2.0).throttled_failure_rate(0.0),
            "0, allowed is more than 0 and at most 1",
        ),
        ("ramp", |c| c.ramp(secs(3_601)), "3601 s, allowed is 0 to 1 hour"),
        ("cancelled_counts_after", |c| c.cancelled_counts_after(MAX), "allowed is 0 s to 365 days"),
        ("reset_cooldown", |c| c.reset_cooldown(MAX), "allowed is 0 s to 365 days"),
    ];
    for (field, change, says) in refused {
        let error = change(Config::builder("payments")).build().expect_err(field);
        assert_eq!(error.field(), field, "{error}");
        let said = error.to_string();
        assert!(said.starts_with(&format!("{field} is ")) && said.ends_with(says), "{said:?} should end in {says:?}");
    }
}

#[test]
fn the_ends_of_every_range_are_accepted() {
    let year = secs(365 * 24 * 3600);
    let accepted: [Box<dyn Fn(ConfigBuilder) -> ConfigBuilder>; 8] = [
        Box::new(|c| c.failure_rate(f64::MIN_POSITIVE).min_calls(1).consecutive_failures(1)),
        Box::new(|c| c.failure_rate(1.0).min_calls(u32::MAX).consecutive_failures(u32::MAX)),
        Box::new(|c| c.min_calls(50).failure_score(50.0).window(Window::calls(50))),
        Box::new(|c| c.window(Window::time(millis(100)).buckets(60))),
        Box::new(|c| c.window(Window::time(secs(24 * 3600)).buckets(2))),
        Box::new(move |c| c.open_for(exponential(millis(1), year).jitter(0.5)).quiet_after(year)),
        Box::new(move |c| c.slow_call_rate(1.0).slower_than(year).cancelled_counts_after(year).probe_deadline(year)),
        Box::new(|c| c.probes(10_000).probes_in_flight(1_000).probe_failures_tolerated(10_000)),
    ];
    for change in accepted {
        let clock = MockClock::new();
        let circuit = Circuit::new(change(settings(&clock)).build().unwrap());
        succeed(&circuit, 1);
        assert!(circuit.config().explain().contains("payments"));
    }
}

fn exponential(base: Duration, max: Duration) -> OpenDuration {
    OpenDuration::exponential(base, max)
}

#[test]
fn a_name_is_up_to_200_bytes_of_printable_text_without_spaces() {
    let long = "x".repeat(200);
    for name in ["payments", "/users/{id}", "[::1]:80", "https://a.b/c?d=e&f#g", "größe", "支払い", "\"\\'", "*", &long]
    {
        assert_eq!(Config::new(name).unwrap().name(), name);
        assert_eq!(Circuit::new(Config::new(name).unwrap()).name(), name);
    }
    let (longer, wide) = ("x".repeat(201), "ü".repeat(101));
    for name in
        ["", " ", "two words", "tab\t", "line\n", "\r", "nul\0", "\u{1b}[31m", "\u{85}", "\u{a0}", &longer, &wide]
    {
        let error = Config::new(name).expect_err(name);
        assert_eq!(error.field(), "name", "{name:?}");
        let says = error.to_string();
        assert!(says.ends_with("allowed is 1 to 200 bytes of printable text without spaces"), "{says}");
        assert!(!says.contains(char::is_control), "a bad name must not forge a line of a log: {says:?}");
    }
}

#[test]
fn a_name_has_no_hidden_characters() {
    // A zero-width space makes two names look the same, an override turns a line of a log around.
    for name in ["\u{200b}", "pay\u{200b}ments", "\u{feff}payments", "\u{202e}stnemyap", "pay\u{ad}ments", "\u{2066}a"]
    {
        assert_eq!(Config::new(name).expect_err(&name.escape_unicode().to_string()).field(), "name");
    }
}

#[test]
fn an_endless_duration_never_panics() {
    const MAX: Duration = Duration::MAX;
    // Where the builder does not refuse it: what functions return, services ask for, operators and records say.
    let (circuit, clock) = rig(|settings| settings.open_for(OpenDuration::from_fn(|_| MAX).jitter(0.5)));
    assert!(open(&circuit) >= Some(secs(180 * 24 * 3600)));
    reject(&circuit);

    let (circuit, _) = rig(|settings| settings);
    for _ in 0..5 {
        admit(&circuit).failure(Failure::hard().with_retry_after(MAX));
    }
    assert_eq!(reject(&circuit).retry_after(), Some(secs(300)));

    assert_eq!(circuit.trip(&alice(), Some(MAX)).lasts, None, "a hold beyond all clocks has no end");
    clock.advance(secs(100 * 365 * 24 * 3600));
    reject(&circuit);
    circuit.disable(&alice(), Some(MAX));
    succeed(&circuit, 1);

    for state in [State::Closed, State::Open, State::HalfOpen] {
        let mut snapshot = Snapshot::closed();
        (snapshot.state, snapshot.open_for, snapshot.held_for) = (state, Some(MAX), Some(MAX));
        circuit.adopt(&snapshot, Reason::Restored);
        drop(circuit.try_acquire());
    }

    let (circuit, clock) = rig(|settings| settings);
    for _ in 0..10 {
        clock.advance(MAX);
        drop(circuit.try_acquire().map(|permit| permit.failure(Failure::hard())));
        // Formatting computes with durations as well.
        println!("{}\n{circuit:?}\n{:?}", circuit.config().explain(), circuit.status());
    }
    assert_eq!(clock.now(), clock.now().saturating_add(MAX));

    println!("{:?}", Config::builder("payments").slower_than(MAX).open_for(OpenDuration::fixed(MAX)));
}

#[test]
fn the_default_settings_explain_themselves_with_their_numbers() {
    let text = Config::new("payments").unwrap().explain();
    for says in [
        "Circuit `payments`",
        "5 hard failures in a row open the circuit, and so do 10 timeouts in a row.",
        "hold 20 calls, the limit is 20",
        "weigh 40 % of at least 20 calls of the last 10 s",
        "If all failures are timeouts, 80 %",
        "dropped 1 s or more",
        "open for 5 s, doubling to 60 s ± 10 %",
        "3 successes",
        "60 s without a success if a probe is overdue",
        "A probe that takes 30 s gives its place to another call",
        "failures that weigh 0.5 before the first success reopen the circuit",
        "After 60 s in half-open, one success",
    ] {
        assert!(text.contains(says), "{says:?} is missing in:\n{text}");
    }
}

#[test]
fn other_settings_explain_themselves_with_their_numbers() {
    let explained: [(Change, &[&str]); 9] = [
        (|c| c.consecutive_failures(5), &["and so do 10 timeouts in a row.\n"]),
        (|c| c.failure_rate(0.6), &["60 %", "Timeouts alone never reach this share, because each weighs 0.5"]),
        (|c| c.failure_score(7.5).window(Window::calls(300)), &["A failure score of 7.5 within the last 300 calls"]),
        (|c| c.slow_call_rate(0.9).slower_than(millis(2500)), &["90 % of at least 20 calls", "take 2.5 s or more"]),
        (
            |c| c.recovery(Recovery::Manual).cancelled_never_counts(),
            &["until an operator resets it", "dropped never counts"],
        ),
        (|c| c.probes_in_flight(5), &["3 probes at a time, and closes after 3 successes"]),
        (|c| c.probe_failures_tolerated(2).probes_in_flight(4), &["4 probes at a time", "more than 2 failures"]),
        (
            |c| no_rules(c).shadow(),
            &["only an operator or a failure that trips at once opens the circuit", "The circuit starts in shadow"],
        ),
        (|c| c.recovery(Recovery::Manual).shadow(), &["until an operator resets it", "The circuit starts in shadow"]),
    ];
    for (change, all) in explained {
        let text = change(Config::builder("payments")).build().unwrap().explain();
        for says in all {
            assert!(text.contains(says), "{says:?} is missing in:\n{text}");
        }
    }
}

#[test]
fn the_classic_circuit_opens_after_five_failures_and_closes_after_one_probe() {
    let clock = MockClock::new();
    let circuit = Circuit::new(Config::classic("payments").clock(clock.clone()).build().unwrap());
    succeed(&circuit, 1_000);
    fail(&circuit, 4);
    succeed(&circuit, 1);
    assert_eq!(circuit.status().run.to_string(), "0", "a success sets the count back");
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Closed);
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::ConsecutiveFailures { score: 5.0, limit: 5.0, set: 5.0 });
    for _ in 0..60 {
        assert!(reject(&circuit).retry_after() <= Some(secs(60)));
        clock.advance(secs(1));
    }
    fail(&circuit, 1);
    assert_eq!((state(&circuit), last(&circuit).lasts), (State::Open, Some(secs(60))), "a minute each time, no jitter");
    clock.advance(secs(60));
    succeed(&circuit, 1);
    assert_eq!(state(&circuit), State::Closed);
    time_out(&circuit, 10);
    assert_eq!(state(&circuit), State::Open, "a timeout counts half");
}

#[test]
fn the_classic_circuit_can_ask_for_another_threshold_and_more_successes() {
    let (circuit, clock) = {
        let clock = MockClock::new();
        let config = Config::classic("payments").consecutive_failures(10).probes(2).clock(clock.clone()).build();
        (Circuit::new(config.unwrap()), clock)
    };
    fail(&circuit, 9);
    assert_eq!(state(&circuit), State::Closed);
    probe(&circuit, &clock).success();
    assert_eq!(state(&circuit), State::HalfOpen);
    succeed(&circuit, 1);
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn the_classic_score_opens_at_ten_within_a_minute_despite_successes() {
    let clock = MockClock::new();
    let circuit = Circuit::new(Config::classic_score("payments").clock(clock.clone()).build().unwrap());
    for _ in 0..9 {
        fail(&circuit, 1);
        succeed(&circuit, 100);
        clock.advance(secs(5));
    }
    time_out(&circuit, 1);
    assert_eq!(state(&circuit), State::Closed, "9.5 in 45 s");
    time_out(&circuit, 1);
    assert_eq!(why(&circuit), Reason::FailureScore { score: 10.0, limit: 10.0, calls: 911 });
    assert_eq!(last(&circuit).lasts, Some(secs(60)));

    clock.advance(secs(60));
    succeed(&circuit, 1);
    fail(&circuit, 9);
    clock.advance(secs(60));
    fail(&circuit, 9);
    assert_eq!(state(&circuit), State::Closed, "nine a minute");
}
