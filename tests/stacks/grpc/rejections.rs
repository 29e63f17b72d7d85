//! `GrpcRejection`, as headers and as tonic's client decodes it.

use super::*;

#[tokio::test]
async fn a_rejection_is_a_trailers_only_response() {
    let open = circuit("inventory", |config| config.open_for(OpenDuration::fixed(Duration::from_nanos(1_500_000_001))));
    let response = open.reject(GrpcRejection::new()).await;
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("content-type"), Some("application/grpc"));
    assert_eq!(header("grpc-status"), Some("14"));
    assert_eq!(header("grpc-retry-pushback-ms"), Some("1501"), "rounded up");
    assert_eq!(header("grpc-status-details-bin"), None, "details are asked for");
    let rejected = response.extensions().get::<Rejected>().expect("layers outside know it");
    assert_eq!(header("grpc-message"), Some(&*rejected.to_string()), "there is nothing to encode in it");
}

#[tokio::test]
async fn a_name_beyond_ascii_is_decoded_by_tonic() {
    let open = circuit("menü-100%", |config| config);
    let response = open.reject(GrpcRejection::new()).await;
    let status = Status::from_header_map(response.headers()).unwrap();
    assert!(status.message().starts_with("circuit `menü-100%` is open"), "{}", status.message());
}

#[tokio::test]
async fn a_circuit_that_waits_for_a_person_forbids_the_retry() {
    let open = circuit("inventory", |config| config.recovery(Recovery::Manual));
    let response = open.reject(GrpcRejection::new().with_details()).await;
    assert_eq!(response.headers()["grpc-retry-pushback-ms"], "-1");
    let status = Status::from_header_map(response.headers()).unwrap();
    assert!(status.get_details_retry_info().is_none(), "no time is known");
    assert_eq!(status.get_details_error_info().unwrap().reason, "CIRCUIT_OPEN");
}

#[tokio::test]
async fn a_half_open_circuit_leaves_the_backoff_to_the_caller() {
    let open = circuit("inventory", |config| config);
    open.clock.advance(Duration::from_secs(3_600));
    let probe = open.circuit.try_acquire().unwrap();
    let response = open.reject(GrpcRejection::new().with_details()).await;
    drop(probe);
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers().get("grpc-retry-pushback-ms"), None);
    let info = Status::from_header_map(response.headers()).unwrap().get_details_error_info().unwrap();
    assert_eq!((&*info.reason, &*info.domain), ("CIRCUIT_HALF_OPEN", "tower-circuit-breaker"));
    assert_eq!(info.metadata["service"], "inventory");
}

/// A circuit that one failure has opened, for a minute unless it is told otherwise.
pub(super) struct Opened {
    circuit: Circuit,
    clock: MockClock,
}

pub(super) fn circuit(
    name: &'static str,
    set: impl FnOnce(tower_circuit_breaker::config::ConfigBuilder) -> tower_circuit_breaker::config::ConfigBuilder,
) -> Opened {
    let clock = MockClock::new();
    let circuit = Circuit::new(set(Config::classic(name).clock(clock.clone())).build().unwrap());
    while let Ok(permit) = circuit.try_acquire() {
        permit.failure(Failure::hard());
    }
    Opened { circuit, clock }
}

impl Opened {
    pub(super) fn rejected(&self) -> Rejected {
        self.circuit.try_acquire().unwrap_err()
    }

    pub(super) async fn reject(&self, rejection: GrpcRejection) -> Response<Full<Bytes>> {
        let layer = CircuitBreakerLayer::new(&self.circuit).rejection(rejection);
        let inner = tower::service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::default())) });
        tower::Layer::layer(&layer, inner).oneshot(Request::new(())).await.unwrap()
    }
}
