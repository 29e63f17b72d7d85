//! What the breaker adds to a call: closed under each set of rules, rejecting, beside tower, with the settings for recovery,
//! and with observers.

#[path = "harness/calls.rs"]
mod calls;
#[path = "harness/cli.rs"]
mod cli;
#[path = "harness/instant.rs"]
mod instant;
#[path = "harness/rounds.rs"]
mod rounds;

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tower::{Layer, Service};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MonotonicClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::state::{Reason, Snapshot};
use tower_circuit_breaker::{By, Circuit, CircuitBreakerLayer, Config, Failure, Group, OpenDuration, Window};

use calls::{Broken, answer, call_through, inner, poll_to_end};
use cli::{Options, print_table};
use instant::InstantClock;
use rounds::{PRICE_HEADER, Rounds, price_rows};

fn main() {
    let options = Options::from_args();
    let mut rounds = bare();
    closed(&mut rounds);
    rejecting(&mut rounds);
    beside_tower(&mut rounds);
    recovering(&mut rounds);
    observed(&mut rounds, "no recorder");
    print_table(&PRICE_HEADER, &price_rows(&rounds.measure(&options)));
    sizes();

    // Last, because a recorder is there for the rest of the process.
    if cfg!(feature = "metrics") && PrometheusBuilder::new().install_recorder().is_ok() {
        let mut rounds = bare();
        observed(&mut rounds, "Prometheus recorder");
        print_table(&PRICE_HEADER, &price_rows(&rounds.measure(&options)));
    }
}

fn bare() -> Rounds {
    let mut rounds = Rounds::default();
    let mut service = inner(answer);
    rounds.case("bare service_fn", move |calls| call_through(&mut service, calls));
    rounds
}

fn closed(rounds: &mut Rounds) {
    let clock = || InstantClock(MonotonicClock::new());
    for (name, config) in [
        ("run rule only", run_only()),
        ("default rules", plain()),
        ("default rules, Instant clock", plain().clock(clock())),
        ("default rules, slow calls", slow(plain())),
        ("default rules, slow calls, Instant clock", slow(plain()).clock(clock())),
        ("default rules, sharded", plain().sharded()),
        ("run rule only, sharded", run_only().sharded()),
        ("window of 100 calls", plain().window(Window::calls(100))),
        ("score rule", plain().without_failure_rate().without_consecutive_failures().failure_score(10.0)),
        ("durations measured", plain().measure_durations()),
    ] {
        let mut service = layer(&circuit_of(config)).layer(inner(answer));
        rounds.case(name, move |calls| call_through(&mut service, calls));
    }
}

fn rejecting(rounds: &mut Rounds) {
    let mut boxed = layer(&opened()).layer(inner(answer));
    rounds.case("rejected, boxed error", move |calls| call_through(&mut boxed, calls));

    let mut typed = layer(&opened()).typed_errors().layer(inner(answer));
    rounds.case("rejected, typed error", move |calls| call_through(&mut typed, calls));

    // Ready since before it opened, so that admission rejects, not the lack of readiness.
    let circuit = circuit_of(plain());
    let mut ready = layer(&circuit).typed_errors().layer(inner(answer));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(ready.poll_ready(&mut context).is_ready(), "a service_fn always is");
    circuit.trip(&bench(), None);
    rounds.case("rejected, typed error, inner ready", move |calls| call_through(&mut ready, calls));

    let circuit = circuit_of(plain().probe_deadline(HOUR));
    circuit.reset(&bench(), To::HalfOpen);
    let probe = circuit.try_acquire().expect("the first probe is free");
    let mut half_open = layer(&circuit).typed_errors().layer(inner(answer));
    rounds.case("rejected while half-open, typed error", move |calls| {
        assert!(probe.is_probe(), "the slot stays taken");
        call_through(&mut half_open, calls);
    });

    let circuit = opened();
    rounds.case("rejected, try_acquire", move |calls| {
        for _ in 0..calls {
            assert!(std::hint::black_box(circuit.try_acquire()).is_err(), "it is open");
        }
    });
}

fn beside_tower(rounds: &mut Rounds) {
    for (name, config) in [("run rule only", run_only()), ("default rules", plain())] {
        let circuit = circuit_of(config);
        let same = circuit.clone();
        rounds.case(&format!("try_acquire and success, {name}"), move |calls| {
            for _ in 0..calls {
                circuit.try_acquire().expect("it is closed").success();
            }
        });
        rounds.case(&format!("circuit.call, {name}"), move |calls| {
            for request in 0..calls {
                poll_to_end(std::pin::pin!(same.call(answer(std::hint::black_box(request)))));
            }
        });
    }
}

