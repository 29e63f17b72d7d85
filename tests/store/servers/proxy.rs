//! A TCP proxy in this process whose network can be made to fail.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Carries everything.
    Works,
    /// Carries everything, so much later.
    Slow(Duration),
    /// Takes everything and delivers nothing; connections stay open. Those that there were never work again.
    BlackHole,
    /// Ends every connection, and new ones at once.
    Refuses,
}

/// Counts beside the state, so that a connection also notices what was over before it looked.
#[derive(Debug, Clone, Copy)]
struct State {
    network: Network,
    holes: usize,
    cuts: usize,
    /// The port to which a new connection leads.
    port: u16,
}

/// Ends with all its connections when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    network: watch::Sender<State>,
    accepted: watch::Receiver<usize>,
}

impl Proxy {
    /// Carries what comes to that port of this host.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (network, state) = watch::channel(State { network: Network::Works, holes: 0, cuts: 0, port });
        let (count, accepted) = watch::channel(0);
        let own = listener.local_addr().unwrap().port();
        spawn(async move {
            let mut stop = state.clone();
            loop {
                tokio::select! {
                    ended = stop.wait_for(|_| false) => drop(ended.expect_err("nothing passes")),
                    Ok((client, _)) = listener.accept() => {
                        count.send_modify(|accepted| *accepted += 1);
                        spawn(carry(client, state.clone()));
                        continue;
                    }
                }
                return;
            }
        });
        Self { port: own, network, accepted }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, network: Network) {
        self.network.send_modify(|state| {
            state.network = network;
            state.holes += usize::from(network == Network::BlackHole);
            state.cuts += usize::from(network == Network::Refuses);
        });
    }

    /// Ends the connections there are; new ones work.
    pub(crate) fn cut(&self) {
        self.network.send_modify(|state| state.cuts += 1);
    }

    /// Lets new connections lead to another port. The connections there were stay.
    pub(crate) fn leads_to(&self, port: u16) {
        self.network.send_modify(|state| state.port = port);
    }

    pub(crate) fn accepted(&self) -> usize {
        *self.accepted.borrow()
    }
}

async fn carry(client: TcpStream, mut network: watch::Receiver<State>) {
    let at_first = *network.borrow_and_update();
    if at_first.network == Network::Refuses {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", at_first.port)).await else { return };
    client.set_nodelay(true).and(server.set_nodelay(true)).ok();
    let (there, back) = (network.clone(), network.clone());
    tokio::select! {
        _ = network.wait_for(|state| state.cuts > at_first.cuts) => {}
        () = pass(&client, &server, at_first.holes, there) => {}
        () = pass(&server, &client, at_first.holes, back) => {}
    }
}

async fn pass(from: &TcpStream, to: &TcpStream, holes: usize, network: watch::Receiver<State>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut lost = false;
    while from.readable().await.is_ok() {
        let Ok(read) = from.try_read(&mut buffer) else { continue };
        if read == 0 {
            return;
        }
        let state = *network.borrow();
        if let Network::Slow(by) = state.network {
            tokio::time::sleep(by).await;
        }
        lost |= state.network == Network::BlackHole || state.holes > holes;
        let mut rest = if lost { &buffer[..0] } else { &buffer[..read] };
        while !rest.is_empty() && to.writable().await.is_ok() {
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the proxy's own tasks, which end with it")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
