//! A hyper client with a circuit for each host: `cargo run --features full --example axum_client_per_host`.
//!
//! One of two axum servers answers each request with 503. Its circuit opens, and calls of the other server go on. The key is the
//! authority of the URI, host and port, because a connection is made to both. The program fails if anything else happens.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::{Router, routing::get};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::{CircuitBreakerLayer, Config, Outcome, Registry, Rejected, State};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, BoxError> {
    let well = serve(StatusCode::OK).await?;
    let ill = serve(StatusCode::SERVICE_UNAVAILABLE).await?;

    let registry = Registry::new();
    // Host and port, in lower case. The authority could contain a password. A request without a host has no circuit.
    let per_host = Keyed::builder(&registry, |name| Config::builder(name).consecutive_failures(5))
        .prefix("host:")
        .max_keys(1_000)
        .by(|request: &Request<Body>| {
            let (host, port) = (request.uri().host()?, request.uri().port_u16().unwrap_or(80));
            Some(format!("{}:{port}", host.to_ascii_lowercase()).into())
        })?;
    let mut client = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::keyed(per_host).classify(judge))
        .map_response(|response: Response<_>| response.map(Body::new))
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());

    let (mut answers, mut rejected) = (0, 0);
    for _ in 0..20 {
        for server in [&well, &ill] {
            let request = Request::get(format!("http://{}/", server.address)).body(Body::empty())?;
            match client.ready().await?.call(request).await {
                Ok(response) => {
                    answers += u32::from(response.status().is_success());
                    response.into_body().collect().await?;
                }
                Err(error) => match Rejected::find(error.as_ref()) {
                    Some(why) => {
                        if rejected == 0 {
                            println!("The first rejection: {why}");
                        }
                        rejected += 1;
                    }
                    None => return Err(error),
                },
            }
        }
    }
    let seen = [&well, &ill].map(|server| server.seen.try_iter().count());
    let states = [&well, &ill]
        .map(|server| registry.get(&format!("host:{}", server.address)).map(|circuit| circuit.status().state));
    println!("The server that is well saw {} requests and answered {answers}.", seen[0]);
    println!("The server that is ill saw {} requests; {rejected} were rejected before they were sent.", seen[1]);
    for circuit in registry.circuits() {
        println!("Circuit {} is {}.", circuit.name(), circuit.status().standing());
    }
    let as_it_should = seen == [20, 5] && answers == 20 && states == [Some(State::Closed), Some(State::Open)];
    Ok(if as_it_should { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A server's errors are failures, and so is no answer at all.
fn judge(result: Result<&Response<Body>, &hyper_util::client::legacy::Error>) -> Outcome {
    match result {
        Ok(response) if response.status().is_server_error() => Outcome::failure(),
        Ok(_) => Outcome::Success,
        Err(error) => tower_circuit_breaker::classify::outcome_of(error),
    }
}

struct Server {
    address: String,
    /// Is notified of each request.
    seen: Receiver<()>,
}

/// Starts a server that always gives that answer.
async fn serve(status: StatusCode) -> Result<Server, BoxError> {
    let (tell, seen) = channel();
    let handler = move || async move {
        tell.send(()).ok();
        status
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(handler))).await });
    Ok(Server { address, seen })
}
