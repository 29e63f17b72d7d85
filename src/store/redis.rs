//! A store in Redis, which is fast, shared by all instances, and forgets records after their TTL.
//!
//! Every change of a record is one script with one key, which compares, writes and publishes at once. Therefore no
//! other client can change the record during the script, and the same script works in Redis Cluster. The server
//! supplies the time. Records are read without a script, for the reasons in `value.rs`. The connection manager of the
//! crate `redis` is not used, because some of its connections stay broken. `connection.rs` replaces that manager.
//!
//! This store does not make Redis durable. After a flush, an eviction or a failover has lost records, the instances
//! write back the records that they remember.

mod address;
mod audit;
mod cluster;
mod connection;
mod error;
mod keys;
mod opening;
mod pubsub;
mod script;
mod sentinel;
mod servers;
mod slots;
mod together;
mod value;

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::Value;

use self::address::Source;
use self::connection::Connection;
use self::error::Access;
use self::keys::Keys;
use self::servers::Servers;
use super::{
    AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, Watch, Write, Written, check_length, time_limit,
    tls,
};
use crate::record::Timestamp;
use crate::sync::{AtomicBool, Mutex};
use crate::telemetry;

/// Keeps records in Redis under `circuit_breaker:NAME:state`, as JSON that a person can read with `GET`.
///
/// Stores in different databases of one server, or with a different [`prefix`](Self::prefix), do not affect each other.
///
/// The server is Redis 5 or later, or Valkey. From Redis 6 on the server pushes changes. With Redis 5 only the
/// coordinator's poll finds changes. The address names one server, the [sentinels](Self::sentinel) of a master, or
/// nodes of a [cluster](Self::cluster). Every new connection resolves the host name again or asks the sentinels again,
/// so that the connection follows the master. The stream `circuit_breaker:audit` is the audit, and keeps the newest
/// 10 000 rows. The set `{circuit_breaker:audit}:ids` has the ids of twice as many rows, so that a row that is sent
/// twice is appended once.
///
/// The [guide](crate::guide::stores#rights) lists the rights that a separate Redis user needs. A client whose only
/// right is to publish to the channel cannot change a circuit. Such a client can cause at most 20 loads a second for
/// each instance.
///
/// One connection serves all operations, or one connection to each node of a cluster. Each watch has its own
/// connection. The first operation opens the connection. The connection is replaced when it breaks, and when three
/// operations in a row got no answer. The connection is also replaced when the server is not a master that accepts
/// writes, or does not accept the password. The store waits for an answer for nine tenths of the
/// [`store_timeout`](crate::coordinator::RegistryBuilder::store_timeout). An attempt to connect is given up after eight
/// tenths of the `store_timeout`, or after 1 s if that is longer.
///
/// Clones share the connection.
///
/// # Cancel safety
///
/// Every future may be dropped. An attempt to connect continues for the next operation. A command that was already sent
/// may or may not take effect.
///
/// # Examples
///
/// ```
/// use tower_circuit_breaker::store::RedisStore;
///
/// // The server need not run yet, because the first operation connects.
/// # #[cfg(feature = "tls-rustls")] {
/// let store = RedisStore::new("rediss://breaker:secret@redis.internal:6379/0")?;
/// assert!(!format!("{store:?}").contains("secret"));
/// # }
/// # Ok::<(), tower_circuit_breaker::store::StoreError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RedisStore {
    servers: Arc<Servers>,
    keys: Arc<Keys>,
    /// True after this store has appended rows to the audit, so that the loss of the whole audit is noticed.
    has_appended: Arc<AtomicBool>,
    warned: Arc<Mutex<BTreeSet<String>>>,
}

