//! The conversion of errors from Redis into faults of the store. A fault says if a retry can succeed, and if the
//! connection must be replaced.
//!
//! The first word of an error from the server, such as `READONLY`, determines the fault, because Redis keeps these
//! words stable for programs. The message of each fault has the address and, where possible, the remedy.

use std::time::Duration;

use redis::{ErrorKind, RedisError};

use crate::store::tls::{self, Pem};
use crate::store::{StoreError, StoreErrorKind, time_limit};

/// Says if a command reads or writes. If the answer is lost, a read has changed nothing, but the server may have
/// executed a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The fault of an operation that got no answer, or got an error as its answer. If several operations wait for the same
/// connection, each operation receives a clone of the fault.
#[derive(Debug, Clone)]
pub(super) struct NoAnswer {
    kind: StoreErrorKind,
    message: String,
    cause: Option<RedisError>,
    /// True if the connection must be replaced, because the connection is dead or leads to a server that cannot be
    /// used.
    useless: bool,
    /// True if one node of a cluster has failed and another node answers.
    of_one_node: bool,
}

impl NoAnswer {
    /// Returns the fault of a failed attempt to connect. `ca` is the file that verifies the certificate of the server.
    pub(super) fn connecting(address: &str, ca: Option<&Pem>, error: RedisError) -> Self {
        let mut fault = Self::by_code(address, &error).unwrap_or_else(|| {
            let kind = error.kind();
            if let Some(refusal) = tls::refusal(&format!("redis at {address}"), ca, &error) {
                Self::refused(refusal)
            } else if kind == ErrorKind::AuthenticationFailed {
                Self::wrong_password(address)
            } else if error.is_timeout() {
                Self::unavailable(format!("redis at {address} accepted no connection in time"))
            } else if matches!(kind, ErrorKind::Server(_)) {
                Self::refused(format!("redis at {address} refuses connections of this store: is the database right?"))
            } else {
                Self::unavailable(format!(
                    "cannot connect to redis at {address}: is it running, and reachable from here?"
                ))
            }
        });
        fault.cause = Some(error);
        fault.useless = true;
        fault
    }

    /// Returns the fault of a connection that was not opened within the time limit.
    pub(super) fn unconnected(address: &str, within: &str) -> Self {
        let message =
            format!("redis at {address} accepted no connection {within}: is it the right address, and scheme?");
        Self { useless: true, ..Self::unavailable(message) }
    }

    /// Returns the fault of an answer that did not arrive within the time limit.
    pub(super) fn late(address: &str, within: Duration) -> Self {
        let message = format!("redis at {address} did not answer {}", time_limit::described(within));
        Self { kind: StoreErrorKind::TimedOut, ..Self::unavailable(message) }
    }

    /// Returns the fault of an address that names an unusable certificate file. No connection is attempted then.
    pub(super) fn without_files(error: &StoreError) -> Self {
        Self { kind: error.kind(), message: error.chain(), cause: None, useless: true, of_one_node: false }
    }

    /// Returns the fault of a sentinel that does not know the master.
    pub(super) fn unknown_master(sentinel: &str, master: &str) -> Self {
        Self::refused(format!("{sentinel} knows no master `{master}`: is the name right?"))
    }

    /// Returns the fault of a server that the sentinels named as the master, although the server has another role.
    pub(super) fn no_master(address: &str, server: &str) -> Self {
        let message = format!("redis at {address}: {server} is no master any more; the sentinels are asked again");
        Self { useless: true, ..Self::unavailable(message) }
    }

    /// Returns the fault of a slot that no known node of a cluster serves.
    pub(super) fn unserved(address: &str) -> Self {
        Self::unavailable(format!("redis at {address}: no node is known that serves the slot of the key"))
    }

    /// Returns the fault of a command that nodes of a cluster have redirected too often.
    pub(super) fn redirected(address: &str) -> Self {
        Self::unavailable(format!("redis at {address} is moving the slot of the key from node to node"))
    }

    /// Marks the fault as the failure of one cluster node, after another node has answered. The kind becomes `Refused`,
    /// because callers continue with other records after a refusal, but stop if the store is unavailable. A write
    /// without an answer keeps the kind `TimedOut`, because the server may have executed the write.
    pub(super) fn of_one_node(self, access: Access) -> Self {
        let kind = match (self.kind, access) {
            (StoreErrorKind::Refused | StoreErrorKind::Corrupt, _) => return self,
            (StoreErrorKind::TimedOut, Access::Write) => StoreErrorKind::TimedOut,
            (StoreErrorKind::Unavailable, _) | (StoreErrorKind::TimedOut, Access::Read) => StoreErrorKind::Refused,
        };
        let message = format!("one node of the cluster fails while another node answers: {}", self.message);
        Self { kind, message, of_one_node: true, ..self }
    }

