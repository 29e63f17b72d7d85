//! The servers of a store, which are one server or a cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::{Cmd, FromRedisValue, RedisError, Value, from_redis_value};

use super::address::Source;
use super::cluster::Cluster;
use super::connection::Connection;
use super::error::{Access, NoAnswer};
use super::keys::Keys;
use super::{script, value};
use crate::record::Timestamp;
use crate::store::{StoreError, StoreErrorKind};

#[derive(Debug)]
pub(super) enum Servers {
    One(Arc<Connection>),
    Cluster(Arc<Cluster>),
}

/// The result of a load. The list has one answer for each name, and an answer may be an error from the server. The
/// timestamp is the time of the server.
pub(super) type Answers = (Vec<Value>, Timestamp);

impl Servers {
    pub(super) fn new(source: Source) -> Self {
        match source.nodes() {
            Some(_) => Self::Cluster(Arc::new(Cluster::new(source))),
            None => {
                let described = source.described();
                Self::One(Arc::new(Connection::new(source, described)))
            }
        }
    }

    pub(super) fn source(&self) -> &Source {
        match self {
            Self::One(connection) => connection.source(),
            Self::Cluster(cluster) => cluster.source(),
        }
    }

    pub(super) fn address(&self) -> &str {
        match self {
            Self::One(connection) => connection.address(),
            Self::Cluster(cluster) => cluster.address(),
        }
    }

    /// Classifies an error that a server has returned.
    pub(super) fn fault(&self, access: Access, error: RedisError) -> NoAnswer {
        NoAnswer::answering(self.address(), access, error)
    }

    /// Sends one command with one key, or with several keys in the same slot, and returns the answer. If the server
    /// answers with an error, returns `Err`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the command may or may not take effect.
    pub(super) async fn send_one(&self, key: &str, command: Cmd, access: Access) -> Result<Value, NoAnswer> {
        match self {
            Self::One(connection) => connection.send_one(command, access).await,
            Self::Cluster(cluster) => cluster.send_one(key, command, access).await,
        }
    }

    /// Reads the records of the circuits with these names.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub(super) async fn load(&self, keys: &Keys, names: &[String]) -> Result<Answers, NoAnswer> {
        match self {
            Self::One(connection) => load(connection, keys, names.iter().map(String::as_str).collect()).await,
            Self::Cluster(cluster) => cluster.load(keys, names).await,
        }
    }

    /// Returns the names of all circuits that have a record.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub(super) async fn names(&self, keys: &Keys) -> Result<BTreeSet<String>, StoreError> {
        let mut names = BTreeSet::new();
        for master in self.masters().await? {
            let mut cursor = "0".to_owned();
            loop {
                let answer = match master.send_one(script::scan(keys, &cursor), Access::Read).await {
                    Ok(answer) => answer,
                    Err(fault) => return Err(self.of_one(fault).await.into()),
                };
                let (next, found): (String, Vec<Vec<u8>>) = self.decode(answer)?;
                names.extend(found.iter().filter_map(|key| keys.name(key)));
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(names)
    }

    /// Returns a connection to each server that has records.
    async fn masters(&self) -> Result<Vec<Arc<Connection>>, NoAnswer> {
        match self {
            Self::One(connection) => Ok(vec![Arc::clone(connection)]),
            Self::Cluster(cluster) => cluster.masters().await,
        }
    }

    /// Returns the fault that the store reports if a read at one server has failed with `fault`. If another node of the
    /// cluster still answers, the fault becomes a refusal.
    async fn of_one(&self, fault: NoAnswer) -> NoAnswer {
        match self {
            Self::One(_) => fault,
            Self::Cluster(cluster) => cluster.of_one_node(fault).await,
        }
    }

    /// Returns the connection to one server, for a watch. In a cluster, `attempt` selects the node, and the next number
    /// selects the next node.
    pub(super) fn watched(&self, attempt: usize) -> Arc<Connection> {
        match self {
            Self::One(connection) => Arc::clone(connection),
            Self::Cluster(cluster) => cluster.any(attempt),
        }
    }

    /// Converts an answer to the type `T`. An answer of another form gives an error of the kind `Corrupt`.
    pub(super) fn decode<T: FromRedisValue>(&self, answer: Value) -> Result<T, StoreError> {
        from_redis_value(answer).map_err(|error| {
            let message = format!("redis at {} sent an answer of an unexpected form", self.address());
            StoreError::new(StoreErrorKind::Corrupt, message).with_source(error)
        })
    }
}

/// Reads the records of the circuits with these names from one server, in pipelines.
///
/// # Cancel safety
///
/// Dropping the future has no effect.
pub(super) async fn load(connection: &Connection, keys: &Keys, names: Vec<&str>) -> Result<Answers, NoAnswer> {
    let mut found = Vec::with_capacity(names.len());
    let mut rest = &names[..];
    loop {
        let (batch, later) = rest.split_at(rest.len().min(LOADED_AT_ONCE));
        let mut pipeline = redis::pipe();
        for name in batch {
            pipeline.add_command(value::load(keys, name));
        }
        pipeline.cmd("TIME");
        let mut answers = connection.send(&pipeline, Access::Read).await?;
        let time = answers.pop().unwrap_or(Value::Nil);
        found.append(&mut answers);
        if later.is_empty() {
            return Ok((found, now(connection, time)?));
        }
        rest = later;
    }
}

/// Returns the time in the answer to `TIME`.
fn now(connection: &Connection, time: Value) -> Result<Timestamp, NoAnswer> {
    let (seconds, micros): (u64, u64) = time
        .extract_error()
        .and_then(|time| Ok(from_redis_value(time)?))
        .map_err(|error| connection.fault(Access::Read, error))?;
    Ok(Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(micros / 1000)))
}

/// The largest number of names in a pipeline. All answers of a pipeline are in memory together, and need at most 16
/// MiB.
const LOADED_AT_ONCE: usize = 256;
