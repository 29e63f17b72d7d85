//! What the tracing observer tells a subscriber.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ::tracing::Level;
use tower_circuit_breaker::operation::What;

use super::lines::{Line, Lines};
use super::*;

fn lines(act: impl FnOnce()) -> Vec<Line> {
    lines_of("circuit_breaker", act)
}

fn lines_of(target: &'static str, act: impl FnOnce()) -> Vec<Line> {
    let lines = Lines::of(target);
    act();
    lines.take()
}

/// The one line that was written.
#[track_caller]
fn line(act: impl FnOnce()) -> Line {
    let mut lines = lines(act);
    assert_eq!(lines.len(), 1, "one line is written: {lines:#?}");
    lines.remove(0)
}

#[test]
fn nothing_is_logged_below_the_threshold() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let lines = lines(|| {
        fail(&circuit, 4);
        succeed(&circuit);
        fail(&circuit, 4);
        drop(circuit.try_acquire());
        circuit.refresh_metrics();
    });
    assert!(lines.is_empty(), "{lines:#?}");
}

#[cfg(feature = "http")]
#[test]
fn a_classifier_of_responses_warns_once_of_an_error_that_it_cannot_look_into() {
    use tower_circuit_breaker::classify::{Classifier, HttpClassifier};

    struct ShopError;

    let lines = lines(|| {
        for _ in 0..3 {
            let result: Result<&::http::Response<()>, _> = Err(&ShopError);
            let outcome = Classifier::<(), _, _>::finish(&HttpClassifier::new(), (), result, Duration::ZERO);
            assert_eq!(outcome, Failure::hard().into());
        }
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0].level, Level::WARN);
    assert!(lines[0].message().contains("ShopError`, so that each of its errors is a hard failure"), "{lines:#?}");
}

#[test]
fn an_opening_is_one_warning_with_the_numbers() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let line = line(|| fail(&circuit, 5));
    assert_eq!(line.level, Level::WARN);
    assert_eq!(
        line.message(),
        "circuit `payments` opened: failures in a row weighed 5.0, the limit is 5.0, last a failure of kind error; \
         probing in 5 s"
    );
    for (field, value) in [
        ("service", "payments"),
        ("from", "closed"),
        ("to", "open"),
        ("reason", "consecutive_failures"),
        ("failure", "error"),
        ("attempt", "1"),
        ("era", "2"),
    ] {
        assert_eq!(line.field(field), value, "{field}");
    }
    for field in ["calls", "score", "rejected", "generation"] {
        assert!(!line.field(field).is_empty(), "{field} is there");
    }
}

#[test]
fn recovery_is_information_and_has_its_duration() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    fail(&circuit, 5);
    reject(&circuit);
    reject(&circuit);
    clock.advance(Duration::from_secs(7));
    let half_open = line(|| drop(circuit.try_acquire()));
    assert_eq!(half_open.level, Level::INFO);
    assert_eq!(
        half_open.message(),
        "circuit `payments` is half-open: it was open for 7 s; 2 calls were rejected meanwhile"
    );
    clock.advance(Duration::from_millis(1_500));
    let closed = line(|| succeed(&circuit));
    assert_eq!(closed.level, Level::INFO);
    assert_eq!(
        closed.message(),
        "circuit `payments` closed: 1 probe succeeded within 1.5 s; 2 calls were rejected since the trip"
    );
}

#[test]
fn a_reopening_is_a_warning_too() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    fail(&circuit, 5);
    clock.advance(SECONDS_5);
    drop(circuit.try_acquire());
    let line = line(|| fail(&circuit, 1));
    assert_eq!(line.level, Level::WARN);
    assert_eq!(
        line.message(),
        "circuit `payments` reopened: a probe failed, last a failure of kind error; probing in 5 s"
    );
    assert_eq!(line.field("attempt"), "2");
}

#[test]
fn a_hold_is_logged_with_its_user_and_its_duration() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let forced = line(|| drop(circuit.trip(&somebody(), Some(Duration::from_secs(90)))));
    assert_eq!(forced.level, Level::WARN, "calls begin to be rejected");
    assert_eq!(
        forced.message(),
        "circuit `payments` was forced open: tripped by alice: maintenance; it stays so for 90 s"
    );
    let disabled = line(|| drop(circuit.disable(&somebody(), None)));
    assert_eq!(disabled.level, Level::INFO);
    assert_eq!(
        disabled.message(),
        "circuit `payments` is disabled: disabled by alice: maintenance; it stays so until an operator ends it"
    );
}

#[test]
fn in_shadow_an_opening_is_information() {
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).shadow().build().expect("the settings can work"));
    let line = line(|| fail(&circuit, 7));
    assert_eq!(line.level, Level::INFO, "no call is rejected");
    assert!(line.message().starts_with("circuit `payments` (shadow) opened: "), "{}", line.message());
}

