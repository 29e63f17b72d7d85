//! A classifier of your own, which knows request and duration: `cargo run --example custom_classifier`.
//!
//! Each request brings a budget. An answer after the budget is of no use to the caller, and counts as a timeout, although the answer is
//! an `Ok`. A request without a budget may take any time, and its failures are ignored.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::classify::Classifier;
use tower_circuit_breaker::event::{Ended, Event, Observer};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Failure, Outcome};

struct Request {
    /// `None`: no caller waits for the answer.
    budget: Option<Duration>,
    takes: Duration,
    answer: Result<(), ErrorKind>,
}

#[derive(Clone)]
struct WithinItsBudget;

impl<Response> Classifier<Request, Response, io::Error> for WithinItsBudget {
    const NEEDS_ELAPSED: bool = true;
    /// The budget: the request itself is gone by the time the call ends.
    type Call = Option<Duration>;

    fn start(&self, request: &Request) -> Self::Call {
        request.budget
    }

    fn finish(&self, budget: Self::Call, result: Result<&Response, &io::Error>, elapsed: Duration) -> Outcome {
        match (budget, result) {
            (None, _) => Outcome::Ignored,
            (Some(budget), _) if elapsed > budget => Failure::timeout().with_kind(FailureKind::Named("late")).into(),
            // Not found is a success: the service looked, and there is none.
            (Some(_), Err(error)) if error.kind() != ErrorKind::NotFound => Outcome::failure(),
            (Some(_), _) => Outcome::Success,
        }
    }
}

/// Prints the outcome of each call.
#[derive(Debug)]
struct Aloud;

impl Observer for Aloud {
    fn on_event(&self, _circuit: &str, event: &Event<'_>) {
        if let Event::Finished { ended, .. } = event {
            if let Ended::Failure(failure) = ended {
                println!("{}, weight {:.1}", failure.kind(), failure.weight().as_f64());
            } else {
                println!("{ended:?}");
            }
        }
    }

    fn wants_calls(&self) -> bool {
        true
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let circuit = Circuit::new(Config::builder("orders").observer(Aloud).build()?);
    let mut orders = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit).classifier(WithinItsBudget))
        .service(service_fn(|request: Request| async move {
            tokio::time::sleep(request.takes).await;
            request.answer.map_err(io::Error::from)
        }));

    let ms = Duration::from_millis;
    for (name, budget, takes, answer) in [
        ("an order in time", Some(ms(50)), ms(5), Ok(())),
        ("the same, too late", Some(ms(50)), ms(80), Ok(())),
        ("a report, as late", Some(ms(500)), ms(80), Ok(())),
        ("an unknown order", Some(ms(50)), ms(5), Err(ErrorKind::NotFound)),
        ("a broken connection", Some(ms(50)), ms(5), Err(ErrorKind::ConnectionReset)),
        ("a nightly export", None, ms(80), Err(ErrorKind::ConnectionReset)),
    ] {
        print!("{name:<19} took {takes:>4.0?}: ");
        // What the caller makes of the answer is not the circuit's business.
        orders.ready().await?.call(Request { budget, takes, answer }).await.ok();
    }
    Ok(())
}
