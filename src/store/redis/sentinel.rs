//! The sentinels of a Redis master. Before each new connection, the store asks the sentinels for the present master.
//!
//! A sentinel that has lost contact with the other sentinels may name a former master for some time. Therefore the
//! store asks all sentinels at once, and takes the server that more than half of the sentinels name. If no server has
//! this majority, the store takes the server that is named most often. `opening.rs` then checks that this server has
//! the role of a master, because a replica would answer reads with old records.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, Value};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::{Source, hosts, is_host};
use super::error::{Access, NoAnswer};

/// The sentinels of one master. Clones share the list.
#[derive(Clone)]
pub(super) struct Sentinels {
    servers: Arc<[ConnectionInfo]>,
    master: Arc<str>,
}

impl Sentinels {
    pub(super) fn new(servers: Vec<ConnectionInfo>, master: &str) -> Self {
        Self { servers: servers.into(), master: master.into() }
    }

    pub(super) fn servers(&self) -> &[ConnectionInfo] {
        &self.servers
    }

    /// Describes the master by its name and its sentinels, for errors and logs.
    pub(super) fn described(&self) -> String {
        format!("{} of the sentinels {}", self.master, hosts(&self.servers))
    }

    /// Asks the sentinels for the master, and returns the settings of a connection to this master. Each sentinel must
    /// answer within the time `within`. `source` has the other settings of the connection, such as the certificate
    /// files.
    ///
    /// # Errors
    ///
    /// If no sentinel names a master.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the queries end.
    pub(super) async fn master(&self, source: &Source, within: Duration) -> Result<ConnectionInfo, NoAnswer> {
        let mut questions = JoinSet::new();
        for server in self.servers.iter() {
            let (source, server, master) = (source.clone(), server.clone(), Arc::clone(&self.master));
            questions.spawn(async move {
                let described = format!("the sentinel {}", server.addr());
                let answer = timeout(within, ask(&source, server, &described, &master)).await;
                answer.unwrap_or_else(|_| Err(NoAnswer::late(&described, within)))
            });
        }
        let mut named: Vec<((String, u16), usize)> = Vec::new();
        let mut fault = None;
        while let Some(answer) = questions.join_next().await {
            match answer {
                Ok(Ok(place)) => {
                    let at = named.iter().position(|(known, _)| *known == place).unwrap_or_else(|| {
                        named.push((place, 0));
                        named.len() - 1
                    });
                    named[at].1 += 1;
                    if named[at].1 * 2 > self.servers.len() {
                        break;
                    }
                }
                Ok(Err(error)) => fault = Some(error),
                // The runtime is ending, or the task of the query has panicked.
                Err(_) => {}
            }
        }
        match named.into_iter().max_by_key(|(_, sentinels)| *sentinels) {
            Some(((host, port), _)) => Ok(source.server_at(host, port)),
            None => Err(fault.unwrap_or_else(|| NoAnswer::abandoned(&self.described()))),
        }
    }
}

/// Asks one sentinel for the host and the port of the master.
async fn ask(
    source: &Source,
    server: ConnectionInfo,
    described: &str,
    master: &str,
) -> Result<(String, u16), NoAnswer> {
    let client = source.client(server).await.map_err(|error| NoAnswer::without_files(&error))?;
    let settings = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connected = client.get_multiplexed_async_connection_with_config(&settings).await;
    let mut connection = connected.map_err(|error| NoAnswer::connecting(described, source.ca(), error))?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer = sent(&mut connection, &question, described).await?;
    let place: Option<(String, u16)> = redis::from_redis_value(answer).unwrap_or_default();
    place.filter(|(host, _)| is_host(host)).ok_or_else(|| NoAnswer::unknown_master(described, master))
}

/// Asks a server for its role. Returns an error if the role is not that of a master.
///
/// # Cancel safety
///
/// Dropping the future has no effect.
pub(super) async fn check_role(
    connection: &mut MultiplexedConnection,
    server: &ConnectionAddr,
    described: &str,
) -> Result<(), NoAnswer> {
    let role = sent(connection, &redis::cmd("ROLE"), described).await?;
    let word = role.as_sequence().and_then(|parts| parts.first()).map(redis::from_redis_value_ref::<String>);
    match word {
        Some(Ok(word)) if word == "master" => Ok(()),
        _ => Err(NoAnswer::no_master(described, &server.to_string())),
    }
}

/// Sends one command and returns the answer. If the server answers with an error, returns `Err`.
async fn sent(
    connection: &mut MultiplexedConnection,
    command: &redis::Cmd,
    described: &str,
) -> Result<Value, NoAnswer> {
    let answer = connection.send_packed_command(command).await.and_then(Value::extract_error);
    answer.map_err(|error| NoAnswer::answering(described, Access::Read, error))
}
