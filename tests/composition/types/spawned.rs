//! Calls inside futures that must be `Send`: tasks, boxes, handlers and streams, with errors of every usual type.
//!
//! A future of a task is checked for every lifetime at once, so that a bound on a boxed error or a borrowed argument can
//! fail there and nowhere else. The tests matter when they are compiled.

#![expect(clippy::disallowed_methods, reason = "tasks are spawned as an application does")]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::classify::{Classifier, outcome_of};
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Outcome, Rejected};

fn circuit() -> Circuit {
    Circuit::new(Config::new("orders").unwrap())
}

/// An error of an application, which keeps the box that it was made of.
struct OwnError(#[expect(dead_code, reason = "its type alone matters here")] BoxError);

impl From<Rejected> for OwnError {
    fn from(rejected: Rejected) -> Self {
        Self(rejected.into())
    }
}

impl From<BoxError> for OwnError {
    fn from(error: BoxError) -> Self {
        Self(error)
    }
}

/// A classifier of boxed errors only.
#[derive(Clone)]
struct Judge;

impl<Req, Res> Classifier<Req, Res, BoxError> for Judge {
    type Call = ();

    fn start(&self, _: &Req) {}

    fn finish(&self, (): (), result: Result<&Res, &BoxError>, _: Duration) -> Outcome {
        judge(result)
    }
}

fn judge<T>(result: Result<&T, &BoxError>) -> Outcome {
    result.map_or_else(|error| outcome_of(error.as_ref()), |_| Outcome::Success)
}

/// Runs `$call` for a result of each error type in a task, in a box and in a stream.
macro_rules! in_every_future {
    ($($name:ident: $error:ty = |$circuit:ident, $id:ident| $call:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            async fn answer(id: &str) -> Result<usize, $error> {
                tokio::task::yield_now().await;
                Ok(id.len())
            }
            let $circuit = circuit();
            let task = tokio::spawn({
                let $circuit = $circuit.clone();
                async move {
                    let owned = String::from("four");
                    let $id = answer(&owned);
                    $call.await.ok()
                }
            });
            assert_eq!(task.await.unwrap(), Some(4));
            fn method<'a>($circuit: &'a Circuit, id: &'a str) -> Pin<Box<dyn Future<Output = Option<usize>> + Send + 'a>> {
                Box::pin(async move {
                    let $id = answer(id);
                    $call.await.ok()
                })
            }
            assert_eq!(method(&$circuit, "three").await, Some(5));
            let texts = [String::from("a"), String::from("bc")];
            let answers = stream::iter(&texts).then(|id| {
                let $circuit = $circuit.clone();
                async move {
                    let $id = answer(id);
                    $call.await.ok()
                }
            });
            let answers: Pin<Box<dyn stream::Stream<Item = Option<usize>> + Send + '_>> = Box::pin(answers);
            assert_eq!(answers.collect::<Vec<_>>().await, [Some(1), Some(2)]);
        }
    )*};
}

in_every_future! {
    a_call_with_a_boxed_error_is_a_future_of_a_task: BoxError = |circuit, call| circuit.call(call);
    a_call_with_a_small_box_is_a_future_of_a_task: Box<dyn std::error::Error + Send> = |circuit, call| circuit.call(call);
    a_call_with_an_own_error_is_a_future_of_a_task: OwnError = |circuit, call| circuit.call(call);
    a_call_with_an_io_error_is_a_future_of_a_task: io::Error = |circuit, call| circuit.call(call);
    a_call_with_a_text_as_its_error_is_a_future_of_a_task: &'static str = |circuit, call| circuit.call(call);
    a_call_within_a_limit_is_a_future_of_a_task: BoxError =
        |circuit, call| circuit.call_within(Duration::from_secs(1), call);
    a_call_that_a_closure_judges_is_a_future_of_a_task: BoxError =
        |circuit, call| circuit.call_with(|result: Result<&usize, &BoxError>| judge(result), call);
    a_call_that_a_function_judges_is_a_future_of_a_task: BoxError = |circuit, call| circuit.call_with(judge, call);
    a_call_with_an_error_of_reqwest_is_a_future_of_a_task: reqwest::Error = |circuit, call| circuit.call(call);
    a_call_under_a_permit_is_a_future_of_a_task: BoxError =
        |circuit, call| async move { circuit.acquire().await.call(call).await };
    a_call_under_a_permit_within_a_limit_is_a_future_of_a_task: BoxError =
        |circuit, call| async move { circuit.acquire().await.call_within(Duration::from_secs(1), call).await };
    a_classified_call_is_a_future_of_a_task: BoxError =
        |circuit, call| circuit.call_classified(Judge, call);
}

#[cfg(feature = "tonic")]
in_every_future! {
    a_call_with_a_status_of_tonic_is_a_future_of_a_task: tonic::Status =
        |circuit, call| circuit.call_classified(tower_circuit_breaker::classify::GrpcClassifier::tonic(), call);
}

#[tokio::test]
async fn a_handler_of_axum_may_call_through_a_circuit() {
    let (circuit, timed) = (circuit(), CircuitBreakerLayer::new(&circuit()).classify(judge).fallback(fallback));
    let timed = ServiceBuilder::new()
        .layer(timed)
        .timeout(Duration::from_secs(1))
        .service(service_fn(async |id: u32| Ok::<_, io::Error>(id)));
    let app = axum::Router::new().route(
        "/",
        axum::routing::get(move || async move {
            let own = circuit.call(async { Ok::<_, BoxError>(1) }).await.map_err(|error| error.to_string())?;
            let through = timed.oneshot(2).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(format!("{own} {through}"))
        }),
    );
    let response = app.oneshot(http::Request::new(axum::body::Body::empty())).await.unwrap();
    assert_eq!(axum::body::to_bytes(response.into_body(), 9).await.unwrap(), "1 2");
}