/// The settings for recovery: first while they do nothing, then at work.
fn recovering(rounds: &mut Rounds) {
    let group = Group::new("bench").at_most_open(0.5);
    for (name, config) in [
        ("a ramp is set", plain().ramp(HOUR)),
        ("a throttle is set", plain().throttle(2.0)),
        ("in a group", plain().group(&group)),
    ] {
        let circuit = circuit_of(config);
        rounds.case(&format!("try_acquire and success, {name}"), move |calls| {
            for _ in 0..calls {
                circuit.try_acquire().expect("it is closed").success();
            }
        });
    }

    // In the middle of its ramp: the draw rejects half of the calls.
    let circuit = circuit_of(plain().ramp(HOUR));
    let mut closed = Snapshot::closed();
    closed.closed_for = Some(HOUR / 2);
    circuit.adopt(&closed, Reason::Restored);
    rounds.case("try_acquire, half of a ramp", move |calls| {
        for _ in 0..calls {
            if let Ok(permit) = circuit.try_acquire() {
                permit.success();
            }
        }
    });

    // Three of four calls fail, so that the throttle rejects about half of the calls.
    let circuit = circuit_of(plain().without_consecutive_failures().throttle(2.0));
    let mut number = 0_u32;
    rounds.case("try_acquire, throttled, three of four calls fail", move |calls| {
        for _ in 0..calls {
            number = number.wrapping_add(1);
            match circuit.try_acquire() {
                Ok(permit) if number.is_multiple_of(4) => permit.success(),
                Ok(permit) => permit.failure(Failure::hard()),
                Err(_) => {}
            }
        }
    });

    for (name, config) in [
        ("no rule met", run_only().without_consecutive_failures().failure_score(1e9)),
        ("suppressed by the group", run_only().consecutive_failures(1).group(&full_group())),
    ] {
        let circuit = circuit_of(config);
        rounds.case(&format!("each call fails, {name}"), move |calls| {
            for _ in 0..calls {
                circuit.try_acquire().expect("it stays closed").failure(Failure::hard());
            }
        });
    }
}

/// Returns a group whose only open slot is taken.
fn full_group() -> Group {
    let group = Group::new("full").at_most_open(0.5);
    let open = circuit_of(run_only().consecutive_failures(1).open_for(OpenDuration::fixed(HOUR)).group(&group));
    open.try_acquire().expect("it is closed").failure(Failure::hard());
    // The member keeps its slot until the process ends.
    std::mem::forget(open);
    group
}

/// With the observers that come with the default features.
fn observed(rounds: &mut Rounds, recorder: &str) {
    let config = || Config::builder("bench");
    for (name, config) in [("run rule only", config().without_failure_rate()), ("default rules", config())] {
        let mut service = layer(&circuit_of(config)).layer(inner(answer));
        rounds.case(&format!("{name}, shipped observers, {recorder}"), move |calls| call_through(&mut service, calls));
    }
    let circuit = circuit_of(config());
    circuit.trip(&bench(), None);
    let mut typed = layer(&circuit).typed_errors().layer(inner(answer));
    rounds.case(&format!("rejected, typed error, shipped observers, {recorder}"), move |calls| {
        call_through(&mut typed, calls);
    });
}

fn sizes() {
    let circuit = circuit_of(plain());
    let mut boxed = layer(&circuit).layer(inner(answer));
    let mut typed = layer(&circuit).typed_errors().layer(inner(answer));
    let row = |name: &str, bytes: usize| vec![name.to_owned(), bytes.to_string()];
    let rows = [
        row("inner future", size_of_val(&answer(1))),
        row("its future through the breaker", size_of_val(&boxed.call(1))),
        row("… with typed errors", size_of_val(&typed.call(1))),
        row("service", size_of_val(&boxed)),
        row("Permit", size_of::<tower_circuit_breaker::Permit>()),
        row("Rejected", size_of::<tower_circuit_breaker::Rejected>()),
        row("Result<u64, Error>, typed", size_of::<Result<u64, tower_circuit_breaker::Error<Broken>>>()),
    ];
    print_table(&["size", "bytes"], &rows);
}

fn plain() -> ConfigBuilder {
    Config::builder("bench").without_shipped_observers()
}

fn run_only() -> ConfigBuilder {
    plain().without_failure_rate()
}

fn slow(config: ConfigBuilder) -> ConfigBuilder {
    config.slow_call_rate(0.5).slower_than(Duration::from_secs(1))
}

fn circuit_of(config: ConfigBuilder) -> Circuit {
    Circuit::new(config.build().expect("settings that can work"))
}

fn layer(circuit: &Circuit) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(circuit)
}

/// Opened by its own rule, for longer than any bench takes.
fn opened() -> Circuit {
    let circuit = circuit_of(run_only().open_for(OpenDuration::fixed(HOUR)));
    while let Ok(permit) = circuit.try_acquire() {
        permit.failure(Failure::hard());
    }
    circuit
}

fn bench() -> By {
    By::new("bench", "to see what a rejection costs").expect("a name and a reason")
}

const HOUR: Duration = Duration::from_secs(3600);
