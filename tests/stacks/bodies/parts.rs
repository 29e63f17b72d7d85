//! A body that does what its script says, the service that gives it, and a classifier that says which of its words was last.

use std::collections::VecDeque;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::body::TrackedBodies;
use tower_circuit_breaker::classify::{BodyClassifier, Classifier, outcome_of};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Failure, Outcome, State};

/// What a body does at one poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Data(&'static str),
    /// Trailers with that `grpc-status`.
    Trailers(&'static str),
    Pending,
    Fail(io::ErrorKind),
    Panic,
}

/// A body that takes one step at each poll.
#[derive(Debug, Default)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    /// Whether it says so when nothing follows.
    knows_its_end: bool,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), knows_its_end: false }
    }

    pub(crate) fn that_knows_its_end(self) -> Self {
        Self { knows_its_end: true, ..self }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(step) = self.steps.pop_front() else { return Poll::Ready(None) };
        match step {
            Step::Data(data) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data.as_bytes()))))),
            Step::Trailers(status) => {
                let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static(status));
                Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::from_iter([status])))))
            }
            Step::Pending => Poll::Pending,
            Step::Fail(kind) => Poll::Ready(Some(Err(kind.into()))),
            Step::Panic => panic!("as the script says"),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let length = |step: &Step| if let Step::Data(data) = step { data.len() } else { 0 };
        SizeHint::with_exact(self.steps.iter().map(length).sum::<usize>() as u64)
    }
}

/// What a request brings along for its answer.
pub(crate) type Reply = Result<Response<Script>, io::Error>;

/// Judges a body by its trailers, and says who had the last word.
#[derive(Debug, Clone)]
pub(crate) struct Judge(pub(crate) Sender<Word>);

/// Who had the last word, after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Finish,
    Head,
    End(Duration),
    EndWithTrailers,
    BodyError,
    Cancelled(Duration),
    Panicked,
}

impl Judge {
    fn says(&self, word: Word) {
        self.0.send(word).ok();
    }
}

impl<A, Res> Classifier<Request<A>, Res, io::Error> for Judge {
    const NEEDS_ELAPSED: bool = true;
    /// Whether a body that is dropped is a failure.
    type Call = bool;

    fn start(&self, request: &Request<A>) -> bool {
        request.headers().contains_key("must-be-read")
    }

    fn finish(&self, _: bool, result: Result<&Res, &io::Error>, _: Duration) -> Outcome {
        self.says(Word::Finish);
        result.map_or_else(|error| outcome_of(error), |_| Outcome::Success)
    }

    fn cancelled(&self, must_be_read: bool, elapsed: Duration) -> Option<Outcome> {
        self.says(Word::Cancelled(elapsed));
        must_be_read.then(Outcome::failure)
    }

    fn panicked(&self, _: bool) -> Outcome {
        self.says(Word::Panicked);
        Outcome::failure()
    }
}

impl<A> BodyClassifier<Request<A>, Script, io::Error> for Judge {
    fn head(&self, _: &mut bool, response: &Response<Script>, _: Duration) -> Option<Outcome> {
        let outcome = match response.status().as_u16() {
            599 => panic!("as the script says"),
            500.. => Outcome::failure(),
            400..500 => Outcome::Success,
            _ => return None,
        };
        self.says(Word::Head);
        Some(outcome)
    }

    fn end(&self, _: bool, trailers: Option<&HeaderMap>, elapsed: Duration) -> Outcome {
        self.says(if trailers.is_some() { Word::EndWithTrailers } else { Word::End(elapsed) });
        match trailers.map(|trailers| &trailers["grpc-status"]) {
            Some(status) if status != "0" => Outcome::failure(),
            _ => Outcome::Success,
        }
    }

    fn body_error(&self, _: bool, error: &io::Error, _: Duration) -> Outcome {
        self.says(Word::BodyError);
        outcome_of(error)
    }
}

pub(crate) type Inner = tower::util::ServiceFn<fn(Request<Reply>) -> Ready<Reply>>;

pub(crate) fn settings(clock: &MockClock) -> ConfigBuilder {
    Config::classic("payments").clock(clock.clone())
}

pub(crate) fn circuit(clock: &MockClock) -> Circuit {
    Circuit::new(settings(clock).build().unwrap())
}

/// A service that gives the reply its request asks for.
pub(crate) fn service(circuit: &Circuit, judge: &Sender<Word>) -> TrackedBodies<Inner, Judge> {
    let obey: fn(Request<Reply>) -> Ready<Reply> = |request| ready(request.into_body());
    CircuitBreakerLayer::new(circuit).classifier(Judge(judge.clone())).tracked_bodies().layer(service_fn(obey))
}

pub(crate) fn ok(steps: impl IntoIterator<Item = Step>) -> Request<Reply> {
    Request::new(Ok(Response::new(Script::new(steps))))
}

/// Makes a call whose head is there at once.
pub(crate) fn head<S, A>(service: &mut S, request: Request<A>) -> S::Response
where
    S: Service<Request<A>>,
    S::Error: std::fmt::Debug,
{
    let context = &mut Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(context), Poll::Ready(Ok(()))), "the service is ready");
    match pin!(service.call(request)).poll(context) {
        Poll::Ready(response) => response.unwrap(),
        Poll::Pending => unreachable!("the head is there"),
    }
}

pub(crate) type Framed<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

/// Polls the body once.
pub(crate) fn frame<B: Body + Unpin>(body: &mut B) -> Poll<Option<Framed<B>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// Polls the body until it has ended or failed, over what it is not ready for.
pub(crate) fn read<B: Body + Unpin>(body: &mut B) {
    while !matches!(frame(body), Poll::Ready(None | Some(Err(_)))) {}
}

/// Successes, failures, cancelled.
pub(crate) fn counted(circuit: &Circuit) -> (u64, u64, u64) {
    let totals = circuit.totals();
    (totals.successes, totals.failures, totals.cancelled)
}

pub(crate) fn trip(circuit: &Circuit) {
    for _ in 0..5 {
        circuit.try_acquire().unwrap().failure(Failure::hard());
    }
    assert_eq!(circuit.status().state, State::Open);
}

pub(crate) const SUCCESS: (u64, u64, u64) = (1, 0, 0);
pub(crate) const FAILURE: (u64, u64, u64) = (0, 1, 0);
pub(crate) const CANCELLED: (u64, u64, u64) = (0, 0, 1);
pub(crate) const UNTOLD: (u64, u64, u64) = (0, 0, 0);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const TICK: Duration = Duration::from_nanos(1);