/// Puts `$layer` around services with boxed errors, and calls them in a task in three ways. The second way is `$called`.
macro_rules! over_every_service {
    (|$service:ident| $called:expr; $($name:ident = |$breaker:ident| $layer:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let task = tokio::spawn(async move {
                let circuit = circuit();
                let $breaker = CircuitBreakerLayer::new(&circuit);
                let mut service = ServiceBuilder::new()
                    .layer($layer)
                    .timeout(Duration::from_secs(1))
                    .service(service_fn(async |id: u32| Ok::<_, io::Error>(id)));
                let one = service.ready().await.ok()?.call(1).await.ok()?;
                let $service = service;
                let two = $called.await.ok()?;
                let $breaker = CircuitBreakerLayer::new(&circuit);
                let inner = BoxCloneSyncService::new(service_fn(async |id: u32| Ok::<_, BoxError>(id)));
                let mut boxed = ServiceBuilder::new().layer($layer).service(inner);
                let three = boxed.ready().await.ok()?.call(3).await.ok()?;
                Some([one, two, three])
            });
            assert_eq!(task.await.unwrap(), Some([1, 2, 3]));
        }
    )*};
}

over_every_service! {
    |service| service.oneshot(2);
    a_service_with_boxed_errors_is_called_in_a_task = |breaker| breaker;
    a_service_with_typed_errors_is_called_in_a_task = |breaker| breaker.typed_errors();
    a_service_with_own_errors_is_called_in_a_task = |breaker| breaker.errors_as::<OwnError>();
    a_service_with_own_responses_is_called_in_a_task = |breaker| breaker.respond_with(|_| 0);
    a_service_with_a_function_that_waits_as_fallback_is_called_in_a_task =
        |breaker| breaker.fallback_async(later_fallback);
    a_service_whose_responses_a_closure_judges_is_called_in_a_task =
        |breaker| breaker.classify_response(|_: &u32| Outcome::Success);
    a_service_that_a_function_judges_is_called_in_a_task = |breaker| breaker.classify(judge);
    a_service_with_a_function_as_fallback_is_called_in_a_task = |breaker| breaker.fallback(fallback);
    a_service_with_an_own_classifier_is_called_in_a_task = |breaker| breaker.classifier(Judge);
}

// The type of a closure contains the boxed error that the closure names. `oneshot` looks that type up in the task, and a
// closure of tower's `map_err` fails there in the same way. docs/troubleshooting.md has the message and the corrections.
over_every_service! {
    |service| { service }.ready().await.ok()?.call(2);
    a_service_with_a_closure_as_fallback_is_called_in_a_task =
        |breaker| breaker.fallback(|rejected, id: u32| if id == 0 { Err(rejected.into()) } else { Ok(id) });
    a_service_with_a_closure_that_waits_as_fallback_is_called_in_a_task =
        |breaker| breaker.fallback_async(async |_, id: u32| Ok(id));
    a_service_that_a_closure_judges_is_called_in_a_task =
        |breaker| breaker.classify(|result: Result<&u32, &BoxError>| judge(result));
    a_service_whose_errors_a_closure_judges_is_called_in_a_task =
        |breaker| breaker.classify_error(|error: &BoxError| outcome_of(error.as_ref()));
}

fn fallback(rejected: Rejected, id: u32) -> Result<u32, BoxError> {
    if id == 0 { Err(rejected.into()) } else { Ok(id) }
}

async fn later_fallback(rejected: Rejected, id: u32) -> Result<u32, BoxError> {
    fallback(rejected, id)
}

/// The other futures of the crate, each with an error that is a box: of a body, of load shedding, of a circuit for each key.
#[cfg(all(feature = "http", feature = "keyed", feature = "load-shed"))]
#[tokio::test]
async fn bodies_keys_and_load_shedding_are_called_in_a_task() {
    use axum::body::Body;
    use http::{Request, Response};
    use http_body_util::BodyExt;
    use tower_circuit_breaker::{Registry, keyed::Keyed, shed::LoadSheddingLayer};

    let task = tokio::spawn(async move {
        let per_path = Keyed::builder(&Registry::new(), Config::builder)
            .prefix("path:")
            .by(|request: &Request<Body>| Some(request.uri().path().into()))
            .ok()?;
        let shedding = LoadSheddingLayer::new(&circuit(), || 0.1).build().ok()?;
        let inner = service_fn(async |_: Request<Body>| Ok::<_, BoxError>(Response::new(Body::from("whole"))));
        let mut service = ServiceBuilder::new()
            .layer(shedding)
            .layer(CircuitBreakerLayer::keyed(per_path).tracked_bodies())
            .service(BoxCloneSyncService::new(inner));
        let response = service.ready().await.ok()?.call(Request::new(Body::empty())).await.ok()?;
        let first = response.into_body().frame().await?.ok()?.into_data().ok()?;
        let response = service.ready().await.ok()?.call(Request::new(Body::empty())).await.ok()?;
        let body = Body::new(response.into_body());
        Some([first, body.collect().await.ok()?.to_bytes()])
    });
    assert_eq!(task.await.unwrap().unwrap(), ["whole", "whole"]);
}
