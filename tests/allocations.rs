//! What a circuit takes of the heap: nothing for a call, little for itself.
//!
//! A binary of its own, because `allocation_counter` brings a global allocator. It counts by thread, so that tests may run side
//! by side. Long, because the allocator makes one binary of all. All runs with the shipped observers, where their features are on, and without a recorder or subscriber.
//!
//! The file is longer than others, because the global allocator needs a binary of its own.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

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
    let probe = circuit.try_acquire().expect("half-open");
    assert!(probe.is_probe());
    // Not dropped, because a probe without a verdict makes room for another.
    probe.success();
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
        allocates_nothing(name, || circuit.try_acquire().expect("closed").cancel());
        allocates_nothing(name, || {
            let Poll::Ready(permit) = pin!(circuit.acquire()).poll(&mut Context::from_waker(Waker::noop())) else {
                unreachable!("closed")
            };
            permit.success();
        });
        allocates_nothing(name, || assert!(circuit.would_admit() && !circuit.is_open() && !circuit.is_tripped()));
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
fn a_failure_that_opens_no_circuit_allocates_no_text_for_its_error() {
    let (circuit, _) = rig(|settings| settings.without_failure_rate().without_consecutive_failures());
    allocates_nothing("an error of the system", || {
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        circuit.call_blocking(|| Err::<(), _>(error)).expect_err("it fails");
    });
    allocates_nothing("a text of the caller", || {
        circuit.try_acquire().expect("closed").failure_because(Failure::hard(), &"the table is gone");
    });
}

#[cfg(feature = "http")]
#[test]
fn judging_a_response_allocates_nothing() {
    use http::{HeaderValue, Request, Response, StatusCode, header};
    use tower_circuit_breaker::classify::HttpClassifier;

    let date = "Sun, 06 Nov 1994 08:50:07 GMT";
    let overridden = || HttpClassifier::new().status(StatusCode::NOT_FOUND, Failure::hard());
    for (name, status, classifier) in [
        ("a success", StatusCode::OK, HttpClassifier::new()),
        ("a success, with overrides", StatusCode::OK, overridden()),
        ("a failure with a Retry-After", StatusCode::SERVICE_UNAVAILABLE, HttpClassifier::new()),
        ("an override with a Retry-After", StatusCode::NOT_FOUND, overridden()),
    ] {
        // Without the metrics: to them `http_503` is a kind like those of users, registered at each failure.
        let settings = |settings: ConfigBuilder| settings.without_shipped_observers().without_failure_rate();
        let (circuit, _) = rig(|config| settings(config).consecutive_failures(10_000));
        // Its headers are made before: a header map allocates.
        let mut answers: Vec<Response<()>> = (0..=1_000).map(|_| Response::new(())).collect();
        for answer in &mut answers {
            *answer.status_mut() = status;
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(date));
        }
        let answer = move |_: Request<()>| ready(Ok::<_, io::Error>(answers.pop().expect("one for each call")));
        let layer = CircuitBreakerLayer::new(&circuit).classifier(classifier).typed_errors();
        let mut service = layer.layer(service_fn(answer));
        let mut judged = Vec::with_capacity(1_001);
        allocates_nothing(name, || {
            let context = &mut Context::from_waker(Waker::noop());
            assert!(service.poll_ready(context).is_ready());
            let Poll::Ready(Ok(response)) = pin!(service.call(Request::new(()))).poll(context) else {
                unreachable!("the inner future is ready")
            };
            // Kept, so that freeing its headers is not counted either.
            judged.push(response);
        });
        assert_eq!(judged.len(), 1_001);
    }
}

