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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Health {
    #[default]
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
        let app = Router::new().route("/orders", get(answer)).with_state(desk);
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

async fn answer(State(desk): State<Desk>) -> StatusCode {
    desk.notes.add(What::Reached);
    let job = async move {
        let _worker = desk.workers.acquire().await;
        let health = *desk.health.borrow();
        tokio::time::sleep(if health == Health::Slow { SLOW } else { USUAL }).await;
        if health == Health::Failing { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    };
    let job = tokio::spawn(job);
    job.await.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Binds a socket, though connections of the last process on that port may still be closing.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
