//! The service: a real HTTP server on a loopback port, which can be taken down, slowed down and broken.
//!
//! It has a few workers and a queue, and it does not notice that a caller has given up: most servers with a database
//! behind them are like that, and it is why retries hurt them.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpSocket;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::record::{Notes, What};

/// The number of a shard. A shard holds a part of the orders.
pub(crate) type Shard = u64;
pub(crate) const SHARDS: Shard = 3;
/// The shard that goes down, if one does.
pub(crate) const LOST: Shard = 2;

pub(crate) const WORKERS: usize = 8;
pub(crate) const USUAL: Duration = Duration::from_millis(20);
pub(crate) const SLOW: Duration = Duration::from_millis(600);

/// How the service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Health {
    #[default]
    Healthy,
    Down,
    Slow,
    Failing,
    /// One of the shards answers 503.
    ShardDown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "healthy",
            Self::Down => "down",
            Self::Slow => "slow",
            Self::Failing => "answers 500",
            Self::ShardDown => "shard down",
        })
    }
}

/// One server and its port.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    health: watch::Sender<Health>,
    notes: Notes,
    /// While it is down: bound and not listening. The port stays ours, and whoever connects is refused.
    port: Option<TcpSocket>,
    process: Option<Process>,
}

impl Server {
    /// Starts a healthy server on a free port. Every request that reaches it is noted.
    pub(crate) fn start(notes: Notes) -> io::Result<Self> {
        let port = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = port.local_addr()?;
        let mut server = Self { address, health: watch::Sender::default(), notes, port: Some(port), process: None };
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
            if let Some(process) = self.process.take() {
                process.kill()?;
                self.port = Some(bind(self.address)?);
            }
        } else if let Some(port) = self.port.take() {
            let workers = Arc::new(Semaphore::new(WORKERS));
            let desk = Desk { health: self.health.subscribe(), workers, notes: self.notes.clone() };
            self.process = Some(Process::spawn(port, desk)?);
        }
        Ok(())
    }
}

/// A server's thread and runtime, its own as those of a process: killed, it takes open connections and its queue along.
#[derive(Debug)]
struct Process {
    thread: JoinHandle<io::Result<()>>,
    alive: oneshot::Sender<Infallible>,
}

impl Process {
    fn spawn(port: TcpSocket, desk: Desk) -> io::Result<Self> {
        let (alive, killed) = oneshot::channel();
        let app = Router::new().route("/orders/{shard}", get(answer)).route("/health", get(check)).with_state(desk);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let listener = port.listen(1024)?;
                tokio::select! {
                    served = axum::serve(listener, app).into_future() => served,
                    _ = killed => Ok(()),
                }
            })
        });
        Ok(Self { thread, alive })
    }

    fn kill(self) -> io::Result<()> {
        drop(self.alive);
        self.thread.join().map_err(|_| io::Error::other("the server had panicked"))?
    }
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct Desk {
    health: watch::Receiver<Health>,
    workers: Arc<Semaphore>,
    notes: Notes,
}

async fn answer(Path(shard): Path<Shard>, State(desk): State<Desk>) -> StatusCode {
    desk.notes.add(What::Reached { shard });
    desk.work(Some(shard)).await
}

/// The health endpoint: it does the work of a request, because an answer without work would say nothing of the workers.
async fn check(State(desk): State<Desk>) -> StatusCode {
    desk.notes.add(What::Checked);
    desk.work(None).await
}

impl Desk {
    async fn work(self, shard: Option<Shard>) -> StatusCode {
        let job = tokio::spawn(async move {
            let _worker = self.workers.acquire().await;
            let health = *self.health.borrow();
            tokio::time::sleep(if health == Health::Slow { SLOW } else { USUAL }).await;
            match health {
                Health::Failing => StatusCode::INTERNAL_SERVER_ERROR,
                Health::ShardDown if shard == Some(LOST) => StatusCode::SERVICE_UNAVAILABLE,
                Health::ShardDown | Health::Healthy | Health::Down | Health::Slow => StatusCode::OK,
            }
        });
        job.await.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Binds a socket, though connections of the last process on that port may still be closing.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