#[test]
fn the_rejections_of_a_limit_are_a_summary_without_a_probe() {
    let clock = MockClock::new();
    let config = settings(&clock).ramp(Duration::from_secs(30));
    let circuit = Circuit::new(config.build().expect("the settings can work"));
    fail(&circuit, 5);
    clock.advance(Duration::from_secs(60));
    circuit.try_acquire().expect("one probe closes it").success();
    let lines = lines(|| {
        for _ in 0..3_000 {
            clock.advance(Duration::from_millis(10));
            drop(circuit.try_acquire().map(tower_circuit_breaker::Permit::ignore));
        }
    });
    assert_eq!(lines.len(), 2, "a ramp of thirty seconds: {lines:#?}");
    for line in lines {
        let message = line.message();
        assert!(
            message.starts_with("circuit `payments` is rejecting: ") && message.contains(" calls in 10"),
            "{message}"
        );
    }
}

#[test]
fn rejections_are_a_summary_not_a_line_each() {
    let clock = MockClock::new();
    let config = settings(&clock).open_for(OpenDuration::fixed(Duration::from_secs(60)));
    let circuit = Circuit::new(config.build().expect("the settings can work"));
    fail(&circuit, 5);
    let lines = lines(|| {
        for _ in 0..3_000 {
            clock.advance(Duration::from_millis(10));
            reject(&circuit);
        }
    });
    assert_eq!(lines.len(), 3, "thirty seconds of rejections: {lines:#?}");
    let first = &lines[0];
    assert_eq!(first.level, Level::WARN);
    assert_eq!(first.message(), "circuit `payments` is rejecting: 1000 calls in 10 s; probing in 50 s");
    assert_eq!((first.field("service"), first.field("rejected")), ("payments", "1000"));
}

#[test]
#[cfg(feature = "load-shed")]
fn begin_and_end_of_shedding_are_logged_at_most_every_ten_seconds() {
    use std::sync::{Arc, RwLock};

    use tower::{Layer, Service, service_fn};
    use tower_circuit_breaker::shed::LoadSheddingLayer;

    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let load = Arc::new(RwLock::new(0.5));
    let probe = Arc::clone(&load);
    let layer = LoadSheddingLayer::new(&circuit, move || *probe.read().expect("nobody panics with it")).build();
    let service = layer.expect("the settings can work").layer(service_fn(async |_: ()| Ok::<(), std::io::Error>(())));
    let look = |now: f64| {
        clock.advance(Duration::from_secs(1));
        *load.write().expect("nobody panics with it") = now;
        // The call itself does not matter.
        drop(service.clone().call(()));
    };
    assert!(lines(|| look(0.5)).is_empty());
    let began = line(|| look(0.91));
    assert_eq!(began.message(), "circuit `payments` sheds heavy operations: the system's load is 91 %");
    assert_eq!((began.level, began.field("service"), began.field("load")), (Level::WARN, "payments", "0.91"));
    // It flutters: not a line each.
    assert!(lines(|| [0.5, 0.95, 0.95, 0.5, 0.95, 0.5, 0.5, 0.5].map(look).into_iter().for_each(drop)).is_empty());
    let ended = line(|| [0.4, 0.5, 0.6].map(look).into_iter().for_each(drop));
    assert_eq!(ended.message(), "circuit `payments` sheds nothing any more: the system's load is 50 %");
    assert_eq!(ended.level, Level::INFO);
    assert!(lines(|| look(0.5)).is_empty());
}

#[test]
fn the_audit_log_has_its_own_target_and_quotes_texts_of_people() {
    let clock = MockClock::new();
    let registry = Registry::new();
    let circuit = registry.circuit(settings(&clock).build().expect("the settings can work")).expect("there is room");
    let mallory = By::new("mallory\" action=\"reset", "said \"so\"").expect("neither is blank");
    let lines = lines_of("circuit_breaker::audit", || {
        fail(&circuit, 5);
        circuit.trip(&mallory, None);
    });
    assert_eq!(lines.len(), 1, "the opening is a line of the circuit and no act: {lines:#?}");
    let line = &lines[0];
    assert_eq!(line.message(), r#"audit: trip of `payments` by "mallory\" action=\"reset": "said \"so\"""#);
    for (field, value) in [
        ("service", "payments"),
        ("action", "trip"),
        ("user", mallory.user()),
        ("reason", mallory.reason()),
        ("generation", "0"),
    ] {
        assert_eq!(line.field(field), value, "{field}");
    }
}

#[test]
fn a_transition_of_a_registered_circuit_is_one_line_of_any_target() {
    let clock = MockClock::new();
    let registry = Registry::new();
    let mut news = registry.subscribe();
    let circuit = registry.circuit(settings(&clock).build().expect("the settings can work")).expect("there is room");
    let transitions = || {
        fail(&circuit, 5);
        clock.advance(SECONDS_5);
        circuit.try_acquire().expect("it probes").success();
    };
    let lines = Lines::of_each_target();
    transitions();
    let lines = lines.take();
    let said: Vec<_> = lines.iter().map(Line::message).collect();
    assert_eq!(said.len(), 3, "opened, half-open, closed: {said:#?}");
    drop(circuit);
    drop(registry);
    let mut reported = 0;
    let context = &mut Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(one)) = pin!(news.next()).as_mut().poll(context) {
        reported += usize::from(matches!(one.what, What::Transition(_)));
    }
    assert_eq!(reported, 3, "and one event each for subscribers");
}
