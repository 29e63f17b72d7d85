//! The service: a real HTTP server on a loopback port, which counts its requests by instance.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use reqwest::Url;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tower_circuit_breaker::BoxError;

use crate::record::{Notes, What};

/// A running service, which ends when the value is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    switches: Arc<Switches>,
    address: SocketAddr,
    /// A port that refuses connections, because no server listens on it. Keeping the socket reserves the port.
    closed: TcpSocket,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Switches {
    is_dead: AtomicBool,
    /// True if the next request gets no answer.
    keeps_next: AtomicBool,
    notes: Notes,
}

impl Service {
    /// Starts a healthy service.
    pub(crate) async fn start(notes: Notes) -> Result<Self, BoxError> {
        let switches = Switches { is_dead: false.into(), keeps_next: false.into(), notes };
        let switches = Arc::new(switches);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let closed = TcpSocket::new_v4()?;
        closed.bind("127.0.0.1:0".parse()?)?;
        let app = Router::new().route("/{instance}", get(answer)).with_state(switches.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap_or_default() });
        Ok(Self { switches, address, closed, _serving: serving })
    }

    /// Returns the address of the service for the instance with that number.
    pub(crate) fn url(&self, instance: usize) -> Result<Url, BoxError> {
        Ok(format!("http://{}/{instance}", self.address).parse()?)
    }

    /// Returns an address at which every connection is refused.
    pub(crate) fn bad_path(&self) -> Result<Url, BoxError> {
        Ok(format!("http://{}/", self.closed.local_addr()?).parse()?)
    }

    /// Makes the service answer every request with an error, or end that.
    pub(crate) fn set_dead(&self, is_dead: bool) {
        self.switches.is_dead.store(is_dead, Ordering::Relaxed);
    }

    /// Keeps the next request without an answer.
    pub(crate) fn keep_next(&self) {
        self.switches.keeps_next.store(true, Ordering::Relaxed);
    }
}

async fn answer(State(switches): State<Arc<Switches>>, Path(instance): Path<usize>) -> StatusCode {
    switches.notes.add(instance, What::Reached);
    // Relaxed, because the two switches publish no other data.
    if switches.keeps_next.swap(false, Ordering::Relaxed) {
        switches.notes.add(instance, What::Kept);
        return pending().await;
    }
    if switches.is_dead.load(Ordering::Relaxed) { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
}
