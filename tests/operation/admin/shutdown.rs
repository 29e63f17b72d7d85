//! The graceful shutdown of a server with the page, while clients hold streams of events open.

#![expect(clippy::disallowed_methods, reason = "loom does not run this")]

use std::time::Duration;

use reqwest::Response;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower_circuit_breaker::Registry;
use tower_circuit_breaker::admin::AdminRouter;
use tower_circuit_breaker::store::MemoryStore;

use super::rig::{TOKEN, app, authorized, circuit};

/// A server that ends gracefully when `stop` is true.
struct Server {
    url: String,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(router: impl FnOnce(watch::Receiver<bool>) -> AdminRouter) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/circuits/api/events", listener.local_addr().unwrap());
        let app = app(router(stopped.clone()));
        let signal = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        let serving = tokio::spawn(async { axum::serve(listener, app).with_graceful_shutdown(signal).await.unwrap() });
        Self { url, stop, serving }
    }

    /// Requests the events and reads the first one.
    async fn follow(&self) -> Response {
        let mut events = request(&self.url).await;
        assert_eq!(events.status(), 200);
        events.chunk().await.unwrap().expect("the first beat");
        events
    }

    /// The server must return although the streams are held.
    async fn ends(self, when: &str) {
        // Only a failure takes this long.
        timeout(Duration::from_secs(30), self.serving).await.expect(when).unwrap();
    }
}

async fn request(url: &str) -> Response {
    reqwest::Client::new().get(url).header("authorization", format!("Bearer {TOKEN}")).send().await.unwrap()
}

async fn ended(mut events: Response) {
    while events.chunk().await.unwrap().is_some() {}
}

#[tokio::test]
async fn streams_end_when_the_shutdown_of_the_registry_begins() {
    for registry in [Registry::new(), Registry::builder().store(MemoryStore::new()).build().unwrap()] {
        drop(registry.restore(Duration::from_secs(1)).await.unwrap());
        circuit(&registry, "payments");
        let server = Server::start(|_| authorized(&registry)).await;
        let (held, read) = (server.follow().await, server.follow().await);
        server.stop.send_replace(true);
        drop(registry.shutdown(Duration::from_secs(1)).await);
        ended(read).await;
        server.ends("two streams were open").await;
        drop(held);
    }
}

#[tokio::test]
async fn streams_end_at_the_signal_that_the_router_was_given() {
    let registry = Registry::new();
    let server = Server::start(|stopped| {
        authorized(&registry).shutdown_signal(move || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stopped| *stopped).await) }
        })
    })
    .await;
    let (held, read) = (server.follow().await, server.follow().await);
    server.stop.send_replace(true);
    ended(read).await;
    server.ends("the registry is not shut down").await;
    drop(held);
}

#[tokio::test]
async fn a_client_that_never_reads_its_events_does_not_hold_the_server() {
    let registry = Registry::new();
    let server = Server::start(|_| authorized(&registry)).await;
    let address = server.url.split('/').nth(2).unwrap().to_owned();
    let mut silent = TcpStream::connect(&address).await.unwrap();
    let head = format!("GET /circuits/api/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    silent.write_all(head.as_bytes()).await.unwrap();
    silent.readable().await.unwrap();
    server.stop.send_replace(true);
    drop(registry.shutdown(Duration::from_secs(1)).await);
    server.ends("a client reads nothing").await;
    drop(silent);
}

#[tokio::test]
async fn streams_are_refused_from_a_shutdown_to_the_next_start() {
    let registry = Registry::new();
    let server = Server::start(|_| authorized(&registry)).await;
    let read = server.follow().await;
    drop(registry.shutdown(Duration::from_secs(1)).await);
    ended(read).await;
    let refused = request(&server.url).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    assert!(refused.text().await.unwrap().contains("\"kind\":\"shutting_down\""));
    drop(registry.restore(Duration::from_secs(1)).await.unwrap());
    server.follow().await;
}

#[tokio::test]
async fn a_subscriber_gets_the_events_before_the_shutdown_and_then_the_end() {
    let registry = Registry::new();
    let mut news = registry.subscribe();
    circuit(&registry, "payments");
    drop(registry.shutdown(Duration::from_secs(1)).await);
    circuit(&registry, "orders");
    assert_eq!(news.next().await.unwrap().circuit, "payments");
    assert_eq!(news.next().await, None);
    assert_eq!(registry.subscribe().next().await, None, "also of a later subscription");
    registry.start().unwrap();
    let mut news = registry.subscribe();
    circuit(&registry, "prices");
    assert_eq!(news.next().await.unwrap().circuit, "prices");
}
