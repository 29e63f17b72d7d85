//! The opening of a connection, to the server of an address or to the master that sentinels name.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion};

use super::address::Source;
use super::error::NoAnswer;
use super::sentinel::check_role;

/// Opens a connection to the server or the master. `within` is the caller's time limit for the whole opening, of which
/// the sentinels get half. Errors name the servers as `described`. A given `protocol` replaces the protocol of the
/// address.
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
        // The other half of the time is for the connection to the master.
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
