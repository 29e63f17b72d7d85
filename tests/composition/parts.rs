//! What the tests are made of: circuits whose numbers are known, and services that do what the request asks of them.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use tower::Service;
use tower_circuit_breaker::clock::Clock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{By, Reason};
use tower_circuit_breaker::{BoxError, Circuit, Config, Failure, Outcome, Permit, Rejected, State};

/// Five failures in a row open it for 60 s, one probe at a time, the first success closes it.
pub(crate) fn settings(clock: &(impl Clock + Clone)) -> ConfigBuilder {
    Config::classic("payments").clock(clock.clone())
}

pub(crate) fn circuit(clock: &(impl Clock + Clone)) -> Circuit {
    Circuit::new(settings(clock).build().unwrap())
}

pub(crate) fn trip(circuit: &Circuit) {
    for _ in until_open(circuit) {
        circuit.try_acquire().unwrap().failure(Failure::hard());
    }
    assert_eq!(state(circuit), State::Open);
}

/// Goes on while the circuit is closed, though not for ever: a test that fails must end.
pub(crate) fn until_open(circuit: &Circuit) -> impl Iterator<Item = usize> {
    (0..1_000).take_while(|_| state(circuit) == State::Closed)
}

/// Takes the one probe of a circuit that is past its deadline.
pub(crate) fn take_probe(circuit: &Circuit) -> Permit {
    let probe = circuit.try_acquire().unwrap();
    assert!(probe.is_probe(), "past the deadline a permit is a probe");
    probe
}

pub(crate) fn state(circuit: &Circuit) -> State {
    circuit.status().state
}

/// Returns why the circuit became what it is, and the kind of failure that completed the evidence.
pub(crate) fn last_edge(circuit: &Circuit) -> (Reason, Option<FailureKind>) {
    let edge = circuit.status().transitions.pop().expect("there was a transition");
    (edge.reason, edge.failure)
}

pub(crate) fn operator() -> By {
    By::new("ops", "a test").unwrap()
}

/// What a request asks of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    Succeed,
    Fail,
    /// To take too long, and say so.
    TimeOut,
    Hang,
    Panic,
}

/// The service itself, for `service_fn`.
pub(crate) async fn obey(ask: Ask) -> Result<&'static str, io::Error> {
    match ask {
        Ask::Succeed => Ok("done"),
        Ask::Fail => Err(io::ErrorKind::ConnectionRefused.into()),
        Ask::TimeOut => Err(io::ErrorKind::TimedOut.into()),
        Ask::Hang => pending().await,
        Ask::Panic => panic!("as asked"),
    }
}

/// A service that takes tower at its word: called without having been polled ready, it panics.
#[derive(Debug, Default)]
pub(crate) struct Strict {
    ready: bool,
    pub(crate) polls: Count,
    pub(crate) calls: Count,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, polls: self.polls.clone(), calls: self.calls.clone() }
    }
}

impl Service<Ask> for Strict {
    type Response = &'static str;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<&'static str, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.polls.add();
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        self.calls.add();
        Box::pin(obey(ask))
    }
}

/// An error of the user's own, with a source.
#[derive(Debug)]
pub(crate) struct Wrapped(pub(crate) BoxError);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client failed")
    }
}

impl StdError for Wrapped {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.as_ref())
    }
}

/// A count that a test shares with the services it counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<Number>);

#[expect(clippy::disallowed_types, reason = "a number of the tests' own, no part of what loom looks at")]
type Number = std::sync::atomic::AtomicUsize;

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Polls a service ready, as a task that nobody wakes.
pub(crate) fn poll_ready<S: Service<Ask>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future once and keeps it.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

/// Makes a whole call: ready, call, and one poll. What is pending then is dropped.
pub(crate) fn ask<S: Service<Ask>>(service: &mut S, ask: Ask) -> Option<Result<S::Response, S::Error>>
where
    S::Error: fmt::Debug,
{
    assert!(matches!(poll_ready(service), Poll::Ready(Ok(()))), "the service is ready");
    service.call(ask).now_or_never()
}

/// Returns the rejection that a call was answered with.
pub(crate) fn rejection<T: fmt::Debug>(answer: Option<Result<T, BoxError>>) -> Rejected {
    let error = answer.expect("a rejection is not waited for").unwrap_err();
    Rejected::find(error.as_ref()).expect("it is a rejection").clone()
}

pub(crate) const SUCCESS: Outcome = Outcome::Success;
pub(crate) const HARD: Outcome = Outcome::failure();
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
