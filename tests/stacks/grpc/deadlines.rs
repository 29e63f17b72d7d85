//! The weight of an end by the `grpc-timeout` of the caller, wherever the end shows, in virtual time.

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{Permit, State};

use super::*;

pub(super) type Body = UnsyncBoxBody<Bytes, Status>;

/// The ways in which a server or the transport says that a deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Header,
    GatewayTimeout,
    Trailer,
    BodyError,
    Status,
    Timer,
}

const ENDS: [End; 6] = [End::Header, End::GatewayTimeout, End::Trailer, End::BodyError, End::Status, End::Timer];

/// Answers after `after`.
async fn answer(end: End, after: Duration) -> Result<Response<Body>, BoxError> {
    tokio::time::sleep(after).await;
    match end {
        End::Header => Ok(response(200, &[GRPC, ("grpc-status", "4")], empty())),
        End::GatewayTimeout => Ok(response(504, &[], empty())),
        End::Trailer => {
            Ok(response(200, &[GRPC], of_frame(Ok(http_body::Frame::trailers(headers(&[("grpc-status", "4")]))))))
        }
        End::BodyError => Ok(response(200, &[GRPC], of_frame(Err(Status::deadline_exceeded("late"))))),
        End::Status => Err(Status::deadline_exceeded("late").into()),
        End::Timer => Err(TimeoutExpired(()).into()),
    }
}

pub(super) fn response(status: u16, headers: &[(&'static str, &'static str)], body: Body) -> Response<Body> {
    Response::from_parts(head(status, headers).into_parts().0, body)
}

