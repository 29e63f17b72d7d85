//! Calls that a server ends with CANCELLED, before the deadline of the caller and at the deadline, in virtual time.

#![expect(clippy::disallowed_types, reason = "loom does not run this")]

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use http_body_util::BodyExt;
use tower::service_fn;
use tower_circuit_breaker::State;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::retry::RetryPolicy;

use super::deadlines::{Body, MS, empty, of_frame, response, run, with};
use super::*;

/// The ways in which a server cancels a call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Header,
    Trailer,
    Status,
    /// A stream that was reset after its head, which tonic reports as CANCELLED.
    BodyError,
    /// A stream that was reset before its head.
    Reset,
    /// A proxy that gave up.
    RequestTimeout,
}

const ENDS: [End; 6] = [End::Header, End::Trailer, End::Status, End::BodyError, End::Reset, End::RequestTimeout];

async fn answer(end: End, after: Duration) -> Result<Response<Body>, BoxError> {
    tokio::time::sleep(after).await;
    match end {
        End::Header => Ok(response(200, &[GRPC, ("grpc-status", "1")], empty())),
        End::Trailer => {
            Ok(response(200, &[GRPC], of_frame(Ok(http_body::Frame::trailers(headers(&[("grpc-status", "1")]))))))
        }
        End::Status => Err(Status::cancelled("so be it").into()),
        End::BodyError => Ok(response(200, &[GRPC], of_frame(Err(Status::cancelled("h2 reset"))))),
        End::Reset => Err(h2::Error::from(h2::Reason::CANCEL).into()),
        End::RequestTimeout => Ok(response(408, &[], empty())),
    }
}

async fn call(by: GrpcClassifier, circuit: &Circuit, timeout: Option<&'static str>, end: End, after: Duration) {
    let layer = CircuitBreakerLayer::new(circuit).classifier(by).tracked_bodies();
    let service = tower::Layer::layer(&layer, service_fn(move |_: Request<()>| answer(end, after)));
    let mut request = Request::post("/shop.Inventory/Get").header(GRPC.0, GRPC.1).body(()).unwrap();
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    if let Ok(response) = service.oneshot(request).await {
        response.into_body().collect().await.ok();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_that_the_server_cancels_at_500_ms_opens_after_20_calls() {
    for end in ENDS {
        let circuit = with(|config| config);
        for calls in 1..=20 {
            assert_eq!(circuit.status().state, State::Closed, "{end:?}, after {calls} calls");
            call(GrpcClassifier::tonic(), &circuit, Some("500m"), end, 490 * MS).await;
        }
        assert_eq!(circuit.status().totals.failures, 20, "{end:?}");
        call(GrpcClassifier::tonic(), &circuit, Some("500m"), end, 500 * MS).await;
        assert_eq!(circuit.status().transitions[0].failure, Some(FailureKind::Deadline), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_long_before_the_deadline_says_what_it_said_without_one() {
    for (end, weight) in ENDS.into_iter().zip(["0", "0", "0", "1", "1", "0.5"]) {
        for (timeout, after) in [("500m", 300 * MS), ("10S", 100 * MS), ("30S", Duration::ZERO)] {
            let circuit = with(|config| config);
            call(GrpcClassifier::tonic(), &circuit, Some(timeout), end, after).await;
            let expected = if end == End::RequestTimeout && timeout == "500m" { "0.148" } else { weight };
            assert!(run(&circuit).starts_with(expected), "{end:?}, {timeout}: {}", run(&circuit));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_patient_caller_fails_the_probe_by_a_cancellation_at_the_deadline() {
    for end in ENDS {
        let circuit = with(|config| config);
        while let Ok(permit) = circuit.try_acquire() {
            permit.failure(Failure::hard());
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        call(GrpcClassifier::tonic(), &circuit, Some("500m"), end, 500 * MS).await;
        assert_eq!((circuit.status().state, circuit.status().probes.in_flight), (State::HalfOpen, 0), "{end:?}");
        call(GrpcClassifier::tonic(), &circuit, Some("2S"), end, 2_000 * MS).await;
        assert_eq!(circuit.status().state, State::Open, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_at_the_deadline_is_ignored_where_callers_never_count() {
    for end in ENDS {
        let circuit = with(ConfigBuilder::cancelled_never_counts);
        call(GrpcClassifier::tonic(), &circuit, Some("2S"), end, 2_000 * MS).await;
        assert_eq!(circuit.status().totals.failures, 0, "{end:?}");
    }
    for end in [End::Header, End::Trailer, End::RequestTimeout] {
        let circuit = with(|config| config);
        call(GrpcClassifier::for_handlers(), &circuit, Some("2S"), end, 2_000 * MS).await;
        assert_eq!(circuit.status().totals.failures, 0, "{end:?}, in a server");
    }
}

#[tokio::test(start_paused = true)]
async fn an_override_of_cancelled_applies_at_the_deadline_too() {
    for end in [End::Header, End::Trailer, End::Status, End::BodyError] {
        let circuit = with(|config| config);
        let classifier = GrpcClassifier::tonic().status(GrpcCode::Cancelled, Failure::hard());
        call(classifier, &circuit, Some("500m"), end, 500 * MS).await;
        assert_eq!(run(&circuit), "1", "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_timeout_of_a_grpc_web_call_weighs_by_the_deadline() {
    let circuit = with(|config| config);
    let layer = CircuitBreakerLayer::new(&circuit).classifier(GrpcClassifier::new());
    let late = service_fn(async |_: Request<()>| {
        tokio::time::sleep(500 * MS).await;
        Ok::<_, BoxError>(head(504, &[]))
    });
    let request = Request::post("/").header("content-type", "application/grpc-web").header("grpc-timeout", "500m");
    tower::Layer::layer(&layer, late).oneshot(request.body(()).unwrap()).await.unwrap();
    assert_eq!(run(&circuit), "0.25");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_with_a_deadline_is_not_retried() {
    let calls = Arc::new(AtomicUsize::new(0));
    let retries = RetryPolicy::builder().classifier(GrpcClassifier::new()).build().unwrap();
    let counted = calls.clone();
    let service =
        tower::ServiceBuilder::new().layer(tower::retry::RetryLayer::new(retries)).service_fn(move |_: Request<()>| {
            counted.fetch_add(1, Relaxed);
            std::future::ready(Ok::<_, BoxError>(head(200, &[GRPC, ("grpc-status", "1")])))
        });
    let request = Request::post("/").header(GRPC.0, GRPC.1).header("grpc-timeout", "500m").body(()).unwrap();
    service.oneshot(request).await.unwrap();
    assert_eq!(calls.load(Relaxed), 1);
}