impl RedisStore {
    /// Creates the store of `redis://[user][:password@]host[:port][/database]`, or of a socket:
    /// `unix:///PATH?db=…&user=…&pass=…`. User and password are percent-encoded. The scheme `valkey` means the same as
    /// `redis`, and `redis+unix` and `valkey+unix` mean the same as `unix`. Does not connect and needs no runtime.
    ///
    /// `?prefix=orders` is the same as [`prefix`](Self::prefix).
    ///
    /// The scheme `rediss` or `valkeys` selects TLS, which needs the feature `tls-rustls`. The certificate of the
    /// server is verified with the public CAs, or only with the CAs in the file of `?ca=FILE`. `?cert=FILE&key=FILE`
    /// names a client certificate. All files are in PEM format, and are read again for each new connection.
    ///
    /// [`sentinel`](Self::sentinel) describes the addresses that begin with `redis-sentinel://`, and
    /// [`cluster`](Self::cluster) the addresses that begin with `redis-cluster://`. `rediss-sentinel://` and
    /// `rediss-cluster://` are the same with TLS.
    ///
    /// If a password would go to a host other than this machine without TLS, a warning is logged.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if the address is invalid, if a parameter is unknown, or if a file
    /// cannot be used. The message does not repeat the address, because a password may be in it.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Ok(Self::of(Source::from_url(url)?))
    }

    /// Creates the store with a client. A client can have settings that an address cannot express. Examples are
    /// certificates that are not in files, and options of the TCP connection. Does not connect and needs no runtime.
    ///
    /// Use `TcpSettings::set_nodelay(true)`, because a command would otherwise wait for the answer to an earlier
    /// command.
    #[must_use]
    pub fn from_client(client: redis::Client) -> Self {
        Self::of(Source::from_client(client))
    }

    /// Creates the store of the master that sentinels name. Does not connect and needs no runtime.
    ///
    /// `urls` are addresses of sentinels, `redis://host:26379`, and `master` is the name by which the sentinels know
    /// the master. User, password, database and the parameters of [`new`](Self::new) belong to the master, and must be
    /// equal in all addresses. The parameters `sentinel_user` and `sentinel_pass` are the user and the password of the
    /// sentinels. Default: no user and no password. With `rediss://` the connections to the sentinels and to the master
    /// use TLS.
    ///
    /// For [`new`](Self::new), settings and `circuitctl`, the same store is written as one address:
    /// `redis-sentinel://[user:password@]host:26379,host:26379/MASTER[/database]`.
    ///
    /// Before each new connection, the store asks all sentinels for the master, and then the master for its role. The
    /// connection of a watch is no exception.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) as for [`new`](Self::new). Also `Refused` if there is no address, or
    /// if there are more than 32 addresses. `master` must have 1 to 100 characters, each of which is an ASCII letter, a
    /// digit, `.`, `_` or `-`. Every other name is refused.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_circuit_breaker::store::RedisStore;
    ///
    /// let one = RedisStore::sentinel(&["redis://s1.internal", "redis://s2.internal", "redis://s3.internal"], "mymaster")?;
    /// let same = RedisStore::new("redis-sentinel://s1.internal,s2.internal,s3.internal/mymaster")?;
    /// assert_eq!(format!("{one:?}"), format!("{same:?}"));
    /// # Ok::<(), tower_circuit_breaker::store::StoreError>(())
    /// ```
    pub fn sentinel(urls: &[impl AsRef<str>], master: &str) -> Result<Self, StoreError> {
        Self::new(&address::joined(urls, Some(master))?)
    }

    /// Creates the store of a cluster. Does not connect and needs no runtime.
    ///
    /// `urls` are addresses of some nodes, `redis://host:6379`, from which the store learns the other nodes. User,
    /// password and the parameters of [`new`](Self::new) belong to all nodes, and must be equal in all addresses. The
    /// database is 0. With `rediss://` the connections to all nodes use TLS.
    ///
    /// For [`new`](Self::new), settings and `circuitctl`, the same store is written as one address:
    /// `redis-cluster://[user:password@]host:6379,host:6379`.
    ///
    /// If a node is down or hangs, operations on the records in its slots fail as
    /// [`Refused`](super::StoreErrorKind::Refused). The registry still loads and writes the other records. A write
    /// without an answer fails as [`TimedOut`](super::StoreErrorKind::TimedOut), and does not delay writes of other
    /// records. The time of an answer is the time of the node that answered, or the earliest time if several nodes
    /// answered. Therefore synchronise the clocks of the nodes to within a second. A watch uses one of the nodes, and
    /// the next node after an error.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) as for [`new`](Self::new). Also `Refused` if there is no address, or
    /// if there are more than 32 addresses.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_circuit_breaker::store::RedisStore;
    ///
    /// let one = RedisStore::cluster(&["redis://n1.internal:6379", "redis://n2.internal:6379"])?;
    /// let same = RedisStore::new("redis-cluster://n1.internal,n2.internal")?;
    /// assert_eq!(format!("{one:?}"), format!("{same:?}"));
    /// # Ok::<(), tower_circuit_breaker::store::StoreError>(())
    /// ```
    pub fn cluster(urls: &[impl AsRef<str>]) -> Result<Self, StoreError> {
        Self::new(&address::joined(urls, None)?)
    }

    fn of(source: Source) -> Self {
        if source.exposes_password() {
            tls::warn_of_password(&format!("redis at {}", source.described()), &format!("`{}`", source.with_tls()));
        }
        Self::with(source)
    }

    fn with(source: Source) -> Self {
        let keys = source.keys();
        Self {
            servers: Arc::new(Servers::new(source)),
            keys: Arc::new(keys),
            has_appended: Arc::new(AtomicBool::new(false)),
            warned: Arc::default(),
        }
    }

    /// Sets the prefix of all keys and of the channel, so that several applications can share one database. With the
    /// prefix `orders` the record of a circuit is at `orders:circuit_breaker:NAME:state`. Default: the parameter
    /// `prefix` of the address, and otherwise no prefix. This method replaces the parameter.
    ///
    /// Stores with different prefixes do not see each other's circuits, even if one prefix begins with the other. Call
    /// this method before the first operation, because the returned store does not use the connection that an earlier
    /// operation has opened.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if the prefix is empty or has more than 100 bytes. Only ASCII
    /// letters, digits and `.`, `_`, `-`, `/` and `:` are allowed. Also `Refused` if the prefix begins or ends with
    /// `:`, or contains `circuit_breaker`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_circuit_breaker::store::RedisStore;
    ///
    /// let orders = RedisStore::new("redis://redis.internal")?.prefix("orders")?;
    /// let billing = RedisStore::new("redis://redis.internal?prefix=billing")?;
    /// assert!(orders.prefix("orders:").is_err(), "the store adds the colon");
    /// # drop(billing);
    /// # Ok::<(), tower_circuit_breaker::store::StoreError>(())
    /// ```
    pub fn prefix(self, prefix: &str) -> Result<Self, StoreError> {
        Ok(Self::with(self.servers.source().clone().with_prefix(prefix)?))
    }

    /// Returns true if the store sends its password over a network to a host whose certificate is not verified.
    #[must_use]
    pub fn exposes_password(&self) -> bool {
        self.servers.source().exposes_password()
    }

    /// Returns the value in the answer for one name. The answer can be an error of the server, although the pipeline as
    /// a whole has succeeded.
    fn entry(&self, name: &str, answer: Value) -> Result<Option<Versioned>, StoreError> {
        if let Value::ServerError(error) = answer {
            let fault = self.servers.fault(Access::Read, error.into());
            return if fault.is_wrong_type() { Ok(self.absent(name)) } else { Err(fault.into()) };
        }
        Ok(value::versioned(self.servers.decode(answer)?))
    }

    /// Treats a key that is not a string as a name without a value. No instance wrote that key, and an error would
    /// prevent the load of the other circuits. The key is logged once.
    fn absent(&self, name: &str) -> Option<Versioned> {
        let mut warned = self.warned.lock();
        if warned.len() < MAX_WARNED && warned.insert(name.to_owned()) {
            let key = self.keys.record(name);
            telemetry::lines::warn(format_args!(
                "the key {key} in redis is not a string and is ignored; delete it, so that the record can be kept there"
            ));
        }
        None
    }

    /// Sends a command that changes the record of a name, and returns the answer. If the key is not a string, the error
    /// describes the repair.
    async fn changed(&self, name: &str, command: redis::Cmd) -> Result<Value, StoreError> {
        self.servers.send_one(&self.keys.record(name), command, Access::Write).await.map_err(|fault| {
            if !fault.is_wrong_type() {
                return fault.into();
            }
            let message =
                format!("the key {} in redis is not a string and holds no record; delete it", self.keys.record(name));
            StoreError::refused(message).with_source(StoreError::from(fault))
        })
    }
}

