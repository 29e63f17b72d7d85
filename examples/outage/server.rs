//! The service: a real HTTP server on a loopback port, which can be taken down, slowed down and broken.
//!
//! It has a few workers and a queue, and it does not notice that a caller has given up: most servers with a database
//! behind them are like that, and it is why retries hurt them.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io, thread};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpSocket;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::record::{Notes, What};

pub(crate) const WORKERS: usize = 8;
pub(crate) const USUAL: Duration = Duration::from_millis(20);
pub(crate) const SLOW: Duration = Duration::from_millis(600);

/// How the service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy,
    Down,
    Slow,
    Failing,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "healthy",
            Self::Down => "down",
            Self::Slow => "slow",
            Self::Failing => "answers 500",
        })
    }
}

/// One server and its port.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    health: watch::Sender<Health>,
    notes: Notes,
    /// Bound and never listening: while the server is down the port stays ours, and whoever connects is refused.
    _port: TcpSocket,
    /// Dropping it ends the server's thread, and with it every connection: a process that died.
    process: Option<oneshot::Sender<Infallible>>,
}

impl Server {
    /// Starts a healthy server on a free port. Every request that reaches it is noted.
    pub(crate) fn start(notes: Notes) -> io::Result<Self> {
        let port = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = port.local_addr()?;
        let mut server = Self { address, health: watch::Sender::new(Health::Down), notes, _port: port, process: None };
        server.set(Health::Healthy)?;
        Ok(server)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the server healthy or sick, from the next request that a worker takes up.
    pub(crate) fn set(&mut self, health: Health) -> io::Result<()> {
        self.health.send_replace(health);
        if health == Health::Down {
            self.process = None;
        } else if self.process.is_none() {
            self.process = Some(self.spawn()?);
        }
        Ok(())
    }

    fn spawn(&self) -> io::Result<oneshot::Sender<Infallible>> {
        let (process, killed) = oneshot::channel();
        let desk = Desk {
            health: self.health.subscribe(),
            workers: Arc::new(Semaphore::new(WORKERS)),
            notes: self.notes.clone(),
        };
        let app = Router::new().route("/orders", get(answer)).with_state(desk);
        let socket = bind(self.address)?;
        // A runtime of its own, as a process has: when it goes, its open connections and its queue go too.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = socket.listen(1024)?;
                tokio::select! {
                    served = axum::serve(listener, app).into_future() => served,
                    _ = killed => Ok(()),
                }
            })
        });
        Ok(process)
    }
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct Desk {
    health: watch::Receiver<Health>,
    workers: Arc<Semaphore>,
    notes: Notes,
}

async fn answer(State(desk): State<Desk>) -> StatusCode {
    desk.notes.add(What::Reached);
    let job = async move {
        let _worker = desk.workers.acquire().await;
        let health = *desk.health.borrow();
        tokio::time::sleep(if health == Health::Slow { SLOW } else { USUAL }).await;
        if health == Health::Failing { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    };
    #[expect(clippy::disallowed_methods, reason = "a job must outlive the caller that gave up on it")]
    let job = tokio::spawn(job);
    job.await.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Binds a socket that may share its port with the one that reserves it.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
