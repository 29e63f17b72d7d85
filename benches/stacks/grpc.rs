//! What the gRPC classifier adds to a call.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{HeaderValue, Request, Response};
use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::classify::{GrpcClassifier, GrpcCode};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Outcome};

use crate::cli::{Options, print_table};
use crate::rounds::{PRICE_HEADER, Rounds, price_rows};

type Answer = Ready<Result<Response<()>, Infallible>>;
type Head = fn(Request<()>) -> Answer;

pub(crate) fn run(options: &Options) {
    let heads: [(&str, Head); 2] =
        [("ns a call, head of a stream", stream), ("ns a call, trailers-only with status 5", not_found)];
    for (unit, answer) in heads {
        let mut rounds = Rounds::default();
        let layer = || {
            let config = Config::builder("bench").without_shipped_observers().build().expect("settings that can work");
            CircuitBreakerLayer::new(&Circuit::new(config)).typed_errors()
        };
        let mut bare = service_fn(black_box(answer));
        rounds.case("bare service_fn", move |calls| call(&mut bare, calls));
        let mut none = layer().layer(service_fn(black_box(answer)));
        rounds.case("default classifier", move |calls| call(&mut none, calls));
        for (name, classifier) in [
            ("GrpcClassifier", GrpcClassifier::new()),
            ("GrpcClassifier, a status changed", GrpcClassifier::new().status(GrpcCode::Aborted, Outcome::Ignored)),
        ] {
            let mut guarded = layer().classifier(classifier).layer(service_fn(black_box(answer)));
            rounds.case(name, move |calls| call(&mut guarded, calls));
        }
        println!("{unit}");
        print_table(&PRICE_HEADER, &price_rows(&rounds.measure(options)));
    }
}

fn stream(_: Request<()>) -> Answer {
    ready(Ok(head()))
}

fn not_found(_: Request<()>) -> Answer {
    let mut response = head();
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
    ready(Ok(response))
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(http::header::CONTENT_TYPE, GRPC);
    response
}

fn call<S: Service<Request<()>>>(service: &mut S, calls: u64) {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..calls {
        let mut request = Request::new(());
        request.headers_mut().insert(http::header::CONTENT_TYPE, GRPC);
        let ready = service.poll_ready(&mut context);
        assert!(matches!(ready, Poll::Ready(Ok(()))), "the inner service always is");
        assert!(pin!(service.call(black_box(request))).poll(&mut context).is_ready(), "it answers at once");
    }
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
