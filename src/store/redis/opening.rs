//! The function that opens a connection to a server. If the address of the store names sentinels, this server is the
//! master that the sentinels report.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion};

use super::address::Source;
use super::error::NoAnswer;
use super::sentinel::check_role;

/// Opens a connection to the server in `source`, or to the master that the sentinels in `source` name. `within` is the
/// caller's time limit for the whole function, and the sentinels must answer within half of this time. Errors name the
/// server as `described`. If `protocol` is given, it replaces the protocol in `source`.
///
/// # Cancel safety
///
/// If the future is dropped, its connections are closed.
pub(super) async fn open(
    source: &Source,
    described: &str,
    within: Duration,
    settings: &AsyncConnectionConfig,
    protocol: Option<ProtocolVersion>,
) -> Result<MultiplexedConnection, NoAnswer> {
    let server = match source.sentinels() {
        // Half of the time remains for the connection to the master.
        Some(sentinels) => sentinels.master(source, within / 2).await?,
        None => source.info().clone(),
    };
    let place = server.addr().clone();
    let server = match protocol {
        Some(protocol) => {
            let redis = server.redis_settings().clone().set_protocol(protocol);
            server.set_redis_settings(redis)
        }
        None => server,
    };
    let client = source.client(server).await.map_err(|error| NoAnswer::without_files(&error))?;
    let opened = client.get_multiplexed_async_connection_with_config(settings).await;
    let mut connection = opened.map_err(|error| NoAnswer::connecting(described, source.ca(), error))?;
    if source.sentinels().is_some() {
        check_role(&mut connection, &place, described).await?;
    }
    Ok(connection)
}
