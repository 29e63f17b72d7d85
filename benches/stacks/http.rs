//! The HTTP classifier beside the default one: closed circuits, a service that is ready with its answer.

use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::classify::HttpClassifier;
use tower_circuit_breaker::rejection::HttpRejection;
use tower_circuit_breaker::{By, Circuit, CircuitBreakerLayer, Config, Failure, Outcome};

use crate::cli::{Options, print_table};
use crate::rounds::{PRICE_HEADER, Rounds, price_rows};

pub(crate) fn run(options: &Options) {
    println!("the HTTP classifier, closed circuit:\n");
    let mut rounds = Rounds::default();
    let plain = HttpClassifier::new;
    let overridden =
        || plain().status(StatusCode::NOT_FOUND, Failure::hard()).status(StatusCode::CONFLICT, Outcome::Ignored);
    case(&mut rounds, "bare service_fn", StatusCode::OK, None, service_fn);
    case(&mut rounds, "no classifier", StatusCode::OK, None, |f| layer().layer(service_fn(f)));
    case(&mut rounds, "HttpClassifier, 200", StatusCode::OK, None, |f| {
        layer().classifier(plain()).layer(service_fn(f))
    });
    case(&mut rounds, "HttpClassifier with overrides, 200", StatusCode::OK, None, |f| {
        layer().classifier(overridden()).layer(service_fn(f))
    });
    for (name, retry_after) in [
        ("HttpClassifier, 503", None),
        ("HttpClassifier, 503 with seconds", Some("120")),
        ("HttpClassifier, 503 with a date", Some("Sun, 06 Nov 1994 08:50:07 GMT")),
    ] {
        case(&mut rounds, name, StatusCode::SERVICE_UNAVAILABLE, retry_after, |f| {
            layer().classifier(plain()).layer(service_fn(f))
        });
    }
    print_table(&PRICE_HEADER, &price_rows(&rounds.measure(options)));

    println!("rejections as responses:\n");
    let mut rounds = Rounds::default();
    case(&mut rounds, "bare service_fn", StatusCode::OK, None, service_fn);
    case(&mut rounds, "headers only", StatusCode::OK, None, |f| {
        opened().rejection(HttpRejection::new().headers_only()).layer(service_fn(f))
    });
    case(&mut rounds, "problem+json", StatusCode::OK, None, |f| {
        opened().rejection(HttpRejection::new()).layer(service_fn(f))
    });
    case(&mut rounds, "problem+json, explained", StatusCode::OK, None, |f| {
        opened().rejection(HttpRejection::new().explained()).layer(service_fn(f))
    });
    print_table(&PRICE_HEADER, &price_rows(&rounds.measure(options)));
}

type Answer = Ready<Result<Response<String>, std::io::Error>>;
type Handler = Box<dyn Fn(Request<()>) -> Answer>;

/// A service around a handler that answers with this status, called without a runtime.
fn case<S>(
    rounds: &mut Rounds,
    name: &str,
    status: StatusCode,
    retry_after: Option<&'static str>,
    guard: impl FnOnce(Handler) -> S,
) where
    S: Service<Request<()>, Response = Response<String>> + 'static,
{
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
    }
    // A header map that is not empty costs an allocation, in every case alike.
    let answer = move |_| {
        let mut response = Response::new(String::new());
        *response.status_mut() = status;
        response.headers_mut().clone_from(black_box(&headers));
        ready(Ok(response))
    };
    let mut service = guard(Box::new(answer));
    rounds.case(name, move |calls| {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..calls {
            assert!(matches!(service.poll_ready(&mut context), Poll::Ready(Ok(()))), "it always is");
            let answer = pin!(service.call(black_box(Request::new(())))).poll(&mut context);
            assert!(black_box(answer).is_ready(), "the answer is there");
        }
    });
}

/// Never opens: the run that trips is out of reach.
fn layer() -> CircuitBreakerLayer {
    let config = Config::builder("bench").without_shipped_observers().without_failure_rate();
    let config = config.consecutive_failures(u32::MAX).build();
    CircuitBreakerLayer::new(&Circuit::new(config.expect("settings that can work")))
}

fn opened() -> CircuitBreakerLayer {
    let config = Config::builder("bench").without_shipped_observers().build().expect("settings that can work");
    let circuit = Circuit::new(config);
    circuit.trip(&By::new("bench", "to see what a rejection costs").expect("a name and a reason"), None);
    CircuitBreakerLayer::new(&circuit)
}
