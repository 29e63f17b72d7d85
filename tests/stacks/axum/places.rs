//! Where the layer may stand in a router. axum applies it anew for each request of a router without state: what is counted is
//! the circuit's.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{MatchedPath, Request, State as Shared};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{Method, StatusCode, header};
use tower::{ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::{Classifier, HttpClassifier};
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::rejection::{HttpRejection, Rejection};
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Failure, Outcome, Rejected, State};
use tower_http::timeout::TimeoutLayer;

#[tokio::test]
async fn the_requests_of_a_router_without_state_share_one_circuit() {
    let circuit = circuit();
    let app = Router::new().route("/", get(broken)).layer(guard(&circuit));
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(status(&app, "/").await);
    }
    let (failed, rejected) = statuses.split_at(5);
    assert_eq!((failed, rejected), ([BROKEN; 5].as_slice(), [REJECTED; 3].as_slice()));
    assert_eq!((circuit.status().totals.failures, circuit.status().totals.rejected), (5, 3));
}

#[tokio::test]
async fn a_route_layer_guards_the_routes_and_not_the_fallback() {
    let circuit = opened();
    let app = Router::new().route("/", get(fine)).route_layer(guard(&circuit));
    assert_eq!(status(&app, "/").await, REJECTED);
    assert_eq!(status(&app, "/elsewhere").await, StatusCode::NOT_FOUND);
    let layered = Router::new().route("/", get(fine)).layer(guard(&circuit));
    assert_eq!(status(&layered, "/elsewhere").await, REJECTED, "`layer` guards the fallback too");
}

#[tokio::test]
async fn a_layer_on_one_method_leaves_the_others_alone() {
    let circuit = opened();
    let app = Router::new().route("/", get(fine).layer(guard(&circuit)).post(fine));
    assert_eq!(status(&app, "/").await, REJECTED);
    let post = Request::builder().method(Method::POST).uri("/").body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(post).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_layer_on_one_handler_leaves_the_others_alone() {
    let circuit = opened();
    let app = Router::new().route("/guarded", get(fine.layer(guard(&circuit)))).route("/free", get(fine));
    assert_eq!((status(&app, "/guarded").await, status(&app, "/free").await), (REJECTED, StatusCode::OK));
}

#[tokio::test]
async fn a_handle_error_layer_answers_boxed_errors() {
    let circuit = circuit();
    let answer = async |error: BoxError| {
        let rejected = Rejected::find(error.as_ref()).cloned();
        rejected.map_or_else(
            || StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            // The same answer as without boxes.
            |rejected| {
                let answer: Result<Response, Infallible> = HttpRejection::new().reject(rejected, Request::new(()));
                answer.unwrap()
            },
        )
    };
    let app = Router::new().route("/", get(broken)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(answer))
            .layer(CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::new())),
    );
    for _ in 0..5 {
        assert_eq!(status(&app, "/").await, BROKEN);
    }
    assert_eq!(status(&app, "/").await, REJECTED);
}

#[tokio::test]
async fn a_timeout_below_the_breaker_needs_no_handler_above_the_breaker() {
    let circuit = circuit();
    let app = Router::new().route("/", get(fine)).layer(
        ServiceBuilder::new()
            .layer(guard(&circuit))
            .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::GATEWAY_TIMEOUT))
            .timeout(Duration::from_secs(1)),
    );
    assert_eq!(status(&app, "/").await, StatusCode::OK);
    assert_eq!(circuit.status().totals.successes, 1);
}

#[tokio::test]
async fn nested_routers_with_state_share_the_circuit_of_the_outer_layer() {
    let circuit = circuit();
    let failing = async |Shared(status): Shared<StatusCode>| status;
    let inner = Router::new().route("/orders", get(failing)).with_state(StatusCode::BAD_GATEWAY);
    let app = Router::new()
        .nest("/v1", inner)
        .route("/orders", get(failing))
        .layer(guard(&circuit))
        .with_state(StatusCode::SERVICE_UNAVAILABLE);
    for path in ["/v1/orders", "/orders", "/v1/orders", "/orders", "/v1/orders"] {
        assert_ne!(status(&app, path).await, StatusCode::OK);
    }
    assert_eq!(circuit.status().state, State::Open);
    assert_eq!((status(&app, "/v1/orders").await, status(&app, "/orders").await), (REJECTED, REJECTED));
}

