//! Retries that know rejections. Time is tokio's, and paused: what is waited for is measured to the millisecond.

mod budget;
mod repeated;
mod waiting;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use http::{Method, Request, Response};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tower::load_shed::error::Overloaded;
use tower::retry::budget::{Budget, TpsBudget};
use tower::retry::{Policy, RetryLayer};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::retry::{MayBeRejected, RetryPolicy, RetryPolicyBuilder, idempotent_reqwest};
use tower_circuit_breaker::{By, Circuit, CircuitBreakerLayer, Config, Error, Failure, Outcome, Rejected, State};

#[tokio::test(start_paused = true)]
async fn retries_back_off_to_a_maximum_and_stop_at_the_rejection() {
    let (circuit, server) = (circuit(), Server::down());
    let retries = exact().attempts(99).backoff(MS * 100, MS * 800).build().unwrap();
    let began = now();
    let error = boxed(&circuit, &server, retries).oneshot(()).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some(), "{error}");
    let waited = [0, 100, 300, 700, 1_500].map(|ms| MS * ms);
    assert_eq!(server.asked_at(began), waited, "100, 200, 400, 800 ms, and five open it");
    assert_eq!(began.elapsed(), MS * 2_300, "800 ms at most, and the one rejection is not waited for");
    assert_eq!(circuit.status().totals.rejected, 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_is_called_the_allowed_times_and_its_error_is_returned() {
    for attempts in [1, 2, 3, 4] {
        let (circuit, server) = (circuit(), Server::down());
        let retries = exact().attempts(attempts).build().unwrap();
        let error = boxed(&circuit, &server, retries).oneshot(()).await.unwrap_err();
        assert!(error.is::<io::Error>(), "{error}");
        assert_eq!(server.calls(), attempts as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_on_the_way_is_the_answer() {
    let (circuit, server) = (circuit(), Server::down_for(2));
    boxed(&circuit, &server, exact().build().unwrap()).oneshot(()).await.unwrap();
    assert_eq!(server.calls(), 3);
    assert_eq!(circuit.status().totals.failures, 2, "the breaker inside sees each attempt");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_known_in_errors_responses_and_by_a_closure() {
    let circuit = circuit();
    trip(&circuit);
    let began = now();
    let layer = || CircuitBreakerLayer::new(&circuit);
    let patient = || RetryPolicy::builder().attempts(50).build().unwrap();

    let service = ServiceBuilder::new().layer(RetryLayer::new(patient())).layer(layer());
    let answer = service.service(service_fn(fails)).oneshot(()).await;
    assert!(answer.unwrap_err().is::<Rejected>());
    assert_eq!(circuit.status().totals.rejected, 1);

    let service = ServiceBuilder::new().layer(RetryLayer::new(patient())).layer(layer().typed_errors());
    let answer = service.service(service_fn(fails)).oneshot(()).await;
    assert!(matches!(answer, Err(Error::Rejected(_))));
    assert_eq!(circuit.status().totals.rejected, 2);

    // An error that is no error, a service that never fails: the rejection is a response, which counts as a failure.
    let unavailable = |rejected: Rejected| {
        let mut response = Response::builder().status(503).body(()).unwrap();
        response.extensions_mut().insert(rejected);
        response
    };
    let retries = RetryPolicy::builder().attempts(50).classify(by_status).build().unwrap().in_responses();
    let service = ServiceBuilder::new().layer(RetryLayer::new(retries)).layer(layer().respond_with(unavailable));
    let handled = service_fn(|()| ready(Ok::<_, Infallible>(Response::new(()))));
    assert_eq!(service.service(handled).oneshot(()).await.unwrap().status(), 503);
    assert_eq!(circuit.status().totals.rejected, 3);

    let by_closure =
        patient().find_by(|result: &Result<(), Error<io::Error>>| result.as_ref().err().and_then(Error::rejected));
    let service = ServiceBuilder::new().layer(RetryLayer::new(by_closure)).layer(layer().typed_errors());
    assert!(service.service(service_fn(fails)).oneshot(()).await.unwrap_err().rejected().is_some());
    assert_eq!(circuit.status().totals.rejected, 4);

    assert_eq!(began.elapsed(), Duration::ZERO, "nothing was waited for");
}

#[tokio::test]
async fn a_rejected_connector_is_known_in_the_client_s_own_error() {
    let circuit = circuit();
    trip(&circuit);
    let client = reqwest::Client::builder().connector_layer(CircuitBreakerLayer::new(&circuit)).build().unwrap();
    let retries = RetryPolicy::builder().attempts(50).repeat(idempotent_reqwest).build().unwrap();
    let request = reqwest::Request::new(Method::GET, "http://127.0.0.1:9/".parse().unwrap());
    let error = RetryLayer::new(retries).layer(client).oneshot(request).await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert!(MayBeRejected::rejected(&error).is_some(), "{error:?}");
    assert_eq!(circuit.status().totals.rejected, 1, "and it was not retried");
}

#[tokio::test(start_paused = true)]
async fn retries_wait_for_a_retry_after_up_to_the_maximum() {
    for (asked, calls, waited) in [(0, 2, 100), (1_000, 2, 1_100), (2_000, 2, 2_100), (2_001, 1, 0)] {
        let server = Server::down();
        let retries = exact()
            .attempts(2)
            .classify(move |_: Result<&(), &BoxError>| Failure::hard().with_retry_after(MS * asked).into());
        let began = now();
        let result = boxed(&circuit(), &server, retries.build().unwrap()).oneshot(()).await;
        assert!(result.is_err());
        assert_eq!((server.calls(), began.elapsed()), (calls, MS * waited), "asked for {asked} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn ignored_errors_are_not_retried() {
    let server = Server::up();
    let counted = server.clone();
    let overloaded = service_fn(move |()| {
        counted.count();
        ready(Err::<(), BoxError>(Overloaded::new().into()))
    });
    let service = RetryLayer::new(exact().build().unwrap()).layer(overloaded);
    assert!(service.oneshot(()).await.unwrap_err().is::<Overloaded>());
    assert_eq!(server.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_custom_policy_is_never_queried_about_a_rejection() {
    /// Retries whatever it is asked about, and says so.
    #[derive(Clone)]
    struct Blind(mpsc::UnboundedSender<bool>);

    impl<Res> Policy<(), Res, BoxError> for Blind {
        type Future = Ready<()>;

        fn retry(&mut self, _: &mut (), result: &mut Result<Res, BoxError>) -> Option<Ready<()>> {
            let error = result.as_ref().err()?;
            self.0.send(Rejected::find(error.as_ref()).is_some()).unwrap();
            Some(ready(()))
        }

        fn clone_request(&mut self, (): &()) -> Option<()> {
            Some(())
        }
    }

    let (circuit, server) = (circuit(), Server::down());
    let (tell, mut told) = mpsc::unbounded_channel();
    let error = boxed(&circuit, &server, RetryPolicy::new(Blind(tell.clone()))).oneshot(()).await.unwrap_err();
    assert!(error.is::<Rejected>());
    let about: Vec<bool> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert_eq!(about, [false; 5], "five failures open it, and the rejection is not its business");

    server.go_up();
    let waiting = RetryPolicy::new(Blind(tell)).with_backoff(MS, MS, 0.0).unwrap().wait_for_circuit(MINUTE, 1);
    let began = now();
    boxed(&circuit, &server, waiting).oneshot(()).await.unwrap();
    assert_eq!(began.elapsed(), MINUTE + MS);
}

#[test]
fn settings_that_cannot_work_are_refused_by_name_and_range() {
    let refused = [
        (exact().attempts(0), "attempts is 0, allowed is 1 to 100"),
        (exact().attempts(101), "attempts is 101, allowed is 1 to 100"),
        (exact().backoff(Duration::ZERO, MS), "backoff's first is 0 s, allowed is 1 ms to its max of 1 ms"),
        (exact().backoff(MS * 2, MS), "backoff's first is 2 ms, allowed is 1 ms to its max of 1 ms"),
        (exact().backoff(MS, Duration::MAX), "allowed is 1 ms to 1 hour"),
        (exact().jitter(1.1), "jitter is 1.1, allowed is 0 to 1"),
        (exact().jitter(f64::NAN), "jitter is NaN, allowed is 0 to 1"),
        (exact().retry_ratio(-0.1), "retry_ratio is -0.1, allowed is 0 to 10"),
        (exact().retry_ratio(f32::NAN), "retry_ratio is NaN, allowed is 0 to 10"),
        (exact().min_retries_per_second(u32::MAX), "allowed is 0 to 1000000"),
    ];
    for (settings, message) in refused {
        let error = settings.build().unwrap_err().to_string();
        assert!(error.ends_with(message), "{error}");
    }
    assert!(exact().build().unwrap().with_backoff(MS, MS, 2.0).is_err());
    let widest = exact().attempts(100).backoff(MS, 3_600_000 * MS).jitter(1.0).retry_ratio(10.0);
    assert!(widest.min_retries_per_second(1_000_000).build().is_ok());
}

/// A service that is up or down, and knows when it was called.
#[derive(Clone)]
struct Server {
    /// How many calls it still fails.
    failing: tokio::sync::watch::Sender<usize>,
    asked: tokio::sync::watch::Sender<Vec<Instant>>,
}

impl Server {
    fn down_for(calls: usize) -> Self {
        let (failing, _) = tokio::sync::watch::channel(calls);
        let (asked, _) = tokio::sync::watch::channel(Vec::new());
        Self { failing, asked }
    }

    fn up() -> Self {
        Self::down_for(0)
    }

    fn down() -> Self {
        Self::down_for(usize::MAX)
    }

    fn go_down(&self) {
        self.failing.send_replace(usize::MAX);
    }

    fn go_up(&self) {
        self.failing.send_replace(0);
    }

    fn count(&self) {
        self.asked.send_modify(|asked| asked.push(now()));
    }

    fn calls(&self) -> usize {
        self.asked.borrow().len()
    }

    fn asked_at(&self, began: Instant) -> Vec<Duration> {
        self.asked.borrow().iter().map(|at| at.duration_since(began)).collect()
    }

    async fn answer(self) -> Result<(), io::Error> {
        self.count();
        let left = *self.failing.borrow();
        self.failing.send_replace(left.saturating_sub(1));
        if left > 0 { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }
}

/// The retries outside the breaker, outside the server.
fn boxed<P, F>(
    circuit: &Circuit,
    server: &Server,
    retries: RetryPolicy<P, F>,
) -> impl Service<(), Response = (), Error = BoxError, Future: Send> + Clone + Send + use<P, F>
where
    RetryPolicy<P, F>: Policy<(), (), BoxError, Future: Send> + Clone + Send,
{
    let server = server.clone();
    ServiceBuilder::new()
        .layer(RetryLayer::new(retries))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(service_fn(move |()| server.clone().answer()))
}

/// Without jitter, so that waits are known, and with more budget than is needed.
fn exact() -> RetryPolicyBuilder {
    RetryPolicy::builder().jitter(0.0).min_retries_per_second(1_000)
}

/// Five failures in a row open it for 60 s, the first success closes it.
fn circuit() -> Circuit {
    Circuit::new(Config::classic("payments").clock(TokioClock::new()).build().unwrap())
}

fn never_trips() -> Config {
    Config::builder("payments")
        .clock(TokioClock::new())
        .consecutive_failures(1_000_000)
        .min_calls(1_000_000)
        .build()
        .unwrap()
}

fn trip(circuit: &Circuit) {
    for _ in 0..5 {
        circuit.try_acquire().unwrap().failure(Failure::hard());
    }
    assert_eq!(state(circuit), State::Open);
}

fn state(circuit: &Circuit) -> State {
    circuit.status().state
}

fn operator() -> By {
    By::new("ops", "a test").unwrap()
}

async fn fails((): ()) -> Result<(), io::Error> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

fn by_status(result: Result<&Response<()>, &Infallible>) -> Outcome {
    match result {
        Ok(response) if response.status().is_server_error() => Outcome::failure(),
        Ok(_) => Outcome::Success,
        Err(never) => match *never {},
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the tests measure tokio's paused time")]
    Instant::now()
}

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
