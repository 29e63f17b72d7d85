//! A server on loopback with the router in it, and a client.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower_circuit_breaker::admin::{self, AdminRouter, User};
use tower_circuit_breaker::{Config, Failure, OpenDuration, Outcome, Registry};

/// A server with a runtime of its own: when that goes, every connection does.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
    client: reqwest::Client,
}

impl Served {
    pub(crate) async fn start(router: Router) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), router).await
    }

    pub(crate) async fn at(address: SocketAddr, router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // On that runtime, to which the socket then belongs.
        let listener = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, runtime: Some(runtime), client: reqwest::Client::new() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/circuits", self.address)
    }

    /// A request as a program sends it, with the token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("authorization", format!("Bearer {TOKEN}"))
    }

    /// The same without the token.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url()))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        answer(request.body(body.to_owned()).send().await.unwrap()).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Status and JSON of an answer.
pub(crate) async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} is answered with JSON: {text}")))
}

/// Nested in an application that has a state of its own.
pub(crate) fn app(router: AdminRouter) -> Router {
    #[derive(Clone)]
    struct TheirState;

    Router::new().nest("/circuits", router.build()).with_state(TheirState)
}

/// Lets alice in by her token.
pub(crate) fn authorized(registry: &Registry) -> AdminRouter {
    admin::router(registry).authorize(admin::bearer(&[(TOKEN, User::new("alice").unwrap())]).unwrap())
}

/// Adds a circuit that opens for a minute after 5 failures in a row.
pub(crate) fn circuit(registry: &Registry, name: &str) -> tower_circuit_breaker::Circuit {
    let open_for = OpenDuration::fixed(Duration::from_secs(60));
    registry.circuit(Config::builder(name).open_for(open_for).build().unwrap()).unwrap()
}

/// Lets calls fail until it opens.
pub(crate) fn fail(circuit: &tower_circuit_breaker::Circuit) {
    while let Ok(permit) = circuit.try_acquire() {
        permit.record(Outcome::Failure(Failure::hard()));
    }
}

pub(crate) const TOKEN: &str = "correct-horse-battery";
