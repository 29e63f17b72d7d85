//! `GrpcRejection`, as headers and as tonic's client decodes it.

use tower_circuit_breaker::By;
use tower_circuit_breaker::rejection::Rejection;

use super::*;
use crate::http::limited;

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
    let rejected = Rejected::find_in(response.extensions()).expect("layers outside know it");
    assert_eq!(rejected.circuit(), "inventory");
    let message = "circuit `inventory` is open, and this attempt went no further; try again in 2 s";
    assert_eq!(header("grpc-message"), Some(message), "there is nothing to encode in it");
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

#[tokio::test]
async fn a_rejection_discloses_as_much_as_its_level_says() {
    let open = circuit("ledger-db01", |config| config);
    let by = By::new("ana@corp.example", "ticket SEC-1234").unwrap();
    open.circuit.trip(&by, None);
    let message = async |rejection: GrpcRejection| {
        let response = open.reject(rejection.with_details()).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        let service = status.get_details_error_info().map(|info| info.metadata["service"].clone());
        (status.message().to_owned(), service)
    };
    let named = Some("ledger-db01".to_owned());
    let (default, service) = message(GrpcRejection::new()).await;
    assert_eq!(
        (&*default, service),
        ("circuit `ledger-db01` is open, and this attempt went no further", named.clone())
    );
    let (explained, service) = message(GrpcRejection::new().explained()).await;
    assert!(explained.contains("ana@corp.example") && explained.contains("SEC-1234"), "{explained}");
    assert_eq!(service, named);
    let (anonymous, service) = message(GrpcRejection::new().anonymous()).await;
    assert_eq!((&*anonymous, service), ("the service is unavailable for now, and this attempt went no further", None));
    let (last, _) = message(GrpcRejection::new().explained().anonymous()).await;
    assert_eq!(last, anonymous, "the last setting applies");
}

#[tokio::test]
async fn all_headers_together_stay_below_4_kib_whatever_names_and_reasons_are() {
    for text in ["a", "%", "`", "\"", "ü", "🦀"] {
        let longest = |bytes: usize| text.repeat(bytes / text.len());
        let circuit = Circuit::new(Config::new(&longest(200)).unwrap());
        circuit.trip(&By::new(&text.repeat(200), &text.repeat(500)).unwrap(), Some(Duration::from_secs(86_400)));
        let rejected = || circuit.try_acquire().unwrap_err();
        for rejection in [GrpcRejection::new(), GrpcRejection::new().explained(), GrpcRejection::new().anonymous()] {
            for rejection in [rejection, rejection.with_details()] {
                let answer: Result<Response<String>, Infallible> = rejection.reject(rejected(), Request::new(()));
                let status: Response<String> = rejection.status(&rejected()).into_http();
                for (form, response) in [("headers", answer.unwrap()), ("a status", status)] {
                    let headers = response.headers();
                    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
                    assert!(bytes < 4_096, "{text}, {form}: {bytes} bytes");
                    let read = Status::from_header_map(headers).unwrap();
                    assert!(read.code() == Code::Unavailable && !read.message().is_empty(), "{text}, {form}");
                    assert!(read.message().len() <= 640, "{text}, {form}");
                }
            }
        }
    }
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

#[test]
fn a_limited_circuit_is_unavailable_with_a_pushback() {
    for (rejected, reason) in [
        (limited(|settings| settings.ramp(Duration::from_secs(10))), "CIRCUIT_RAMP"),
        (limited(|settings| settings.ramp(Duration::ZERO).throttle(2.0)), "CIRCUIT_THROTTLED"),
    ] {
        let status = GrpcRejection::new().with_details().status(&rejected);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
        assert_eq!(status.get_details_error_info().unwrap().reason, reason);
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    }
}
