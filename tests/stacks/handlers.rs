//! Clients that go away from a server's own handlers, in virtual time, wherever their call is dropped.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::time::Duration;

use ::axum::Router;
use ::axum::body::{Body, Bytes};
use ::axum::routing::get;
use ::http::{Request, Response, StatusCode};
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::timeout;
use tower::timeout::TimeoutLayer;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::classify::{BodyClassifier, Classifier, GrpcClassifier, HttpClassifier};
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::rejection::HttpRejection;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Failure, Outcome, State};

type Hang = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

fn circuit() -> Circuit {
    Circuit::new(Config::classic("answers").clock(TokioClock::new()).build().unwrap())
}

/// Returns the state, and how many calls were cancelled and failed.
fn counted(circuit: &Circuit) -> (State, u64, u64) {
    let status = circuit.status();
    (status.state, status.totals.cancelled, status.totals.failures)
}

fn request() -> Request<Body> {
    Request::post("/").header("content-type", "application/grpc").body(Body::empty()).unwrap()
}

/// Twelve users who go away after 1.2 s.
async fn go_away<F: Future>(mut call: impl FnMut() -> F) {
    for _ in 0..12 {
        drop(timeout(Duration::from_millis(1_200), call()).await);
    }
}

/// A handler that does not answer.
async fn hang(_: Request<Body>) -> Result<Response<Hang>, Infallible> {
    pending().await
}

/// A handler that sends the head, and no body.
async fn hang_in_the_body(_: Request<Body>) -> Result<Response<Hang>, Infallible> {
    let first = stream::iter([Ok(Frame::data(Bytes::from("one")))]);
    let mut response = Response::new(StreamBody::new(first.chain(stream::pending())).boxed_unsync());
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    Ok(response)
}

/// Lets clients of a plain layer, of a tracked one before its head, and of a tracked body go away.
async fn clients_go_away<C>(classifier: &C) -> [(State, u64, u64); 3]
where
    C: Clone + BodyClassifier<Request<Body>, Hang, Infallible>,
{
    let circuits = [circuit(), circuit(), circuit()];
    let [plain, head, body] = &circuits;
    let layer = |circuit| CircuitBreakerLayer::new(circuit).classifier(classifier.clone());
    let service = layer(plain).layer(service_fn(hang));
    go_away(|| service.clone().oneshot(request())).await;
    let service = layer(head).tracked_bodies().layer(service_fn(hang));
    go_away(|| service.clone().oneshot(request())).await;
    let service = layer(body).tracked_bodies().layer(service_fn(hang_in_the_body));
    go_away(async || {
        let response = service.clone().oneshot(request()).await.ok()?;
        response.into_body().collect().await.ok()
    })
    .await;
    circuits.each_ref().map(counted)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_is_no_evidence_about_a_handler() {
    let neutral = [(State::Closed, 12, 0); 3];
    assert_eq!(clients_go_away(&HttpClassifier::for_handlers().until_end_of_body()).await, neutral);
    assert_eq!(clients_go_away(&GrpcClassifier::for_handlers()).await, neutral);
    let changed = HttpClassifier::for_handlers().status(StatusCode::NOT_FOUND, Failure::hard()).until_end_of_body();
    assert_eq!(clients_go_away(&changed.clone()).await, neutral, "a changed status keeps it");
}

#[tokio::test(start_paused = true)]
async fn without_the_form_for_handlers_the_same_clients_open_the_circuit() {
    let clients = HttpClassifier::new().until_end_of_body();
    assert_eq!(clients_go_away(&clients).await.map(|(state, ..)| state), [State::Open; 3]);
    assert_eq!(clients_go_away(&GrpcClassifier::new()).await.map(|(state, ..)| state), [State::Open; 3]);
}

#[tokio::test(start_paused = true)]
async fn users_who_press_stop_leave_the_circuit_of_an_axum_server_closed() {
    let circuit = circuit();
    let breaker =
        CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::for_handlers()).rejection(HttpRejection::new());
    let answer = || async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        "an answer"
    };
    let app: Router = Router::new().route("/", get(answer)).layer(breaker);
    let request = || Request::get("/").body(Body::empty()).unwrap();
    go_away(|| app.clone().oneshot(request())).await;
    assert_eq!(counted(&circuit), (State::Closed, 12, 0));
    assert_eq!(app.oneshot(request()).await.unwrap().status(), 200, "a user who waits");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_drops_the_call_of_a_handler_and_one_below_counts() {
    let (outside, below) = (circuit(), circuit());
    let layer = |circuit| CircuitBreakerLayer::new(circuit).classifier(HttpClassifier::for_handlers());
    let limit = TimeoutLayer::new(Duration::from_secs(2));
    let dropped = ServiceBuilder::new().layer(limit.clone()).layer(layer(&outside)).service(service_fn(hang));
    let counts = ServiceBuilder::new().layer(layer(&below)).layer(limit).service(service_fn(hang));
    for _ in 0..10 {
        dropped.clone().oneshot(request()).await.unwrap_err();
        counts.clone().oneshot(request()).await.unwrap_err();
    }
    assert_eq!((counted(&outside), counted(&below)), ((State::Closed, 10, 0), (State::Open, 0, 10)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_client_goes_away_frees_its_slot_and_fails_nothing() {
    let circuit = circuit();
    while let Ok(permit) = circuit.try_acquire() {
        permit.failure(Failure::hard());
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    let service = CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::for_handlers()).layer(service_fn(hang));
    timeout(Duration::from_secs(2), service.oneshot(request())).await.unwrap_err();
    assert_eq!((circuit.status().state, circuit.status().probes.in_flight), (State::HalfOpen, 0));
}

#[tokio::test(start_paused = true)]
async fn a_classifier_of_ones_own_can_say_that_callers_may_go_away() {
    #[derive(Clone)]
    struct OfHandlers;

    impl<Req, Res, Err> Classifier<Req, Res, Err> for OfHandlers {
        type Call = ();

        fn start(&self, _: &Req) {}

        fn finish(&self, (): (), _: Result<&Res, &Err>, _: Duration) -> Outcome {
            Outcome::Success
        }

        fn cancelled(&self, (): (), _: Duration) -> Option<Outcome> {
            unreachable!("it said that these never count")
        }

        fn cancelled_never_counts(&self) -> bool {
            true
        }
    }

    let circuit = circuit();
    let service = CircuitBreakerLayer::new(&circuit).classifier(OfHandlers).layer(service_fn(hang));
    go_away(|| service.clone().oneshot(request())).await;
    assert_eq!(counted(&circuit), (State::Closed, 12, 0));
}

#[tokio::test]
async fn an_outcome_of_a_callers_deadline_is_ignored_for_handlers_only() {
    let counted = async |classifier: HttpClassifier| {
        let circuit = circuit();
        let classifier = classifier.status(StatusCode::GATEWAY_TIMEOUT, Outcome::deadline(Duration::from_secs(30)));
        let late = service_fn(async |_: Request<Body>| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
            Ok::<_, Infallible>(response)
        });
        CircuitBreakerLayer::new(&circuit).classifier(classifier).layer(late).oneshot(request()).await.unwrap();
        circuit.status().totals.failures
    };
    assert_eq!(counted(HttpClassifier::new()).await, 1);
    assert_eq!(counted(HttpClassifier::for_handlers()).await, 0);
}
