//! Records in Redis: fast, shared by all instances, and forgotten when their time has come.
//!
//! Every change is one script with one key that compares, writes and publishes at once, so that nothing can come between, and
//! Redis Cluster needs no other script. The server computes the etags and tells the time. The connection manager of the crate
//! `redis` stays broken in several ways, so one connection is supervised here (`connection.rs`).
//!
//! It does not make Redis durable: what a flush, an eviction or a failover loses is lost, and what the instances remember is
//! written back by them.

mod address;
mod audit;
mod connection;
mod no_answer;
mod pubsub;
mod script;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use self::connection::Connection;
use self::no_answer::Access;
use super::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, Watch, Write, Written, check_length};
use crate::record::Timestamp;
use crate::sync::Mutex;
use crate::telemetry;

/// Keeps records in Redis, at `circuit_breaker:NAME:state`, in JSON that a person can read with `GET`.
///
/// Needs Redis 5 or Valkey; changes are pushed from Redis 6 on, before it there is only the poll. One server or the master
/// behind a name: every new connection resolves the name again. The audit is the stream `circuit_breaker:audit`, of which the
/// newest 10 000 rows are kept; the ids of twice as many are in `{circuit_breaker:audit}:ids`, so that each row is appended once.
///
/// A user of its own needs `~circuit_breaker:* ~{circuit_breaker:audit}:ids &circuit_breaker:changes +@connection +@scripting
/// +@pubsub +get +set +del +time +scan +zscore +zadd +zremrangebyrank +xadd +xrevrange`, and `+xrange +xdel` where the audit
/// is [not kept for ever](crate::coordinator::RegistryBuilder::audit_kept). Whoever may publish to the channel
/// `circuit_breaker:changes` is believed.
///
/// One connection carries everything but the watches, which have one each. It is made by the first operation that needs it,
/// and thrown away when it breaks, when the server is not a master that takes writes, when the password was not accepted, and
/// when three operations in a row got no answer. No operation takes longer than 1 s to connect and 500 ms for each answer;
/// [`list`](Store::list) takes 5 s at most.
///
/// Clones share the connection.
///
/// # Cancel safety
///
/// Of every future: dropped while connecting, the attempt goes on and the next operation has it. Dropped while waiting for an
/// answer, what was asked happens or not.
///
/// # Examples
///
/// ```
/// use tower_circuit_breaker::store::RedisStore;
///
/// // Nothing has to run there yet: the first operation connects.
/// let store = RedisStore::new("redis://breaker:secret@redis.internal:6379/0")?;
/// assert!(!format!("{store:?}").contains("secret"));
/// # Ok::<(), tower_circuit_breaker::store::StoreError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RedisStore {
    connection: Arc<Connection>,
    warned: Arc<Mutex<BTreeSet<String>>>,
}

impl RedisStore {
    /// Returns the store at `redis://[user][:password@]host[:port][/database]`, or with `rediss` for TLS, which needs the
    /// feature `tls-rustls`. User and password are percent-encoded. Does not connect and needs no runtime.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if the address cannot be one. The message does not repeat it: there may be a
    /// password in it.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let connection = Arc::new(Connection::new(address::client(url)?));
        Ok(Self { connection, warned: Arc::default() })
    }

    fn entry(&self, name: &str, answer: Value) -> Result<Option<Versioned>, StoreError> {
        if let Value::ServerError(error) = answer {
            let fault = self.connection.fault(Access::Read, error.into());
            return if fault.is_wrong_type() { Ok(self.absent(name)) } else { Err(fault.into()) };
        }
        let found: Option<(String, Vec<u8>)> = self.connection.decode(answer)?;
        Ok(found.map(|(etag, bytes)| Versioned { bytes, etag: Etag::new(etag) }))
    }

    /// What is not a string was not written by any of us: nothing is known of the circuit, and the others are not concerned.
    fn absent(&self, name: &str) -> Option<Versioned> {
        let mut warned = self.warned.lock();
        if warned.len() < MAX_WARNED && warned.insert(name.to_owned()) {
            let key = script::key(name);
            telemetry::store::warn(format_args!(
                "the key {key} in redis is not a string and is ignored; delete it, so that the record can be kept there"
            ));
        }
        None
    }

    async fn changed(&self, name: &str, command: redis::Cmd) -> Result<Value, StoreError> {
        self.connection.ask_one(command, Access::Write).await.map_err(|fault| {
            if !fault.is_wrong_type() {
                return fault.into();
            }
            let message =
                format!("the key {} in redis is not a string and holds no record; delete it", script::key(name));
            StoreError::refused(message).with_source(StoreError::from(fault))
        })
    }
}

impl Store for RedisStore {
    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let mut entries = Vec::with_capacity(names.len());
        let mut rest = names;
        loop {
            let (asked, later) = rest.split_at(rest.len().min(LOADED_AT_ONCE));
            let mut pipeline = redis::pipe();
            for name in asked {
                pipeline.add_command(script::load(name));
            }
            pipeline.cmd("TIME");
            let mut answers = self.connection.ask(&pipeline, Access::Read).await?;
            let time = answers.pop().unwrap_or(Value::Nil);
            if let Value::ServerError(error) = time {
                return Err(self.connection.fault(Access::Read, error.into()).into());
            }
            let (seconds, micros): (u64, u64) = self.connection.decode(time)?;
            for (name, answer) in asked.iter().zip(answers) {
                entries.push(self.entry(name, answer)?);
            }
            if later.is_empty() {
                let now = Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(micros / 1000));
                return Ok(Loaded { entries, now });
            }
            rest = later;
        }
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        check_length(write)?;
        let answer = self.changed(&write.name, script::compare_and_set(write)).await?;
        let (applied, now, etag, current): (bool, u64, String, Option<Vec<u8>>) = self.connection.decode(answer)?;
        let (now, etag) = (Timestamp::from_millis(now), Etag::new(etag));
        Ok(if applied {
            Written::Applied { etag, now }
        } else {
            Written::Conflict { current: current.map(|bytes| Versioned { bytes, etag }), now }
        })
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let answer = self.changed(name, script::delete(name, etag)).await?;
        self.connection.decode(answer)
    }

    /// Looks at every key of the database, a thousand at a time. Names that no circuit can have are left out.
    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let everything = async {
            let mut names = BTreeSet::new();
            let mut cursor = "0".to_owned();
            loop {
                let answer = self.connection.ask_one(script::scan(&cursor), Access::Read).await?;
                let (next, keys): (String, Vec<Vec<u8>>) = self.connection.decode(answer)?;
                names.extend(keys.iter().filter_map(|key| script::name(key)));
                if next == "0" {
                    return Ok(names.into_iter().collect());
                }
                cursor = next;
            }
        };
        tokio::time::timeout(LISTED_WITHIN, everything).await.unwrap_or_else(|_| {
            let address = self.connection.address();
            Err(StoreError::timed_out(format!(
                "redis at {address} has more keys than can be listed in {LISTED_WITHIN:?}"
            )))
        })
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        pubsub::watch(self.connection.client()).map(Some)
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        audit::append(&self.connection, rows).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        audit::trim(&self.connection, before).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        audit::read(&self.connection, filter).await
    }
}

/// A pipeline's answers are all in memory at once: 16 MiB at most.
const LOADED_AT_ONCE: usize = 256;
const LISTED_WITHIN: Duration = Duration::from_secs(5);
const MAX_WARNED: usize = 64;
