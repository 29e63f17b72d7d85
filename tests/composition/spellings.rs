//! The spellings that come to mind for a call without tower. None counts a failure as nothing or as a success. Spellings that would do
//! so do not compile, see the documentation of `call::Conclusive`.

mod clients;
mod errors;
mod own_errors;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::num::ParseIntError;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;
use tower_circuit_breaker::classify::{Classifier, outcome_of};
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::{BoxError, Circuit, Error, Failure, Outcome, Rejected, State, WithinError};

use crate::parts::{HARD, MINUTE, SUCCESS, circuit, last_edge, settings, state, take_probe, trip, until_open};

const SECOND: Duration = Duration::from_secs(1);

/// A query of a database that is down.
async fn query() -> io::Result<u32> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

async fn answer() -> io::Result<u32> {
    Ok(7)
}

/// Makes calls until the circuit is open, and returns their number.
async fn calls_until_open(circuit: &Circuit, call: impl AsyncFn(&Circuit)) -> usize {
    let mut calls = 0;
    for _ in until_open(circuit) {
        call(circuit).await;
        calls += 1;
    }
    assert_eq!(state(circuit), State::Open, "the failures have opened it");
    assert_eq!(circuit.totals().successes, 0, "a failure is no success");
    calls
}

#[tokio::test]
async fn a_plain_call_counts_its_errors() {
    let circuit = circuit(&MockClock::new());
    assert_eq!(circuit.call(answer()).await.unwrap(), 7);
    assert_eq!(circuit.totals().successes, 1);
    let circuit = crate::parts::circuit(&MockClock::new());
    let calls = calls_until_open(&circuit, async |circuit| assert!(circuit.call(query()).await.is_err())).await;
    assert_eq!(calls, 5);
}

#[tokio::test]
async fn question_marks_inside_a_call_return_from_the_call_only() {
    async fn page(circuit: &Circuit) -> Result<u32, BoxError> {
        let rows = circuit
            .call(async {
                let rows = query().await?;
                let more = answer().await?;
                Ok::<_, io::Error>(rows + more)
            })
            .await?;
        Ok(rows)
    }

    let circuit = circuit(&MockClock::new());
    assert_eq!(calls_until_open(&circuit, async |circuit| assert!(page(circuit).await.is_err())).await, 5);
    assert!(Rejected::find(page(&circuit).await.unwrap_err().as_ref()).is_some());
}

#[tokio::test]
async fn a_permit_judges_a_result_before_the_question_mark() {
    async fn rows(circuit: &Circuit) -> Result<u32, BoxError> {
        let permit = circuit.try_acquire()?;
        let result = query().await;
        Ok(permit.judge(result, |result| result.as_ref().map_or_else(|error| outcome_of(error), |_| SUCCESS))?)
    }

    let circuit = circuit(&MockClock::new());
    assert_eq!(calls_until_open(&circuit, async |circuit| assert!(rows(circuit).await.is_err())).await, 5);
}

/// Nothing can forbid it, so the permit that `?` drops counts by itself.
#[tokio::test]
async fn a_question_mark_under_a_permit_is_no_success_and_not_nothing() {
    async fn rows(circuit: &Circuit) -> Result<u32, BoxError> {
        let permit = circuit.try_acquire()?;
        let rows = query().await?;
        permit.success();
        Ok(rows)
    }

    async fn two_queries(circuit: &Circuit) -> Result<u32, BoxError> {
        let permit = circuit.acquire().await;
        let rows = answer().await?;
        let more = query().await?;
        permit.success();
        Ok(rows + more)
    }

    let circuit = circuit(&MockClock::new());
    assert_eq!(calls_until_open(&circuit, async |circuit| assert!(rows(circuit).await.is_err())).await, 10);
    let circuit = crate::parts::circuit(&MockClock::new());
    assert_eq!(calls_until_open(&circuit, async |circuit| assert!(two_queries(circuit).await.is_err())).await, 10);
    assert_eq!(last_edge(&circuit).1, Some(FailureKind::Named("unrecorded")));
}

fn full() -> io::Error {
    io::Error::other("disk full")
}

/// Makes failing calls until the circuit is open, and returns the text of the last error.
async fn text_of(call: impl AsyncFn(&Circuit)) -> Option<String> {
    let circuit = circuit(&TokioClock::new());
    calls_until_open(&circuit, call).await;
    circuit.status().transitions.last()?.failure_text.as_deref().map(str::to_owned)
}

