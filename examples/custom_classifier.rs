//! A classifier of your own, which knows the request and how long the call took: `cargo run --example custom_classifier`.
//!
//! Each request brings a budget. An answer after it is of no use to the caller, so it counts as a timeout, although it is an
//! `Ok`; a request that nobody waits for may take as long as it likes, and its failures say nothing.

use std::time::Duration;

use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::classify::Classifier;
use tower_circuit_breaker::event::{Ended, Event, Observer};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Failure, Outcome};

struct Request {
    what: &'static str,
    /// `None`: nobody waits for it.
    budget: Option<Duration>,
    takes: Duration,
    answer: Answer,
}

type Answer = Result<&'static str, Refusal>;

#[derive(Debug, Clone, Copy)]
enum Refusal {
    NoSuchOrder,
    Broken,
}

#[derive(Debug, Clone)]
struct WithinItsBudget;

impl<Res> Classifier<Request, Res, Refusal> for WithinItsBudget {
    const NEEDS_ELAPSED: bool = true;
    /// What `finish` has to know of the request, which is gone by then.
    type Call = Option<Duration>;

    fn start(&self, request: &Request) -> Self::Call {
        request.budget
    }

    fn finish(&self, budget: Self::Call, result: Result<&Res, &Refusal>, elapsed: Duration) -> Outcome {
        match (budget, result) {
            (None, _) => Outcome::Ignored,
            (Some(budget), _) if elapsed > budget => Failure::timeout().with_kind(FailureKind::Named("late")).into(),
            // The service looked, and there is none: it did its job.
            (Some(_), Ok(_) | Err(Refusal::NoSuchOrder)) => Outcome::Success,
            (Some(_), Err(Refusal::Broken)) => Outcome::failure(),
        }
    }
}

/// Prints what each call counted as.
#[derive(Debug)]
struct Aloud;

impl Observer for Aloud {
    fn on_event(&self, _circuit: &str, event: &Event<'_>) {
        if let Event::Finished { ended, .. } = event {
            match ended {
                Ended::Failure(failure) => println!("{}, weight {}", failure.kind(), failure.weight().as_f64()),
                other => println!("{other:?}"),
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
            request.answer
        }));

    let ms = Duration::from_millis;
    for request in [
        Request { what: "an order in time", budget: Some(ms(50)), takes: ms(5), answer: Ok("an order") },
        Request { what: "the same, too late", budget: Some(ms(50)), takes: ms(80), answer: Ok("an order") },
        Request { what: "a report, as late", budget: Some(ms(500)), takes: ms(80), answer: Ok("a report") },
        Request { what: "an unknown order", budget: Some(ms(50)), takes: ms(5), answer: Err(Refusal::NoSuchOrder) },
        Request { what: "an answer of 500", budget: Some(ms(50)), takes: ms(5), answer: Err(Refusal::Broken) },
        Request { what: "a nightly export", budget: None, takes: ms(80), answer: Err(Refusal::Broken) },
    ] {
        print!("{:<19} took {:>3} ms: ", request.what, request.takes.as_millis());
        // What the caller makes of the answer is not the circuit's business.
        orders.ready().await?.call(request).await.ok();
    }
    println!("failure rate so far: {:?}, too few calls to mean anything", circuit.status().failure_rate);
    Ok(())
}
