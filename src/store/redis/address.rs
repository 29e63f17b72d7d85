//! The check of the address of a Redis server. No message repeats an address, because a password may be in it.
//!
//! The crate `redis` parses addresses. This module adds a check for each address with which an error of that crate
//! would leak a part of a password, or would not name the missing feature.

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionInfo, ErrorKind, IntoConnectionInfo};

use crate::store::StoreError;

pub(super) fn client(url: &str) -> Result<Client, StoreError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(refused("it does not begin with redis:// or rediss://"));
    };
    // Without this check the address `redis://:se/cret@host` would have the host `se`, which messages repeat.
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if rest[authority..].contains('@') {
        return Err(refused("characters like / ? # and @ in the user or the password must be percent-encoded"));
    }
    let info = match url.into_connection_info() {
        Ok(info) if info.addr().is_supported() => info,
        Ok(_) => return Err(unsupported()),
        Err(error) if error.kind() == ErrorKind::InvalidClientConfig && scheme.ends_with('s') && !tls() => {
            return Err(unsupported());
        }
        // Only the kind of the crate's error is used, because its details may contain a part of the address.
        Err(_) => return Err(refused("write it as redis://user:password@host:6379/0")),
    };
    // By default the crate leaves Nagle's algorithm on, which delays a command while the answer to an earlier command
    // is awaited.
    let settings = TcpSettings::default().set_nodelay(true);
    Client::open(info.set_tcp_settings(settings)).map_err(|_| refused("write it as redis://user:password@host:6379/0"))
}

/// Returns true if the crate `redis` was compiled with TLS, by the feature of this crate or by another crate.
fn tls() -> bool {
    "rediss://host".into_connection_info().is_ok_and(|info: ConnectionInfo| info.addr().is_supported())
}

fn refused(reason: &str) -> StoreError {
    StoreError::refused(format!("not an address of redis: {reason}"))
}

fn unsupported() -> StoreError {
    StoreError::refused(
        "the address of redis requires TLS, which needs the feature `tls-rustls` of tower-circuit-breaker",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_refused_without_being_repeated() {
        for url in [
            "",
            "secret",
            "secret://host",
            "http://:secret@host",
            "redis://",
            "redis://:secret@",
            "redis://:secret@host:port",
            "redis://:secret@host/database",
            "redis://:se/secret@host",
            "redis://se#secret@host",
            "redis://se?secret@host",
        ] {
            let error = client(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("secret"), "{url}: {error:?}");
        }
    }

    #[test]
    fn addresses_are_accepted_without_a_server() {
        for url in ["redis://host", "redis://:secret@host:1", "redis://user:se%2Fcret@[::1]/3", "valkey://host"] {
            assert!(client(url).is_ok(), "{url}");
        }
        assert_eq!(client("rediss://host").is_ok(), tls());
    }
}