#[tokio::test]
async fn rejections_of_a_nested_circuit_are_no_failures_of_the_outer_circuit() {
    let (inside, outside) = (circuit(), circuit());
    let inner = Router::new().route("/orders", get(broken)).layer(guard(&inside));
    let app = Router::new().nest("/v1", inner).route("/", get(fine)).layer(guard(&outside));
    for _ in 0..4 {
        assert_eq!(status(&app, "/v1/orders").await, BROKEN);
    }
    assert_eq!(status(&app, "/").await, StatusCode::OK);
    for expected in [BROKEN, REJECTED, REJECTED, REJECTED, REJECTED, REJECTED] {
        assert_eq!(status(&app, "/v1/orders").await, expected);
    }
    assert_eq!([&inside, &outside].map(|circuit| circuit.status().state), [State::Open, State::Closed]);
    assert_eq!(outside.status().totals.failures, 5, "both saw what the handler answered");
}

#[tokio::test]
async fn the_matched_path_is_known_inside_the_layer_of_a_router() {
    #[derive(Clone)]
    struct BrokenOrders;
    impl<Err> Classifier<Request, Response, Err> for BrokenOrders {
        type Call = bool;
        fn start(&self, request: &Request) -> bool {
            request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str() == "/orders/{id}")
        }
        fn finish(&self, orders: bool, result: Result<&Response, &Err>, _: Duration) -> Outcome {
            let failed = !result.is_ok_and(|response| response.status().is_success());
            if orders && failed { Outcome::failure() } else { Outcome::Success }
        }
    }
    let circuit = circuit();
    let layer = CircuitBreakerLayer::new(&circuit).classifier(BrokenOrders).rejection(HttpRejection::new());
    let app = Router::new().route("/orders/{id}", get(broken)).route("/health", get(broken)).layer(layer);
    for path in ["/health", "/orders/1", "/orders/2", "/health", "/elsewhere"] {
        assert_ne!(status(&app, path).await, StatusCode::OK);
    }
    assert_eq!((circuit.status().totals.failures, circuit.status().totals.successes), (2, 3));
}

#[tokio::test]
async fn a_layer_outside_finds_the_rejection_in_the_response() {
    let app = Router::new().route("/", get(fine)).layer(guard(&opened())).layer(middleware::from_fn(
        async |request: Request, next: Next| {
            let response = next.run(request).await;
            let name = response.extensions().get::<Rejected>().map(|rejected| rejected.circuit().to_owned());
            (StatusCode::IM_A_TEAPOT, name.unwrap_or_default()).into_response()
        },
    ));
    let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(body, "orders");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_tower_http_weighs_half_with_any_status() {
    for code in [StatusCode::REQUEST_TIMEOUT, StatusCode::GATEWAY_TIMEOUT] {
        let config = Config::builder("orders").clock(TokioClock::new()).build().unwrap();
        let circuit = Circuit::new(config);
        let app = Router::new()
            .route("/", get(std::future::pending::<()>))
            .layer(TimeoutLayer::with_status_code(code, Duration::from_millis(100)))
            .layer(guard(&circuit));
        for already in 0..10 {
            assert_eq!(circuit.status().state, State::Closed, "after {already} timeouts of {code}");
            assert_eq!(status(&app, "/").await, code);
        }
        // Ten times 0.5 is the run of 5.
        assert_eq!(status(&app, "/").await, REJECTED, "after ten timeouts of {code}");
    }
}

#[tokio::test]
async fn a_head_is_rejected_with_the_length_and_without_the_body() {
    let app = Router::new().route("/", get(fine)).layer(guard(&opened()));
    let request = |method| Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
    let head = app.clone().oneshot(request(Method::HEAD)).await.unwrap();
    let get = app.oneshot(request(Method::GET)).await.unwrap();
    assert_eq!(head.headers()[header::CONTENT_LENGTH], get.headers()[header::CONTENT_LENGTH]);
    assert!(axum::body::to_bytes(head.into_body(), 1_000).await.unwrap().is_empty());
}

fn guard(circuit: &Circuit) -> CircuitBreakerLayer<HttpClassifier, HttpRejection> {
    CircuitBreakerLayer::new(circuit).classifier(HttpClassifier::new()).rejection(HttpRejection::new())
}

fn circuit() -> Circuit {
    Circuit::new(Config::builder("orders").clock(MockClock::new()).build().unwrap())
}

fn opened() -> Circuit {
    let circuit = circuit();
    for _ in 0..5 {
        circuit.try_acquire().unwrap().failure(Failure::hard());
    }
    circuit
}

async fn broken() -> StatusCode {
    BROKEN
}

async fn fine() -> &'static str {
    "done"
}

async fn status(app: &Router, path: &str) -> StatusCode {
    app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap().status()
}

const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
const REJECTED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
