//! TCP connections to a health address, with a limit on concurrent DNS lookups.
//!
//! A lookup runs on a thread of tokio's blocking pool, and continues after its check has been dropped at the deadline.
//! If a name server hangs, lookups without a limit would occupy all threads of the blocking pool.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::config::HealthAddress;

/// Connects to the first address of the host that accepts the connection.
///
/// # Cancel safety
///
/// If the future is dropped, no connection stays open. A DNS lookup under way continues, and counts toward the limit on
/// lookups until the lookup ends.
pub(super) async fn connect(address: &HealthAddress) -> io::Result<TcpStream> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return TcpStream::connect((ip, address.port)).await;
    }
    let Ok(place) = LOOKUPS.try_acquire() else {
        return Err(io::Error::other("too many lookups of hosts have not ended"));
    };
    let (host, port) = (address.host.clone(), address.port);
    let lookup = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|found| found.take(MOST_ADDRESSES).collect());
        drop(place);
        found
    };
    let found: Vec<SocketAddr> = spawn_blocking(lookup).await.map_err(io::Error::other)??;
    TcpStream::connect(&found[..]).await
}

/// Limits the number of DNS lookups that the health probes of this process make at the same time.
static LOOKUPS: Semaphore = Semaphore::const_new(16);
/// The largest number of IP addresses of one host to which a check tries to connect.
const MOST_ADDRESSES: usize = 16;
