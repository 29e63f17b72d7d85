//! A reqwest client behind a circuit, in an outage: `cargo run --features full --example reqwest_client`.

use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use reqwest::{Client, Method, Request};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tower::timeout::TimeoutLayer;
use tower::{ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::ReqwestClassifier;
use tower_circuit_breaker::rejection::ReqwestRejection;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, OpenDuration, Rejected};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (health, watched) = watch::channel(Health::Well);
    let (requests, count) = watch::channel(0);
    let url = serve(watched, requests).await?;

    let config = Config::builder("payments").open_for(OpenDuration::fixed(Duration::from_millis(300))).probes(1);
    let circuit = Circuit::new(config.build()?);
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new());
    // A rejection is an error here.
    let client = ServiceBuilder::new()
        .layer(layer.clone())
        .layer(TimeoutLayer::new(Duration::from_millis(100)))
        .service(Client::new());
    let call = async || match client.clone().oneshot(Request::new(Method::GET, url.parse()?)).await {
        Ok(response) => Ok::<_, BoxError>(response.status().to_string()),
        Err(error) => Ok(match Rejected::find(error.as_ref()) {
            Some(rejected) => format!("not sent, {rejected}"),
            None => format!("failed, {error}"),
        }),
    };

    println!("well:    {}", call().await?);
    health.send_replace(Health::Failing);
    for _ in 0..3 {
        println!("failing: {}", call().await?);
    }
    health.send_replace(Health::Hanging);
    for _ in 0..4 {
        println!("hanging: {}", call().await?); // half of a failure each
    }
    let sent = *count.borrow();
    let answer = call().await?;
    println!("open:    {answer}");
    expect(answer.starts_with("not sent"), "the circuit is open")?;

    // The same circuit, for callers who look at the status and want no other error than reqwest's.
    let answering = layer.rejection(ReqwestRejection::new());
    let client_of_responses = ServiceBuilder::new().layer(answering).service(Client::new());
    let response = client_of_responses.oneshot(Request::new(Method::GET, url.parse()?)).await?;
    let by_circuit = response.extensions().get::<Rejected>().is_some();
    let wait = response.headers().get(header::RETRY_AFTER);
    println!(
        "open:    {} from {}, Retry-After {wait:?}, by the circuit: {by_circuit}",
        response.status(),
        response.url()
    );
    expect(by_circuit && response.url().as_str() == url, "the response is the circuit's, with the request's URL")?;
    expect(*count.borrow() == sent, "no rejected call is sent")?;
    println!("The server was sent {sent} requests, and none while the circuit was open.");

    health.send_replace(Health::Well);
    sleep(circuit.status().retry_after.unwrap_or_default() + Duration::from_millis(10)).await;
    let answer = call().await?;
    println!("well:    {answer}, the circuit is {}", circuit.status().state);
    expect(answer == "200 OK", "the probe finds the server well")
}

#[derive(Clone, Copy)]
enum Health {
    Well,
    Failing,
    Hanging,
}

/// A server whose health the example sets, and that counts its requests.
async fn serve(health: watch::Receiver<Health>, requests: watch::Sender<u32>) -> Result<String, BoxError> {
    let app = Router::new().fallback(move || {
        requests.send_modify(|count| *count += 1);
        let now = *health.borrow();
        async move {
            match now {
                Health::Well => StatusCode::OK,
                Health::Failing => StatusCode::INTERNAL_SERVER_ERROR,
                Health::Hanging => std::future::pending().await,
            }
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    drop(tokio::spawn(async { axum::serve(listener, app).await }));
    Ok(url)
}

fn expect(held: bool, what: &str) -> Result<(), BoxError> {
    if held { Ok(()) } else { Err(format!("this did not happen: {what}").into()) }
}
