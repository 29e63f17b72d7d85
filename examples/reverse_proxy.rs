//! A reverse proxy that spares an upstream in trouble: `cargo run --features full --example reverse_proxy`.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::Request;
use axum::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use axum::http::{Response, StatusCode, Version, header};
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;
use tower_circuit_breaker::classify::HttpClassifier;
use tower_circuit_breaker::rejection::HttpRejection;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, OpenDuration, State};

fn proxy(circuit: &Circuit, upstream: Authority) -> Router {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let breaker =
        CircuitBreakerLayer::new(circuit).classifier(HttpClassifier::for_handlers()).rejection(HttpRejection::new());
    let stack = ServiceBuilder::new()
        // Only errors of the upstream arrive here, because the circuit answers with a response. Their text can name
        // hosts, so the client gets the status only.
        .layer(HandleErrorLayer::new(async |error: BoxError| {
            eprintln!("upstream: {error}");
            StatusCode::BAD_GATEWAY
        }))
        .layer(breaker)
        .layer(TimeoutLayer::new(Duration::from_secs(2)))
        // Below the breaker: it answers with a body of its own making, which hyper's `Incoming` does not allow.
        .map_response(|response: Response<_>| response.map(Body::new))
        .map_request(move |request| towards(&upstream, request))
        .service(client);
    Router::new().fallback_service(stack)
}

/// Sends the request on. A real proxy also removes the hop-by-hop headers (RFC 9110, 7.6.1).
fn towards(upstream: &Authority, mut request: Request) -> Request {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(upstream.clone()));
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are there");
    request.headers_mut().remove(header::HOST);
    // The client of the upstream speaks HTTP/1, and a client of the proxy can speak HTTP/2.
    *request.version_mut() = Version::HTTP_11;
    request
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (alive, is_alive) = watch::channel(true);
    let (requests, count) = watch::channel(0);
    let upstream = Router::new().route(
        "/orders/7",
        get(async move || {
            requests.send_modify(|count| *count += 1);
            if *is_alive.borrow() { Ok("an order\n") } else { Err(StatusCode::INTERNAL_SERVER_ERROR) }
        }),
    );
    let upstream = serve(upstream).await?;

    let config = Config::builder("upstream").open_for(OpenDuration::fixed(Duration::from_millis(1_500))).probes(1);
    let circuit = Circuit::new(config.build()?);
    let address = serve(proxy(&circuit, upstream.parse()?)).await?;
    let client = reqwest::Client::new();
    let call = async |when: &str| -> Result<reqwest::Response, BoxError> {
        let response = client.get(format!("http://{address}/orders/7")).send().await?;
        println!("{when}: {}, {} requests have reached the upstream", response.status(), *count.borrow());
        Ok(response)
    };

    call("well   ").await?;
    alive.send_replace(false);
    while circuit.status().state == State::Closed {
        call("failing").await?;
    }
    let before = *count.borrow();
    for _ in 0..3 {
        let response = call("open   ").await?;
        let wait = response.headers().get(header::RETRY_AFTER).cloned();
        expect(response.status() == StatusCode::SERVICE_UNAVAILABLE && wait.is_some(), "503 with Retry-After")?;
        println!("         Retry-After: {wait:?}, {}", response.text().await?);
    }
    expect(*count.borrow() == before, "no rejected request reached the upstream")?;
    println!("The proxy answered for the upstream: 503 with Retry-After, and {before} requests as before.");

    alive.send_replace(true);
    sleep(circuit.status().retry_after.unwrap_or_default() + Duration::from_millis(10)).await;
    let response = call("well   ").await?;
    expect(response.status() == StatusCode::OK, "the probe found the upstream well")?;
    expect(*count.borrow() == before + 1, "it was one request")?;
    expect(response.text().await? == "an order\n", "the body came through")?;
    println!("The upstream is back, and the circuit is {}.", circuit.status().state);
    expect(circuit.status().state == State::Closed, "the circuit closed")
}

/// Serves on a port of its own until the process ends, and says which.
async fn serve(app: Router) -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    drop(tokio::spawn(async { axum::serve(listener, app).await }));
    Ok(address)
}

fn expect(held: bool, what: &str) -> Result<(), BoxError> {
    if held { Ok(()) } else { Err(format!("this did not happen: {what}").into()) }
}
