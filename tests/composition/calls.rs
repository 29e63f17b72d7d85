//! `Circuit::call`: the breaker beside tower.

use std::future::{Future, pending, poll_fn, ready};
use std::io;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::{BoxError, Circuit, Error, State};

use crate::parts::{Ask, MINUTE, circuit, obey, poll, state, trip};

fn now<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("it does not wait")
}

#[test]
fn a_call_returns_the_result_of_its_future_and_counts_the_outcome() {
    let circuit = circuit(&MockClock::new());
    assert_eq!(now(circuit.call(obey(Ask::Succeed))).unwrap(), "done");
    let error = now(circuit.call(obey(Ask::Fail))).unwrap_err();
    assert_eq!(error.into_inner().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    let error = now(circuit.call(obey(Ask::TimeOut))).unwrap_err();
    assert!(matches!(error, Error::Inner(_)));
    let status = circuit.status();
    assert_eq!((status.totals.successes, status.totals.failures, status.run), (1, 2, 1.5));
}

#[test]
fn an_open_circuit_rejects_without_polling_the_future() {
    let circuit = circuit(&MockClock::new());
    trip(&circuit);
    let never = poll_fn(|_| -> Poll<Result<(), io::Error>> { unreachable!("it must not run") });
    let error = now(circuit.call(never)).unwrap_err();
    assert_eq!(error.rejected().unwrap().retry_after(), Some(MINUTE));
}

#[test]
fn a_permit_is_acquired_at_the_first_poll() {
    let circuit = circuit(&MockClock::new());
    let call = circuit.call(ready(Ok::<_, io::Error>(())));
    trip(&circuit);
    assert!(now(call).unwrap_err().rejected().is_some());
}

#[test]
fn a_call_dropped_before_its_first_poll_has_no_effect() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    trip(&circuit);
    clock.advance(MINUTE);
    drop(circuit.call(obey(Ask::Hang)));
    assert_eq!(state(&circuit), State::Open, "no probe was taken");
    assert_eq!(circuit.status().totals.cancelled, 0);
}

#[test]
fn a_call_dropped_early_is_neutral_and_late_a_timeout() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    for (after, totals) in [(Duration::from_millis(999), (1, 0)), (Duration::from_secs(1), (1, 1))] {
        let mut call = Box::pin(circuit.call(obey(Ask::Hang)));
        assert!(poll(&mut call).is_pending());
        clock.advance(after);
        drop(call);
        let status = circuit.status();
        assert_eq!((status.totals.cancelled, status.totals.failures), totals, "dropped after {after:?}");
    }
}

#[test]
fn a_probe_dropped_early_frees_its_slot() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    trip(&circuit);
    clock.advance(MINUTE);
    let mut call = Box::pin(circuit.call(obey(Ask::Hang)));
    assert!(poll(&mut call).is_pending());
    assert!(now(circuit.call(obey(Ask::Succeed))).is_err(), "the slot is taken");
    drop(call);
    assert!(now(circuit.call(obey(Ask::Succeed))).is_ok());
    assert_eq!(state(&circuit), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_does_not_hide_a_hang() {
    let circuit = circuit(&TokioClock::new());
    for _ in 0..10 {
        let call = circuit.call(pending::<Result<(), io::Error>>());
        assert!(tokio::time::timeout(Duration::from_secs(2), call).await.is_err());
    }
    assert_eq!(state(&circuit), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_weighs_half() {
    let circuit = circuit(&TokioClock::new());
    let hangs = tokio::time::timeout(Duration::from_secs(2), pending::<()>());
    assert!(matches!(circuit.call(hangs).await, Err(Error::Inner(_))));
    let status = circuit.status();
    assert_eq!((status.totals.failures, status.run), (1, 0.5));
}

#[test]
fn a_call_requires_only_an_error_type_that_borrows_nothing() {
    let circuit = circuit(&MockClock::new());
    // Borrowing, neither `Send` nor `Unpin`, with errors that are no errors of std.
    let text = String::from("borrowed");
    let shared = std::rc::Rc::new(());
    let result: Result<&str, Error<()>> = now(circuit.call(async {
        drop(std::rc::Rc::clone(&shared));
        ready(()).await;
        Ok(text.as_str())
    }));
    assert_eq!(result.unwrap(), "borrowed");
    let failed: Result<(), Error<BoxError>> = now(circuit.call(ready(Err("refused".into()))));
    assert!(failed.is_err());
}

#[test]
fn nested_calls_do_not_count_each_others_rejections() {
    let clock = MockClock::new();
    let (outer, inner): (Circuit, Circuit) = (circuit(&clock), circuit(&clock));
    trip(&inner);
    assert!(matches!(now(outer.call(inner.call(obey(Ask::Succeed)))), Err(Error::Inner(Error::Rejected(_)))));
    let totals = outer.status().totals;
    assert_eq!((totals.ignored, totals.failures), (1, 0));
}
