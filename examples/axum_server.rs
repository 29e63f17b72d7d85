//! An axum server with a circuit in front of its warehouse: `cargo run --features full --example axum_server`.
//!
//! While the warehouse is down, calls are rejected before a handler runs, with the time at which callers may come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::routing::get;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_circuit_breaker::State::Closed;
use tower_circuit_breaker::classify::HttpClassifier;
use tower_circuit_breaker::rejection::HttpRejection;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, OpenDuration};

/// The service that the handlers call, which is down now and then.
#[derive(Default)]
struct Warehouse {
    down: AtomicBool,
    asked: AtomicU32,
}

async fn stock(State(warehouse): State<Arc<Warehouse>>) -> Result<&'static str, StatusCode> {
    // Relaxed, because the count and the switch publish no other data.
    warehouse.asked.fetch_add(1, Ordering::Relaxed);
    if warehouse.down.load(Ordering::Relaxed) { Err(StatusCode::BAD_GATEWAY) } else { Ok("17 in stock") }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let open_for = OpenDuration::fixed(Duration::from_millis(900));
    // Once, not for each request: the circuit is what requests share.
    let circuit = Circuit::new(Config::builder("warehouse").open_for(open_for).build()?);
    let warehouse = Arc::new(Warehouse::default());
    let app = Router::new()
        .route("/stock", get(stock))
        .layer(
            CircuitBreakerLayer::new(&circuit)
                .classifier(HttpClassifier::for_handlers())
                .rejection(HttpRejection::new()),
        )
        // After the layer, so that it is outside: the server's health is no matter of the warehouse's.
        .route("/health", get(|| async { "well" }))
        .with_state(Arc::clone(&warehouse));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?);
    let mut servers = JoinSet::new();
    servers.spawn(async move { axum::serve(listener, app).await });

    expect(200, "the warehouse answers", ask(&uri, "/stock").await?)?;
    warehouse.down.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        expect(502, "the warehouse is down", ask(&uri, "/stock").await?)?;
    }

    // Relaxed, because the server has answered, and the counts are compared with themselves.
    let asked = warehouse.asked.load(Ordering::Relaxed);
    let rejected = ask(&uri, "/stock").await?;
    let wait = rejected.retry_after.ok_or("a rejection says when to come again")?;
    expect(503, "rejected, the warehouse is left alone", rejected)?;
    if warehouse.asked.load(Ordering::Relaxed) != asked {
        return Err("a rejected request reached the handler".into());
    }
    expect(200, "the route outside the layer", ask(&uri, "/health").await?)?;

    println!("\nThe warehouse is up again; the caller waits for {wait} s, as Retry-After asked.\n");
    // Relaxed, because the next request carries no other data of this thread.
    warehouse.down.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(wait)).await;
    for _ in 0..3 {
        expect(200, "recovered", ask(&uri, "/stock").await?)?;
    }
    println!("\nWhat happened, and why:");
    for edge in &circuit.status().transitions {
        println!("{} -> {}: {}", edge.from, edge.to, edge.reason);
    }
    let closed = circuit.status().state == Closed;
    if closed { Ok(()) } else { Err("the circuit did not close again".into()) }
}

struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: String,
}

async fn ask(uri: &str, path: &str) -> Result<Answer, BoxError> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(Request::get(format!("{uri}{path}")).body(Body::empty())?).await?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?;
    Ok(Answer { status, retry_after, body })
}

fn expect(status: u16, what: &str, answer: Answer) -> Result<(), BoxError> {
    let Answer { status: got, retry_after, body } = answer;
    let retry_after = retry_after.map_or_else(String::new, |seconds| format!(" Retry-After: {seconds}"));
    println!("{what}: {got}{retry_after} {body}");
    if got == status { Ok(()) } else { Err(format!("{status} was expected").into()) }
}