#[test]
fn a_probe_allocates_nothing() {
    let circuit = half_open();
    allocates_nothing("a permit", || circuit.try_acquire().expect("half-open").success());
    let circuit = half_open();
    let mut call = call_through(&circuit, false);
    allocates_nothing("a service", || assert!(call().is_ok()));
    assert_eq!(
        (circuit.status().state, circuit.status().probes.successes),
        (State::HalfOpen, 1_002),
        "with the first probe"
    );
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

#[cfg(feature = "http")]
#[test]
fn a_tracked_body_allocates_nothing_for_calls_and_frames() {
    use std::pin::Pin;

    use http::{HeaderMap, Request, Response};
    use http_body::{Body, Frame};

    /// A thousand frames, each waited for once, and trailers that take no heap.
    struct Frames(u32);

    impl Body for Frames {
        type Data = &'static [u8];
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Self::Data>>>> {
            self.0 += 1;
            match self.0 {
                odd if odd % 2 == 1 && odd < 2_000 => Poll::Pending,
                frame if frame <= 2_000 => Poll::Ready(Some(Ok(Frame::data(b"a frame")))),
                2_001 => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
                _ => Poll::Ready(None),
            }
        }
    }

    type Change = fn(ConfigBuilder) -> ConfigBuilder;
    let settings: [(&str, Change); 2] = [
        ("default", |settings| settings),
        ("slow calls", |settings| settings.slow_call_rate(0.5).slower_than(SECONDS_5)),
    ];
    for (name, change) in settings {
        let (circuit, _) = rig(change);
        let answer = |_: Request<()>| ready(Ok::<_, io::Error>(Response::new(Frames(0))));
        let mut service = CircuitBreakerLayer::new(&circuit).typed_errors().tracked_bodies().layer(service_fn(answer));
        let context = &mut Context::from_waker(Waker::noop());
        let mut frames = 0;
        let mut call = || {
            assert!(matches!(service.poll_ready(context), Poll::Ready(Ok(()))));
            let Poll::Ready(Ok(response)) = pin!(service.call(Request::new(()))).poll(context) else {
                unreachable!("the inner future is ready")
            };
            let mut body = pin!(response.into_body());
            loop {
                match body.as_mut().poll_frame(context) {
                    Poll::Ready(None) => break,
                    Poll::Ready(Some(_)) => frames += 1,
                    Poll::Pending => {}
                }
            }
        };
        allocates_nothing(name, &mut call);
        assert_eq!((frames, circuit.totals().successes), (1_001 * 1_001, 1_001), "{name}");
    }
}

#[cfg(feature = "keyed")]
#[test]
fn a_call_of_a_known_key_allocates_nothing() {
    use std::borrow::Cow;
    use tower_circuit_breaker::{Registry, keyed::Keyed};

    let (registry, clock) = (Registry::new(), MockClock::new());
    let settings = Config::builder("replaced").clock(clock.clone());
    let keyed = Keyed::builder(&registry, move |_| settings.clone()).prefix("host:").max_keys(1_000);
    let keyed = keyed.by(|key: &&'static str| Some(Cow::Borrowed(*key))).expect("the settings can work");
    let inner = service_fn(|_: &'static str| ready(Ok::<_, io::Error>(())));
    let mut service = CircuitBreakerLayer::keyed(keyed).typed_errors().layer(inner);
    // One that is a name, and one that is not.
    for key in ["api.example.com:8443", "no name"] {
        let mut call = || {
            // Each call is stamped anew.
            clock.advance(Duration::from_millis(100));
            let context = &mut Context::from_waker(Waker::noop());
            assert!(service.poll_ready(context).is_ready());
            assert!(pin!(service.call(key)).poll(context).is_ready());
        };
        // A key in use gets its own label once, whose series are registered then.
        (0..10).for_each(|_| call());
        allocates_nothing(key, call);
    }
    assert_eq!(registry.get("host:api.example.com:8443").expect("it is known").totals().successes, 1_011);
}

#[cfg(feature = "keyed")]
#[test]
fn keys_that_come_and_go_take_the_memory_of_the_cap() {
    use std::borrow::Cow;
    use tower_circuit_breaker::{Registry, keyed::Keyed};

    const CAP: i64 = 1_000;
    let registry = Registry::new();
    let settings = Config::builder("replaced");
    let keyed = Keyed::builder(&registry, move |_| settings.clone()).prefix("key:").max_keys(1_000);
    let keyed = keyed.by(|key: &String| Some(Cow::Borrowed(key))).expect("the settings can work");
    let meet = |numbers: std::ops::Range<u32>| {
        for n in numbers {
            keyed.circuit(&n.to_string()).expect("all are at rest").try_acquire().expect("closed").success();
        }
    };
    let first = measure(|| meet(0..1_000)).bytes_current;
    let more = measure(|| meet(1_000..20_000)).bytes_current;
    println!("bytes a keyed circuit: {}, and {more} for 19 000 more keys", first / CAP);
    assert!(first / CAP <= 2_048, "a keyed circuit takes {} bytes", first / CAP);
    assert!(more <= first / 4, "{more} bytes stay behind");
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
fn a_circuit_takes_little_memory() {
    let (default, sharded) = (bytes(|settings| settings), bytes(ConfigBuilder::sharded));
    // A seat for each processor, and one more.
    let seats = i64::try_from(available_parallelism().map_or(2, usize::from).clamp(2, 32) + 1).expect("few");
    let on_8_cores = default + 9 * (sharded - default) / seats;
    println!("bytes a circuit: default {default}, spread over {seats} seats {sharded}, over 9 seats {on_8_cores}");
    assert!(default <= 1_600, "a default circuit takes {default} bytes, promised are 1 600");
    assert!(on_8_cores <= 4_200, "a circuit that is spread on 8 cores takes {on_8_cores} bytes, promised are 4 200");

    let (run, classic) = (bytes(ConfigBuilder::without_failure_rate), bytes(|_| Config::classic("payments")));
    println!("bytes a circuit: the run only {run}, classic {classic}");
    assert!(run <= default && classic <= default, "a window takes room only when something is in it");

    let (circuit, _) = rig(|settings| settings);
    circuit.try_acquire().expect("closed").success();
    let opened = measure(|| open(&circuit)).bytes_current;
    println!("bytes a circuit: {opened} more once it has opened");
    assert!(opened <= 2_650, "its first opening takes {opened} bytes");
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
