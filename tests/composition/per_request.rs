//! A layer applied anew for each request, as axum does: the state is the circuit's, not the service's.

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::State as Shared;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::RejectReason;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Outcome, Rejected, State};

use crate::parts::{Ask, Count, MINUTE, Strict, circuit, last_edge, obey, rejection, state, trip, until_open};

#[test]
fn a_layer_applied_anew_for_each_call_still_trips() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let layer = CircuitBreakerLayer::new(&circuit);
    let anew = |ask| futures_util::FutureExt::now_or_never(layer.clone().layer(Strict::default()).oneshot(ask));
    for _ in 0..5 {
        assert!(anew(Ask::Fail).unwrap().is_err());
    }
    assert_eq!(rejection(anew(Ask::Succeed)).reason(), RejectReason::Tripped);
    clock.advance(MINUTE);
    assert!(anew(Ask::Succeed).unwrap().is_ok());
    assert_eq!(state(&circuit), State::Closed);
}

#[tokio::test]
async fn a_router_without_state_trips() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let handled = Count::default();
    let counted = handled.clone();
    let app = Router::new()
        .route("/", get(move || failing(counted.clone())))
        .layer(CircuitBreakerLayer::new(&circuit).classify_response(by_status).respond_with(unavailable));
    for _ in 0..5 {
        assert_eq!(status(&app).await, StatusCode::INTERNAL_SERVER_ERROR);
    }
    let response = app.clone().oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "60");
    assert!(response.extensions().get::<Rejected>().is_some());
    assert_eq!(handled.get(), 5);
    clock.advance(MINUTE);
    assert_eq!(status(&app).await, StatusCode::INTERNAL_SERVER_ERROR, "the probe");
    assert_eq!(circuit.status().attempt, 2);
}

#[tokio::test]
async fn a_router_with_state_and_layers_at_every_place_shares_the_circuit() {
    let circuit = circuit(&MockClock::new());
    let layer = || CircuitBreakerLayer::new(&circuit).classify_response(by_status).respond_with(unavailable);
    let handled = Count::default();
    let handler = |Shared(count): Shared<Count>| failing(count);
    let app = Router::new()
        .route("/", get(handler).layer(layer()))
        .route("/other", get(axum::handler::Handler::layer(handler, layer())))
        .route_layer(layer())
        .with_state(handled.clone());
    assert_eq!(status(&app).await, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(circuit.status().totals.failures, 2, "two layers of one circuit: each has seen the failure");
    trip_by_requests(&app, &circuit).await;
    assert_eq!(status(&app).await, StatusCode::SERVICE_UNAVAILABLE);
    let other = Request::get("/other").body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(other).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn boxed_errors_fit_a_router_below_a_handle_error_layer() {
    let circuit = circuit(&MockClock::new());
    let app = Router::new().route("/", get(|| async { "done" })).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(|error: BoxError| async move {
                Rejected::find(error.as_ref()).cloned().map_or_else(
                    || StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                    |rejected| unavailable(rejected).into_response(),
                )
            }))
            .layer(CircuitBreakerLayer::new(&circuit)),
    );
    assert_eq!(status(&app).await, StatusCode::OK);
    trip(&circuit);
    assert_eq!(status(&app).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_route_that_is_a_service_of_its_own_fits() {
    let circuit = circuit(&MockClock::new());
    let guarded = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit).respond_with(unavailable))
        .service(service_fn(|_: Request<Body>| async { Ok::<_, std::convert::Infallible>("done".into_response()) }));
    let app = Router::new().route_service("/", guarded);
    assert_eq!(status(&app).await, StatusCode::OK);
    trip(&circuit);
    assert_eq!(status(&app).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_handler_that_panics_is_a_hard_failure() {
    let circuit = circuit(&MockClock::new());
    let app = Router::new()
        .route("/", get(|| async { obey(Ask::Panic).await.map_err(|_| StatusCode::BAD_GATEWAY) }))
        .layer(CircuitBreakerLayer::new(&circuit).respond_with(unavailable));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..5 {
        tasks.spawn(app.clone().oneshot(request()));
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());
    }
    assert_eq!(last_edge(&circuit).1, Some(FailureKind::Panicked));
}

async fn failing(handled: Count) -> StatusCode {
    handled.add();
    StatusCode::INTERNAL_SERVER_ERROR
}

fn by_status(response: &Response) -> Outcome {
    if response.status().is_server_error() { Outcome::failure() } else { Outcome::Success }
}

fn unavailable(rejected: Rejected) -> Response {
    let seconds = rejected.retry_after().map_or(1, |wait| wait.as_secs().max(1));
    let headers = [(header::RETRY_AFTER, seconds.to_string())];
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, headers, rejected.to_string()).into_response();
    response.extensions_mut().insert(rejected);
    response
}

fn request() -> Request<Body> {
    Request::get("/").body(Body::empty()).unwrap()
}

async fn status(app: &Router) -> StatusCode {
    app.clone().oneshot(request()).await.unwrap().status()
}

async fn trip_by_requests(app: &Router, circuit: &Circuit) {
    for _ in until_open(circuit) {
        status(app).await;
    }
}