    /// Returns true if a node has answered that the whole cluster is down. Returns false if the answer says only that
    /// no node serves the slot of the command's key.
    pub(super) fn is_of_the_cluster(&self) -> bool {
        let says = |cause: &RedisError| {
            let is_of_the_slot = cause.detail().is_some_and(|detail| detail.contains("slot not served"));
            cause.code() == Some("CLUSTERDOWN") && !is_of_the_slot
        };
        self.cause.as_ref().is_some_and(says)
    }

    /// Returns true if a retry of the operation would be refused too.
    pub(super) fn is_refusal(&self) -> bool {
        self.kind == StoreErrorKind::Refused
    }

    /// Returns true if the operation has certainly changed no data.
    pub(super) fn has_no_effect(&self) -> bool {
        self.kind == StoreErrorKind::Unavailable
    }

    pub(super) fn abandoned(address: &str) -> Self {
        Self::unavailable(format!(
            "connecting to redis at {address} was broken off: its runtime has ended, or TLS has no crypto provider of rustls"
        ))
    }

    pub(super) fn without_runtime() -> Self {
        Self::refused("redis can be used only in a tokio runtime".to_owned())
    }

    pub(super) fn answering(address: &str, access: Access, error: RedisError) -> Self {
        // If a script lacks a permission, Redis sends only a general error code. The text of the error shows the
        // missing permission.
        let is_forbidden = error.detail().is_some_and(|detail| detail.contains("The user executing the script can't"));
        let mut fault = Self::by_code(address, &error).unwrap_or_else(|| match (error.kind(), access) {
            _ if is_forbidden => Self::forbidden(address),
            _ if error.is_timeout() => Self {
                kind: StoreErrorKind::TimedOut,
                ..Self::unavailable(format!("redis at {address} did not answer in time"))
            },
            (ErrorKind::Io | ErrorKind::Parse, Access::Read) => {
                Self { useless: true, ..Self::unavailable(format!("the connection to redis at {address} broke")) }
            }
            (ErrorKind::Io | ErrorKind::Parse, Access::Write) => Self {
                kind: StoreErrorKind::TimedOut,
                useless: true,
                ..Self::unavailable(format!("the connection to redis at {address} broke before the answer came"))
            },
            _ => Self::refused(format!("redis at {address} refused")),
        });
        fault.cause = Some(error);
        fault
    }

    /// Classifies an error from the server by the first word of the error. Returns `None` if the word is unknown.
    fn by_code(address: &str, error: &RedisError) -> Option<Self> {
        // Up to Redis 6 an error inside a script begins with two dashes.
        let code = error.code()?.trim_start_matches('-');
        let useless =
            |message: &str| Self { useless: true, ..Self::unavailable(format!("redis at {address} {message}")) };
        let later = |message: &str| Self::unavailable(format!("redis at {address} {message}"));
        let never = |message: &str| Self::refused(format!("redis at {address} {message}"));
        Some(match code {
            "READONLY" => useless("is a replica and takes no writes; the next connection looks for the master again"),
            "MASTERDOWN" => useless("is a replica that has lost its master"),
            "LOADING" => useless("is still loading its data"),
            "CLUSTERDOWN" => useless("is a node of a cluster that is down"),
            "BUSY" => later("is busy with another script; SCRIPT KILL ends it"),
            "TRYAGAIN" => later("is moving keys"),
            "OOM" => later("is out of memory: raise maxmemory, or let it evict"),
            "MISCONF" => later("cannot write its snapshot and takes no writes: check its log"),
            "NOREPLICAS" => {
                useless("has too few replicas to take writes; the next connection looks for the master again")
            }
            "NOAUTH" | "WRONGPASS" => Self::wrong_password(address),
            "NOPERM" => Self::forbidden(address),
            "MOVED" | "ASK" | "CROSSSLOT" => {
                never("is one of several nodes of a cluster: use an address that begins with `redis-cluster://`")
            }
            _ => return None,
        })
    }

    fn forbidden(address: &str) -> Self {
        Self::refused(format!(
            "redis at {address} does not permit this user to do that: docs/stores.md names the rights"
        ))
    }

    fn wrong_password(address: &str) -> Self {
        let message = format!("redis at {address} does not accept this user or password, or the lack of one");
        Self { useless: true, ..Self::refused(message) }
    }

    fn unavailable(message: String) -> Self {
        Self { kind: StoreErrorKind::Unavailable, message, cause: None, useless: false, of_one_node: false }
    }

    fn refused(message: String) -> Self {
        Self { kind: StoreErrorKind::Refused, ..Self::unavailable(message) }
    }

    pub(super) fn makes_useless(&self) -> bool {
        self.useless
    }

    pub(super) fn is_wrong_type(&self) -> bool {
        self.cause.as_ref().and_then(RedisError::code) == Some("WRONGTYPE")
    }
}

impl From<NoAnswer> for StoreError {
    fn from(fault: NoAnswer) -> Self {
        let error = Self::new(fault.kind, fault.message);
        let error = if fault.of_one_node { error.of_one_part() } else { error };
        match fault.cause {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }
}
