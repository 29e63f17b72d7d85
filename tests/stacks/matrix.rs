//! The matrix of compositions: the same twenty requests to the same broken server, over loopback, through every order of
//! layers; what reaches the server, and what is rejected. [`order`] measures why the order is as it is recommended.

mod order;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::buffer::BufferLayer;
use tower::filter::FilterLayer;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::util::{BoxCloneService, BoxCloneSyncService};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::{FnClassifier, outcome_of};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::retry::RetryPolicy;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Outcome, Rejected, State, WhenOpen};

type Req = Request<Full<Bytes>>;
type Res = Response<Body>;
type Stack = BoxCloneService<Req, Res, BoxError>;
type Judge = fn(Result<&Res, &BoxError>) -> Outcome;
type Layers = fn(&Circuit, Http) -> Stack;

/// A row: the layers, outermost first, what reaches the server of twenty requests to one that is broken, what is rejected.
type Row = (&'static str, Layers, usize, u64);

const ROWS: &[Row] = &[
    ("client alone", |_, http| http.boxed_clone(), 20, 0),
    ("breaker", |circuit, http| breaker(circuit).layer(http).boxed_clone(), 5, 15),
    ("timeout, breaker", |circuit, http| (TimeoutLayer::new(LONG), breaker(circuit)).layer(http).boxed_clone(), 5, 15),
    ("breaker, timeout", |circuit, http| (breaker(circuit), TimeoutLayer::new(LONG)).layer(http).boxed_clone(), 5, 15),
    ("buffer, breaker", |circuit, http| (BufferLayer::new(8), breaker(circuit)).layer(http).boxed_clone(), 5, 15),
    ("breaker, buffer", |circuit, http| (breaker(circuit), BufferLayer::new(8)).layer(http).boxed_clone(), 5, 15),
    ("load shed, breaker", |circuit, http| (LoadShedLayer::new(), breaker(circuit)).layer(http).boxed_clone(), 5, 15),
    ("load shed, pending breaker", pending, 5, 0),
    ("limit, breaker", |circuit, http| (limit(), breaker(circuit)).layer(http).boxed_clone(), 5, 15),
    ("breaker, limit", |circuit, http| (breaker(circuit), limit()).layer(http).boxed_clone(), 5, 15),
    (
        "filter, breaker",
        |circuit, http| (FilterLayer::new(Ok::<Req, BoxError>), breaker(circuit)).layer(http).boxed_clone(),
        5,
        15,
    ),
    ("optional breaker", optional, 5, 15),
    ("box, breaker, box", boxed, 5, 15),
    (
        "retry that knows rejections, breaker",
        |circuit, http| (aware(), breaker(circuit)).layer(http).boxed_clone(),
        5,
        19,
    ),
    ("retry that knows them, breaker that responds", retried_responses, 5, 19),
    ("retry that does not, breaker", |circuit, http| (blind(), breaker(circuit)).layer(http).boxed_clone(), 5, 55),
    ("breaker, retry", |circuit, http| (breaker(circuit), aware()).layer(http).boxed_clone(), 15, 15),
    ("the recommended order", recommended, 5, 19),
];

#[tokio::test]
async fn each_order_of_layers_passes_the_expected_requests_and_recovers() {
    for &(name, layers, asked, rejected) in ROWS {
        let (clock, server) = (MockClock::new(), Server::start().await);
        let config = Config::classic("orders").clock(clock.clone());
        let circuit = Circuit::new(config.build().unwrap());
        let mut stack = layers(&circuit, http());
        let ok = |answer: Result<Res, BoxError>| answer.is_ok_and(|response| response.status().is_success());
        for _ in 0..20 {
            let answer = stack.ready().await.unwrap().call(server.request()).await;
            assert!(!ok(answer), "{name}: the server is broken");
        }
        println!("{name}: {} of 20 reached the server, {} rejected", server.asked(), circuit.status().totals.rejected);
        assert_eq!((server.asked(), circuit.status().totals.rejected), (asked, rejected), "{name}");

        server.mend();
        clock.advance(Duration::from_secs(60));
        assert!(ok(stack.ready().await.unwrap().call(server.request()).await), "{name}: it recovers");
        assert_eq!(circuit.status().state, State::Closed, "{name}");
        assert_eq!(server.asked(), asked + 1, "{name}: by one probe");
    }
}

/// tower's `load_shed` makes of a breaker that pends one that fails fast: nothing is left to be rejected.
fn pending(circuit: &Circuit, http: Http) -> Stack {
    let breaker = CircuitBreakerLayer::new(circuit).classify(judge).when_open(WhenOpen::Pend);
    (LoadShedLayer::new(), breaker).layer(http).boxed_clone()
}

/// An optional layer must leave the error type as it is: here by a response.
fn optional(circuit: &Circuit, http: Http) -> Stack {
    let layer = CircuitBreakerLayer::new(circuit).classify(judge).respond_with(unavailable);
    ServiceBuilder::new().option_layer(Some(layer)).service(http).boxed_clone()
}

/// The rejection is a response: a 503, which the retries would take for the server's own, if it were not marked.
fn retried_responses(circuit: &Circuit, http: Http) -> Stack {
    let ms = Duration::from_millis(1);
    let policy = RetryPolicy::builder().backoff(ms, ms).classify(judge).build().unwrap().in_responses();
    let layer = CircuitBreakerLayer::new(circuit).classify(judge).respond_with(unavailable);
    (RetryLayer::new(policy), layer).layer(http).boxed_clone()
}

fn unavailable(rejected: Rejected) -> Res {
    let mut response = Response::new(Body::from(rejected.to_string()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.extensions_mut().insert(rejected);
    response
}

fn boxed(circuit: &Circuit, http: Http) -> Stack {
    BoxCloneService::new(BoxCloneSyncService::new(breaker(circuit).layer(BoxCloneSyncService::new(http))))
}

fn recommended(circuit: &Circuit, http: Http) -> Stack {
    ServiceBuilder::new()
        .timeout(LONG)
        .load_shed()
        .concurrency_limit(4)
        .layer(aware())
        .layer(breaker(circuit))
        .timeout(LONG)
        .service(http)
        .boxed_clone()
}

fn breaker(circuit: &Circuit) -> CircuitBreakerLayer<FnClassifier<Judge>> {
    let judge: Judge = judge;
    CircuitBreakerLayer::new(circuit).classify(judge)
}

fn limit() -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(4)
}

/// Three attempts, 1 ms apart.
fn aware() -> RetryLayer<impl Policy<Req, Res, BoxError, Future: Send> + Clone + Send> {
    let ms = Duration::from_millis(1);
    RetryLayer::new(RetryPolicy::builder().backoff(ms, ms).classify(judge).build().unwrap())
}

/// The same, but it takes a rejection for a failure like any other.
fn blind() -> RetryLayer<impl Policy<Req, Res, BoxError, Future: Send> + Clone + Send> {
    let ms = Duration::from_millis(1);
    let every_failure = |result: Result<&Res, &BoxError>| match result {
        Ok(_) => judge(result),
        Err(_) => Outcome::failure(),
    };
    let policy = RetryPolicy::builder().backoff(ms, ms).classify(every_failure).build().unwrap();
    RetryLayer::new(policy.find_by(|_: &Result<Res, BoxError>| None))
}

fn judge(result: Result<&Res, &BoxError>) -> Outcome {
    match result {
        Ok(response) if response.status().is_server_error() => Outcome::failure(),
        Ok(_) => Outcome::Success,
        Err(error) => outcome_of(error.as_ref()),
    }
}

/// hyper's client, with a body that all stacks have.
type Http = BoxCloneSyncService<Req, Res, BoxError>;

fn http() -> Http {
    let client = Client::builder(TokioExecutor::new()).build_http();
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(Body::new))
            .map_err(BoxError::from)
            .service(client),
    )
}

/// A server over loopback that answers 500 until it is mended, and counts.
struct Server {
    address: SocketAddr,
    asked: watch::Sender<usize>,
    broken: watch::Sender<bool>,
    /// Dropped, it ends.
    _serving: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, broken) = (watch::Sender::new(0), watch::Sender::new(true));
        let (count, is_broken) = (asked.clone(), broken.clone());
        let app = Router::new().fallback(async move || {
            count.send_modify(|asked| *asked += 1);
            if *is_broken.borrow() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
        });
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, asked, broken, _serving: serving }
    }

    fn request(&self) -> Req {
        Request::get(format!("http://{}/", self.address)).body(Full::default()).unwrap()
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    fn mend(&self) {
        self.broken.send_replace(false);
    }
}

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