pub(super) fn empty() -> Body {
    Full::default().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn of_frame(frame: Result<http_body::Frame<Bytes>, Status>) -> Body {
    StreamBody::new(futures_util::stream::iter([frame])).boxed_unsync()
}

pub(super) fn with(set: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Circuit {
    Circuit::new(set(Config::classic("inventory").clock(TokioClock::new())).build().unwrap())
}

/// Makes one call with that `grpc-timeout`, and reads its body.
async fn call(circuit: &Circuit, timeout: Option<&'static str>, end: End, after: Duration) {
    call_by(GrpcClassifier::tonic(), circuit, timeout, end, after).await;
}

async fn call_by(by: GrpcClassifier, circuit: &Circuit, timeout: Option<&'static str>, end: End, after: Duration) {
    let layer = CircuitBreakerLayer::new(circuit).classifier(by).tracked_bodies();
    let mut service = layer.layer(service_fn(move |_: Request<()>| answer(end, after)));
    let mut request = Request::post("/shop.Inventory/Get").header(GRPC.0, GRPC.1).body(()).unwrap();
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    std::future::poll_fn(|context| service.poll_ready(context)).await.unwrap();
    if let Ok(response) = service.call(request).await {
        response.into_body().collect().await.ok();
    }
}

/// Returns the weight of the failures in a row.
pub(super) fn run(circuit: &Circuit) -> String {
    circuit.status().run.to_string()
}

pub(super) const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn ten_deadlines_of_a_millisecond_weigh_next_to_nothing_wherever_they_end() {
    for end in ENDS {
        for timeout in ["1m", "0m", "1000u", "999n"] {
            let circuit = with(|config| config);
            for _ in 0..10 {
                call(&circuit, Some(timeout), end, MS).await;
            }
            let status = circuit.status();
            assert_eq!((status.state, status.run), (State::Closed, 0.0), "{end:?}, {timeout}");
            assert_eq!(status.totals.ignored, 10, "{end:?}, {timeout}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_hang_under_deadlines_of_500_ms_opens_by_the_run() {
    for end in ENDS {
        let circuit = with(|config| config);
        for calls in 1..=20 {
            assert_eq!(circuit.status().state, State::Closed, "{end:?}, after {calls} calls");
            call(&circuit, Some("500m"), end, 500 * MS).await;
        }
        assert_eq!(circuit.status().state, State::Open, "{end:?}: twenty times 0.25");
        assert_eq!(circuit.status().transitions[0].failure, Some(FailureKind::Deadline), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_weighs_half_from_cancelled_counts_after_on() {
    for end in ENDS {
        for (timeout, after) in [("1S", 1_000 * MS), ("30S", 30_000 * MS)] {
            let circuit = with(|config| config);
            call(&circuit, Some(timeout), end, after).await;
            assert_eq!(run(&circuit), "0.5", "{end:?}, {timeout}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_gives_up_long_before_a_patient_caller_would_weighs_half() {
    for end in ENDS {
        let circuit = with(|config| config);
        call(&circuit, Some("10S"), end, 100 * MS).await;
        assert_eq!(run(&circuit), "0.5", "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_fires_before_the_deadline_is_the_owners_and_weighs_half() {
    let circuit = with(|config| config);
    call(&circuit, Some("500m"), End::Timer, 100 * MS).await;
    assert_eq!(run(&circuit), "0.5", "an `Endpoint::timeout` of 100 ms");
    call(&circuit, None, End::Timer, 100 * MS).await;
    assert_eq!(run(&circuit), "1", "without a deadline of the caller");
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_of_the_caller_the_service_is_judged_as_ever() {
    for (end, weight) in ENDS.into_iter().zip(["0.5", "1", "0.5", "0.5", "0.5", "0.5"]) {
        for timeout in [None, Some("5s"), Some("soon"), Some("")] {
            let circuit = with(|config| config);
            call(&circuit, timeout, end, MS).await;
            assert_eq!(run(&circuit), weight, "{end:?}, {timeout:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_ignored_where_cancellation_never_counts() {
    for end in ENDS {
        let circuit = with(ConfigBuilder::cancelled_never_counts);
        call(&circuit, Some("30S"), end, 30_000 * MS).await;
        let totals = circuit.status().totals;
        assert_eq!((totals.ignored, totals.failures), (1, 0), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_caller_says_nothing_about_a_servers_own_handler() {
    for end in [End::Header, End::GatewayTimeout, End::Trailer] {
        for timeout in ["1m", "500m", "30S"] {
            let circuit = with(|config| config);
            for _ in 0..10 {
                call_by(GrpcClassifier::for_handlers(), &circuit, Some(timeout), end, 2_000 * MS).await;
            }
            let totals = circuit.status().totals;
            assert_eq!((totals.ignored, totals.failures), (10, 0), "{end:?}, {timeout}");
        }
        let circuit = with(|config| config);
        call_by(GrpcClassifier::for_handlers(), &circuit, None, end, MS).await;
        assert_eq!(circuit.status().totals.failures, 1, "{end:?}: the server's own limit of time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_the_owner_counts_where_callers_never_count() {
    let circuit = with(ConfigBuilder::cancelled_never_counts);
    call(&circuit, Some("30S"), End::Timer, 100 * MS).await;
    assert_eq!(run(&circuit), "0.5", "an `Endpoint::timeout` of 100 ms");
}

#[tokio::test(start_paused = true)]
async fn a_probe_with_a_short_deadline_frees_its_slot_without_a_verdict() {
    for end in ENDS {
        let circuit = with(|config| config);
        while let Ok(permit) = circuit.try_acquire() {
            permit.failure(Failure::hard());
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        call(&circuit, Some("500m"), end, 500 * MS).await;
        assert_eq!((circuit.status().state, circuit.status().probes.in_flight), (State::HalfOpen, 0), "{end:?}");
        call(&circuit, Some("1S"), end, 1_000 * MS).await;
        assert_eq!(circuit.status().state, State::Open, "{end:?}: a patient caller fails the probe");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_the_user_set_for_the_status_is_taken_as_it_is() {
    for (end, code) in [
        (End::Header, GrpcCode::DeadlineExceeded),
        (End::Trailer, GrpcCode::DeadlineExceeded),
        (End::Status, GrpcCode::DeadlineExceeded),
        (End::GatewayTimeout, GrpcCode::Unavailable),
    ] {
        let circuit = with(|config| config);
        let classifier = GrpcClassifier::tonic().status(code, Failure::hard());
        let layer = CircuitBreakerLayer::new(&circuit).classifier(classifier).tracked_bodies();
        let service = layer.layer(service_fn(move |_: Request<()>| answer(end, MS)));
        let request = Request::post("/").header(GRPC.0, GRPC.1).header("grpc-timeout", "1m").body(()).unwrap();
        if let Ok(response) = service.oneshot(request).await {
            response.into_body().collect().await.ok();
        }
        assert_eq!(run(&circuit), "1", "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_weighs_the_deadline_of_its_caller_by_its_own_age() {
    let circuit = with(|config| config);
    let end: [fn(Permit); 2] =
        [|permit| permit.failure(Failure::deadline(250 * MS)), |permit| permit.record(Outcome::deadline(250 * MS))];
    for (end, weight) in end.into_iter().zip(["0.125", "0.25"]) {
        let permit = circuit.try_acquire().unwrap();
        tokio::time::advance(250 * MS).await;
        end(permit);
        assert_eq!(run(&circuit), weight);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_the_body_hangs_is_weighed_by_that_wait() {
    let circuit = with(|config| config);
    let layer = CircuitBreakerLayer::new(&circuit).classifier(GrpcClassifier::tonic()).tracked_bodies();
    let stream = futures_util::stream::once(async {
        tokio::time::sleep(500 * MS).await;
        Err::<http_body::Frame<Bytes>, _>(Status::deadline_exceeded("late"))
    });
    let mut body = Some(StreamBody::new(Box::pin(stream)));
    let ready_at_once = service_fn(move |_: Request<()>| {
        let mut response = Response::new(body.take().unwrap());
        response.headers_mut().insert(GRPC.0, GRPC.1.parse().unwrap());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let request = Request::post("/").header(GRPC.0, GRPC.1).header("grpc-timeout", "500m").body(()).unwrap();
    let response = layer.layer(ready_at_once).oneshot(request).await.unwrap();
    response.into_body().collect().await.unwrap_err();
    assert_eq!(run(&circuit), "0.25", "the head came without a wait");
}
