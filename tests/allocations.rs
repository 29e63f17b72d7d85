//! What a circuit takes of the heap: nothing for a call, little for itself.
//!
//! A binary of its own, because `allocation_counter` brings a global allocator. It counts by thread, so that tests may run side
//! by side. All runs with the shipped observers, where their features are on, and without a recorder or subscriber.

use std::future::{Ready, ready};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread::available_parallelism;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{
    Circuit, CircuitBreakerLayer, Config, Error, Failure, OpenDuration, Outcome, State, Window,
};

/// Asserts that `act` allocates nothing, after a first time that may.
#[track_caller]
fn allocates_nothing(what: &str, mut act: impl FnMut()) {
    act();
    let AllocationInfo { count_total, bytes_total, .. } = measure(|| (0..1_000).for_each(|_| act()));
    assert_eq!((count_total, bytes_total), (0, 0), "{what}: allocations and bytes of a thousand calls");
}

fn rig(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> (Circuit, MockClock) {
    let clock = MockClock::new();
    let settings = Config::builder("payments").clock(clock.clone()).open_for(OpenDuration::fixed(SECONDS_5));
    (Circuit::new(change(settings).build().expect("the settings can work")), clock)
}

fn open(circuit: &Circuit) {
    for _ in 0..5 {
        circuit.try_acquire().expect("closed").failure(Failure::hard());
    }
    assert_eq!(circuit.status().state, State::Open);
}

/// A circuit that stays half-open for the length of a test.
fn half_open() -> Circuit {
    let (circuit, clock) = rig(|settings| settings.probes(10_000));
    open(&circuit);
    clock.advance(SECONDS_5);
    assert!(circuit.try_acquire().expect("half-open").is_probe());
    circuit
}

/// A healthy service, or one that is down, and what its circuit breaker makes of one call.
fn call_through(circuit: &Circuit, down: bool) -> impl FnMut() -> Result<u32, Error<io::ErrorKind>> {
    let answer = move |request: u32| -> Ready<Result<u32, io::ErrorKind>> {
        ready(if down { Err(io::ErrorKind::ConnectionRefused) } else { Ok(request) })
    };
    let mut service = CircuitBreakerLayer::new(circuit).typed_errors().layer(service_fn(answer));
    move || {
        let context = &mut Context::from_waker(Waker::noop());
        assert!(matches!(service.poll_ready(context), Poll::Ready(Ok(()))));
        match pin!(service.call(1)).poll(context) {
            Poll::Ready(result) => result,
            Poll::Pending => unreachable!("the inner future is ready"),
        }
    }
}

#[test]
fn a_call_through_a_closed_circuit_allocates_nothing() {
    type Change = fn(ConfigBuilder) -> ConfigBuilder;
    let settings: [(&str, Change); 6] = [
        ("default", |settings| settings),
        ("the run only", ConfigBuilder::without_failure_rate),
        ("a window of calls", |settings| settings.window(Window::calls(100))),
        ("slow calls", |settings| settings.slow_call_rate(0.5).slower_than(SECONDS_5).measure_durations()),
        ("sharded", ConfigBuilder::sharded),
        ("in shadow", ConfigBuilder::shadow),
    ];
    for (name, change) in settings {
        let (circuit, clock) = rig(change);
        for outcome in [Outcome::Success, Outcome::Ignored] {
            allocates_nothing(name, || circuit.try_acquire().expect("closed").record(outcome));
        }
        allocates_nothing(name, || drop(circuit.try_acquire()));
        allocates_nothing(name, || {
            // One failure in ten, and a window that slides.
            circuit.try_acquire().expect("closed").failure(Failure::timeout());
            (0..9).for_each(|_| circuit.try_acquire().expect("closed").success());
            clock.advance(Duration::from_millis(100));
        });
        let mut call = call_through(&circuit, false);
        allocates_nothing(name, || assert!(call().is_ok()));
        allocates_nothing(name, || {
            let call = pin!(circuit.call(ready(Ok::<_, io::Error>(1))));
            assert!(call.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        });
    }
}

#[test]
fn a_failing_call_allocates_nothing() {
    let (circuit, _) = rig(|settings| settings.without_failure_rate().consecutive_failures(10_000));
    let mut call = call_through(&circuit, true);
    allocates_nothing("a failure", || assert!(matches!(call(), Err(Error::Inner(_)))));
    assert_eq!(circuit.status().run.to_string(), "1001");
}

#[test]
fn a_probe_allocates_nothing() {
    let circuit = half_open();
    allocates_nothing("a permit", || circuit.try_acquire().expect("half-open").success());
    let circuit = half_open();
    let mut call = call_through(&circuit, false);
    allocates_nothing("a service", || assert!(call().is_ok()));
    assert_eq!((circuit.status().state, circuit.status().probes.successes), (State::HalfOpen, 1_001));
}

#[test]
fn a_rejection_allocates_nothing() {
    let (tripped, _) = rig(|settings| settings);
    open(&tripped);
    let half_open = half_open();
    let probe = half_open.try_acquire();
    for (name, circuit) in [("tripped", &tripped), ("half-open", &half_open)] {
        allocates_nothing(name, || assert!(circuit.try_acquire().is_err()));
        let mut call = call_through(circuit, false);
        allocates_nothing(name, || assert!(matches!(call(), Err(Error::Rejected(_)))));
    }
    drop(probe);
}

#[test]
fn applying_the_layer_allocates_nothing() {
    let (circuit, _) = rig(|settings| settings);
    let layer = CircuitBreakerLayer::new(&circuit).typed_errors();
    let inner = service_fn(|request: u32| ready(Ok::<_, io::Error>(request)));
    allocates_nothing("a layer applied for each request", || drop(layer.layer(inner)));
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_allocate_nothing_for_a_call() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    ::metrics::with_local_recorder(&recorder, || {
        let (circuit, _) = rig(ConfigBuilder::without_failure_rate);
        allocates_nothing("a success", || circuit.try_acquire().expect("closed").success());
        allocates_nothing("a failure", || {
            circuit.try_acquire().expect("closed").failure(Failure::hard());
            circuit.try_acquire().expect("closed").success();
        });
        open(&circuit);
        allocates_nothing("a rejection", || assert!(circuit.try_acquire().is_err()));
    });
    assert!(!recorder.snapshotter().snapshot().into_vec().is_empty(), "they did reach the recorder");
}

/// Returns the live bytes of one more circuit, its configuration included, that has seen a healthy call.
fn bytes(change: impl Fn(ConfigBuilder) -> ConfigBuilder) -> i64 {
    let make = || {
        let circuit = Circuit::new(change(Config::builder("payments")).build().expect("the settings can work"));
        circuit.try_acquire().expect("closed").success();
        circuit
    };
    let first = make();
    let mut second = None;
    let bytes = measure(|| second = Some(make())).bytes_current;
    drop((first, second));
    bytes
}

#[test]
fn a_circuit_takes_little() {
    let (default, sharded) = (bytes(|settings| settings), bytes(ConfigBuilder::sharded));
    let shards = i64::try_from(available_parallelism().map_or(2, usize::from).clamp(2, 8)).expect("eight at most");
    // As many shards as it can have, on a machine with more processors than this one.
    let all_shards = default + 7 * (sharded - default) / (shards - 1);
    println!("bytes a circuit: default {default}, with {shards} shards {sharded}, with 8 shards {all_shards}");
    assert!(default <= 1_536, "a default circuit takes {default} bytes, promised are 1.5 KiB");
    assert!(all_shards <= 4_096, "a sharded circuit takes {all_shards} bytes, promised are 4 KiB");

    let (run, classic) = (bytes(ConfigBuilder::without_failure_rate), bytes(|_| Config::classic("payments")));
    println!("bytes a circuit: the run only {run}, classic {classic}");
    assert!(run < default && classic < default, "what has no window takes no room for one");

    let (circuit, _) = rig(|settings| settings);
    circuit.try_acquire().expect("closed").success();
    let opened = measure(|| open(&circuit)).bytes_current;
    println!("bytes a circuit: {opened} more once it has opened");
    assert!(opened <= 2_048, "its first opening takes {opened} bytes");
}

#[test]
fn a_dropped_circuit_leaves_nothing_behind() {
    let left = measure(|| {
        let (circuit, clock) = rig(|settings| settings.probes(1));
        for _ in 0..200 {
            open(&circuit);
            clock.advance(SECONDS_5);
            circuit.try_acquire().expect("half-open").success();
        }
        let rejected = circuit.try_acquire().map(drop);
        drop((circuit.status(), rejected));
    });
    assert_eq!((left.count_current, left.bytes_current), (0, 0), "a circular reference keeps a circuit for ever");
}

const SECONDS_5: Duration = Duration::from_secs(5);
