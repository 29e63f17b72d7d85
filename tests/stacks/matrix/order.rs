//! The reason for each place in the recommended order, in numbers. Time is tokio's, and paused.

use std::future::pending;
use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::limit::ConcurrencyLimitLayer;
use tower::retry::RetryLayer;
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::retry::{RetryPolicy, RetryPolicyBuilder};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Outcome, Rejected, State};

#[tokio::test(start_paused = true)]
async fn a_total_deadline_outside_the_retries_bounds_the_wait_of_callers() {
    let waited = async |deadline: Duration| {
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(deadline))
            .layer(RetryLayer::new(retries().build().unwrap()))
            .layer(CircuitBreakerLayer::new(&circuit()))
            .layer(TimeoutLayer::new(2 * SECOND))
            .service(service_fn(|()| pending::<Result<(), io::Error>>()));
        let began = now();
        let error = service.oneshot(()).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
        began.elapsed()
    };
    assert_eq!(waited(3 * SECOND).await, 3 * SECOND);
    assert_eq!(
        waited(3_600 * SECOND).await,
        6 * SECOND + 300 * MS,
        "three attempts of 2 s, and the waits between them"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_per_attempt_one_hang_takes_the_whole_deadline() {
    let one_hang = Server::new(|calls| if calls == 1 { Answer::Hang } else { Answer::Ok });
    let layers = || (TimeoutLayer::new(6 * SECOND), RetryLayer::new(retries().build().unwrap()));
    let circuit = circuit();
    let breaker = || CircuitBreakerLayer::new(&circuit);

    let began = now();
    let per_attempt = (layers(), breaker(), TimeoutLayer::new(2 * SECOND)).layer(one_hang.service());
    per_attempt.oneshot(()).await.unwrap();
    assert_eq!((one_hang.calls(), began.elapsed()), (2, 2 * SECOND + 100 * MS), "answered by the second attempt");

    let (one_hang, began) = (one_hang.again(), now());
    assert!((layers(), breaker()).layer(one_hang.service()).oneshot(()).await.unwrap_err().is::<Elapsed>());
    assert_eq!((one_hang.calls(), began.elapsed()), (1, 6 * SECOND), "there was no second attempt");
}

#[tokio::test(start_paused = true)]
async fn a_hang_counts_at_any_timeout_inside_and_at_late_timeouts_outside() {
    // Of 100 calls to a service that hangs: what reaches it. `cancelled_counts_after` is 1 s.
    for (inside, timeout, reached) in [
        (true, 100 * MS, 10),
        (true, 900 * MS, 10),
        (true, 1_100 * MS, 10),
        (false, 100 * MS, 100),
        (false, 900 * MS, 100),
        (false, 1_100 * MS, 10),
    ] {
        let (circuit, hanging) = (circuit(), Server::new(|_| Answer::Hang));
        let (breaker, limit) = (CircuitBreakerLayer::new(&circuit), TimeoutLayer::new(timeout));
        let service = hanging.service();
        let mut service =
            if inside { (breaker, limit).layer(service).boxed() } else { (limit, breaker).layer(service).boxed() };
        for _ in 0..100 {
            assert!(service.ready().await.unwrap().call(()).await.is_err());
        }
        let learnt = circuit.status().state == State::Open;
        assert_eq!((hanging.calls(), learnt), (reached, reached < 100), "{timeout:?}, inside: {inside}");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_that_do_not_know_rejections_cost_all_attempts_and_waits() {
    // Twenty calls of up to ten attempts to a service that is down: five open the circuit.
    let every_failure = |result: Result<&(), &BoxError>| result.map_or(Outcome::failure(), |()| Outcome::Success);
    let down = || Server::new(|_| Answer::Err);
    let measured = async |service: Stack| {
        let (mut service, began) = (service, now());
        for _ in 0..20 {
            assert!(service.ready().await.unwrap().call(()).await.is_err());
        }
        began.elapsed()
    };
    let (knowing, server) = (circuit(), down());
    let policy = retries().attempts(10).build().unwrap();
    let took = measured((RetryLayer::new(policy), CircuitBreakerLayer::new(&knowing)).layer(server.service()).boxed());
    assert_eq!(took.await, 2_300 * MS, "the first call waits 100, 200, 400 and 800 ms, then 800 ms in vain");
    assert_eq!((server.calls(), knowing.status().totals.rejected), (5, 20));

    let (unknowing, server) = (circuit(), down());
    let policy = retries().attempts(10).classify(every_failure).build().unwrap();
    let policy = policy.find_by(|_: &Result<(), BoxError>| None);
    let took =
        measured((RetryLayer::new(policy), CircuitBreakerLayer::new(&unknowing)).layer(server.service()).boxed());
    let took = took.await;
    assert_eq!(took, 110 * SECOND, "each call goes through all its waits, 5.5 s");
    assert_eq!((server.calls(), unknowing.status().totals.rejected), (6, 194), "one was a probe, after a minute");
}

#[tokio::test(start_paused = true)]
async fn retries_inside_are_not_seen_and_delay_the_opening() {
    let measured = async |inside: bool| {
        let (circuit, server) = (circuit(), Server::new(|_| Answer::Err));
        let retries = RetryLayer::new(retries().build().unwrap());
        let (breaker, client) = (CircuitBreakerLayer::new(&circuit), server.service());
        let mut service =
            if inside { (breaker, retries).layer(client).boxed() } else { (retries, breaker).layer(client).boxed() };
        let began = now();
        for _ in (0..99).take_while(|_| circuit.status().state == State::Closed) {
            assert!(service.ready().await.unwrap().call(()).await.is_err());
        }
        (server.calls(), began.elapsed())
    };
    assert_eq!(
        measured(false).await,
        (5, 600 * MS),
        "three attempts of the first call, two of the second, a wait in vain"
    );
    assert_eq!(measured(true).await, (15, 1_500 * MS), "five calls of three attempts");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_circuit_holds_an_outside_limit() {
    let circuit = circuit();
    for _ in 0..5 {
        circuit.try_acquire().unwrap().failure(tower_circuit_breaker::Failure::hard());
    }
    let waiting = |longest| RetryLayer::new(retries().build().unwrap().wait_for_circuit(longest, 1));
    let up = Server::new(|_| Answer::Ok);
    let stack = |longest| {
        let layers = (ConcurrencyLimitLayer::new(1), waiting(longest), CircuitBreakerLayer::new(&circuit));
        layers.layer(up.service())
    };
    let mut patient = stack(60 * SECOND);
    let mut other = patient.clone();
    let mut waits = Box::pin(patient.ready().await.unwrap().call(()));
    assert!(waits.as_mut().now_or_never().is_none());
    assert!(other.ready().now_or_never().is_none(), "for a minute, nobody else gets as far as being rejected");

    let mut brisk = stack(Duration::ZERO);
    let mut other = brisk.clone();
    for service in [&mut brisk, &mut other] {
        let error = service.ready().await.unwrap().call(()).await.unwrap_err();
        assert!(Rejected::find(error.as_ref()).is_some(), "{error}");
    }
    waits.await.unwrap();
}

type Stack = tower::util::BoxService<(), (), BoxError>;

#[derive(Clone, Copy)]
enum Answer {
    Ok,
    Err,
    Hang,
}

/// A service that answers by the number of the call.
struct Server {
    answer: fn(usize) -> Answer,
    calls: watch::Sender<usize>,
}

impl Server {
    fn new(answer: fn(usize) -> Answer) -> Self {
        Self { answer, calls: watch::Sender::new(0) }
    }

    fn again(&self) -> Self {
        Self::new(self.answer)
    }

    fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    fn service(
        &self,
    ) -> impl Service<(), Response = (), Error = BoxError, Future: Send + 'static> + Clone + Send + use<> {
        let (answer, calls) = (self.answer, self.calls.clone());
        service_fn(move |()| {
            calls.send_modify(|calls| *calls += 1);
            let answer = answer(*calls.borrow());
            async move {
                match answer {
                    Answer::Ok => Ok(()),
                    Answer::Err => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
                    Answer::Hang => pending().await,
                }
            }
        })
    }
}

/// 100 ms, 200 ms, and so on to 800 ms, without jitter, and with more budget than is needed.
fn retries() -> RetryPolicyBuilder {
    RetryPolicy::builder().backoff(100 * MS, 800 * MS).jitter(0.0).min_retries_per_second(1_000)
}

/// Five failures in a row open it for 60 s, the first success closes it.
fn circuit() -> Circuit {
    Circuit::new(Config::classic("orders").clock(TokioClock::new()).build().unwrap())
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the tests measure tokio's paused time")]
    Instant::now()
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