#[tokio::test(start_paused = true)]
async fn every_spelling_of_a_call_keeps_the_text_of_the_error() {
    let boxed = async || Err::<u32, BoxError>(full().into());
    let texts = [
        text_of(async |circuit| drop(circuit.call(async { Err::<u32, _>(full()) }).await)).await,
        text_of(async |circuit| drop(circuit.call_within(SECOND, boxed()).await)).await,
        text_of(async |circuit| drop(circuit.call_with(|_| HARD, boxed()).await)).await,
        text_of(async |circuit| drop(circuit.call_blocking(|| Err::<u32, _>(full())))).await,
        text_of(async |circuit| drop(circuit.acquire().await.call(async { Err::<u32, _>(full()) }).await)).await,
        text_of(async |circuit| drop(circuit.acquire().await.call_within(SECOND, boxed()).await)).await,
        text_of(async |circuit| {
            let permit = circuit.acquire_blocking(Duration::MAX).unwrap();
            drop(permit.call_blocking(|| Err::<u32, _>(full())));
        })
        .await,
        text_of(async |circuit| circuit.acquire().await.failure_because(Failure::hard(), &full())).await,
    ];
    for (at, text) in texts.iter().enumerate() {
        assert_eq!(text.as_deref(), Some("disk full"), "spelling {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_under_a_permit_ends_like_a_call_of_the_circuit() {
    let circuit = circuit(&TokioClock::new());
    assert_eq!(circuit.acquire().await.call(answer()).await.unwrap(), 7);
    assert_eq!(circuit.acquire().await.call_within(SECOND, answer()).await.unwrap(), 7);
    let late = circuit.acquire().await.call_within(SECOND, pending::<io::Result<u32>>()).await.unwrap_err();
    assert!(matches!(late, WithinError::Elapsed(_)), "{late}");
    let status = circuit.status();
    assert_eq!((status.totals.successes, status.totals.failures, status.run), (2, 1, 0.5));
    // Dropped unpolled and dropped at once: cancelled calls, and not permits without an outcome.
    drop(circuit.acquire().await.call(answer()));
    let mut call = Box::pin(circuit.acquire().await.call(pending::<io::Result<u32>>()));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(call);
    assert_eq!((circuit.totals().cancelled, circuit.totals().failures), (2, 1));
    let panicking = async || -> io::Result<u32> { panic!("as asked") };
    let panics = AssertUnwindSafe(circuit.acquire().await.call(panicking()));
    assert!(panics.catch_unwind().await.is_err());
    assert_eq!((circuit.totals().failures, circuit.status().run), (2, 1.5), "a panic is a hard failure");
}

#[test]
fn a_permit_judges_answers_that_are_no_results() {
    let circuit = circuit(&MockClock::new());
    let found: Option<u32> = None;
    let judge = |found: &Option<u32>| if found.is_some() { SUCCESS } else { HARD };
    assert_eq!(circuit.try_acquire().unwrap().judge(found, judge), None);
    assert_eq!(circuit.try_acquire().unwrap().judge(Some(1), judge), Some(1));
    assert_eq!((circuit.totals().failures, circuit.totals().successes), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_time_counts_the_failure_inside_and_the_timeout() {
    let circuit = circuit(&TokioClock::new());
    let within = async |circuit: &Circuit| {
        let error = circuit.call_within(SECOND, query()).await.unwrap_err();
        assert!(matches!(&error, WithinError::Inner(inner) if inner.kind() == io::ErrorKind::ConnectionRefused));
        assert_eq!(error.to_string(), io::Error::from(io::ErrorKind::ConnectionRefused).to_string());
    };
    assert_eq!(calls_until_open(&circuit, within).await, 5);
    let rejected = circuit.call_within(SECOND, answer()).await.unwrap_err();
    assert_eq!(rejected.rejected().unwrap().retry_after(), Some(MINUTE));

    let circuit = crate::parts::circuit(&TokioClock::new());
    assert_eq!(circuit.call_within(SECOND, answer()).await.unwrap(), 7);
    let error = circuit.call_within(SECOND, pending::<Result<(), io::Error>>()).await.unwrap_err();
    assert!(matches!(error, WithinError::Elapsed(elapsed) if elapsed.limit() == SECOND));
    assert_eq!(error.to_string(), "the call did not end within 1 s");
    assert_eq!((circuit.totals().successes, circuit.totals().failures, circuit.status().run), (1, 1, 0.5));
}

#[tokio::test(start_paused = true)]
async fn a_closure_judges_a_timeout_around_a_query() {
    let judge = |result: Result<&Result<u32, io::Error>, &tokio::time::error::Elapsed>| match result {
        Ok(Ok(_)) => SUCCESS,
        Ok(Err(error)) => outcome_of(error),
        Err(elapsed) => outcome_of(elapsed),
    };
    let circuit = circuit(&TokioClock::new());
    let call = async |circuit: &Circuit| {
        assert!(circuit.call_with(judge, timeout(SECOND, query())).await.unwrap().is_err());
    };
    assert_eq!(calls_until_open(&circuit, call).await, 5);
    let circuit = crate::parts::circuit(&TokioClock::new());
    assert!(circuit.call_with(judge, timeout(SECOND, pending())).await.is_err());
    assert_eq!((circuit.totals().failures, circuit.status().run), (1, 0.5));
}

#[tokio::test]
async fn a_closure_judges_answers_that_are_no_failures() {
    #[derive(Debug, PartialEq)]
    enum DbError {
        NotFound,
        Down,
    }

    let judge = |result: Result<&(), &DbError>| match result {
        Ok(()) | Err(DbError::NotFound) => SUCCESS,
        Err(DbError::Down) => HARD,
    };
    let circuit = circuit(&MockClock::new());
    for _ in 0..100 {
        let error = circuit.call_with(judge, async { Err(DbError::NotFound) }).await.unwrap_err();
        assert_eq!(error.into_inner(), Some(DbError::NotFound), "the caller gets the error all the same");
    }
    assert_eq!((state(&circuit), circuit.totals().successes), (State::Closed, 100));
    for _ in until_open(&circuit) {
        assert!(circuit.call_with(judge, async { Err(DbError::Down) }).await.is_err());
    }
    assert_eq!(circuit.totals().failures, 5);
}

#[tokio::test]
async fn a_call_that_joins_queries_fails_if_one_of_them_fails() {
    let circuit = circuit(&MockClock::new());
    let call = async |circuit: &Circuit| {
        assert!(circuit.call(async { tokio::try_join!(answer(), query()) }).await.is_err());
    };
    assert_eq!(calls_until_open(&circuit, call).await, 5);
}

#[tokio::test]
async fn a_missing_answer_becomes_an_error_inside_the_call() {
    let circuit = circuit(&MockClock::new());
    let call = async |circuit: &Circuit| {
        let found = circuit.call(async { None::<u32>.ok_or("no such item") }).await;
        assert_eq!(found.unwrap_err().into_inner(), Some("no such item"));
    };
    assert_eq!(calls_until_open(&circuit, call).await, 5);
}

#[test]
fn a_thread_calls_without_a_runtime() {
    let circuit = circuit(&MockClock::new());
    assert_eq!(circuit.call_blocking(|| "7".parse::<u32>()).unwrap(), 7);
    let failed: Result<u32, Error<ParseIntError>> = circuit.call_blocking(|| "seven".parse());
    assert!(failed.is_err());
    let panics = AssertUnwindSafe(|| circuit.call_blocking(|| -> Result<(), Infallible> { panic!("as asked") }));
    assert!(std::panic::catch_unwind(panics).is_err());
    let status = circuit.status();
    assert_eq!((status.totals.successes, status.totals.failures, status.run), (1, 2, 2.0));
    trip(&circuit);
    assert!(circuit.call_blocking(|| -> Result<(), Infallible> { unreachable!("it must not run") }).is_err());
}

/// A classifier that weighs the time.
#[derive(Clone)]
struct InTime;

impl Classifier<(), u32, io::Error> for InTime {
    const NEEDS_ELAPSED: bool = true;
    type Call = ();

    fn start(&self, (): &()) {}

    fn finish(&self, (): (), _: Result<&u32, &io::Error>, elapsed: Duration) -> Outcome {
        if elapsed > SECOND { Outcome::timeout() } else { SUCCESS }
    }

    fn cancelled(&self, (): (), _: Duration) -> Option<Outcome> {
        Some(HARD)
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_judges_a_call_its_time_and_its_cancellation() {
    let circuit = circuit(&TokioClock::new());
    assert_eq!(circuit.call_classified(InTime, answer()).await.unwrap(), 7);
    let slow = async {
        tokio::time::sleep(2 * SECOND).await;
        answer().await
    };
    assert_eq!(circuit.call_classified(InTime, slow).await.unwrap(), 7);
    assert!(timeout(SECOND, circuit.call_classified(InTime, pending())).await.is_err());
    let status = circuit.status();
    assert_eq!((status.totals.successes, status.totals.failures, status.run), (1, 2, 1.5));
}

#[tokio::test(start_paused = true)]
async fn every_call_takes_its_permit_at_the_first_poll_and_gives_it_back() {
    fn dropped_after_a_poll<T>(call: impl Future<Output = T>) {
        let mut call = pin!(call);
        assert!(matches!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    }

    let hang = pending::<Result<u32, io::Error>>;
    let circuit = Circuit::new(settings(&TokioClock::new()).probes(2).build().unwrap());
    trip(&circuit);
    tokio::time::advance(MINUTE).await;
    drop(circuit.call_with(|_| SUCCESS, hang()));
    drop(circuit.call_within(SECOND, hang()));
    drop(circuit.call_classified(InTime, hang()));
    assert_eq!((state(&circuit), circuit.totals().cancelled), (State::Open, 0), "nothing has happened");
    dropped_after_a_poll(circuit.call_with(|_| SUCCESS, hang()));
    dropped_after_a_poll(circuit.call_within(SECOND, hang()));
    assert_eq!((state(&circuit), circuit.totals().cancelled), (State::HalfOpen, 2));
    take_probe(&circuit).ignore();
}

#[tokio::test]
async fn a_call_that_panics_is_a_hard_failure_in_every_spelling() {
    async fn panics() -> io::Result<u32> {
        panic!("as asked")
    }

    let circuit = circuit(&MockClock::new());
    for turn in 0..5 {
        let call = async {
            match turn % 3 {
                0 => drop(circuit.call_with(|_| SUCCESS, panics()).await),
                1 => drop(circuit.call_within(MINUTE, panics()).await),
                _ => drop(circuit.call_classified(InTime, panics()).await),
            }
        };
        assert!(AssertUnwindSafe(call).catch_unwind().await.is_err());
    }
    assert_eq!(last_edge(&circuit).1, Some(FailureKind::Panicked));
}