impl Store for RedisStore {
    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let (answers, now) = self.servers.load(&self.keys, names).await?;
        let entries = names.iter().zip(answers).map(|(name, answer)| self.entry(name, answer));
        Ok(Loaded { entries: entries.collect::<Result<_, _>>()?, now })
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        check_length(write)?;
        if write.bytes.is_empty() {
            // A load returns no value for empty bytes. The etag of this write would therefore belong to no value.
            return Err(StoreError::refused(format!("the record of `{}` has no bytes", write.name)));
        }
        let etag = value::etag(&write.bytes);
        let command = script::compare_and_set(&self.keys, write, &etag);
        let answer = self.changed(&write.name, command).await?;
        let (applied, now, current): (bool, u64, Vec<u8>) = self.servers.decode(answer)?;
        let now = Timestamp::from_millis(now);
        Ok(if applied {
            Written::Applied { etag, now }
        } else {
            Written::Conflict { current: value::versioned(current), now }
        })
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let answer = self.changed(name, script::delete(&self.keys, name, etag)).await?;
        self.servers.decode(answer)
    }

    /// Scans all keys of the database, a thousand at a time. Keys whose name no circuit can have are left out.
    async fn list(&self) -> Result<Vec<String>, StoreError> {
        Connection::check_runtime()?;
        let everything = async { Ok(self.servers.names(&self.keys).await?.into_iter().collect()) };
        let limit = time_limit::for_operation();
        tokio::time::timeout(limit, everything).await.unwrap_or_else(|_| {
            let (address, within) = (self.servers.address(), time_limit::described(limit));
            Err(StoreError::timed_out(format!("redis at {address} has more keys than can be listed {within}")))
        })
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        pubsub::watch(&self.servers, &self.keys).map(Some)
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        audit::append(&self.servers, &self.keys, &self.has_appended, rows).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        audit::trim(&self.servers, &self.keys, before).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        audit::read(&self.servers, &self.keys, filter).await
    }
}

const MAX_WARNED: usize = 64;
