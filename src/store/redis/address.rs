//! What addresses are accepted, without ever repeating one: there may be a password in it.

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionInfo, ErrorKind, IntoConnectionInfo};

use crate::store::StoreError;

pub(super) fn client(url: &str) -> Result<Client, StoreError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(refused("it does not begin with redis:// or rediss://"));
    };
    // `redis://:se/cret@host` would be taken for a host named `se`, which messages then repeat.
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
        // The texts of the crate are fixed ones; what they add in detail may be a part of the address.
        Err(_) => return Err(refused("write it as redis://user:password@host:6379/0")),
    };
    // The default of the crate's 1.x is off, and delays what is written while an answer is awaited.
    let settings = TcpSettings::default().set_nodelay(true);
    Client::open(info.set_tcp_settings(settings)).map_err(|_| refused("write it as redis://user:password@host:6379/0"))
}

/// Whether the `redis` crate was compiled with TLS, by this crate's feature or by anybody.
fn tls() -> bool {
    "rediss://host".into_connection_info().is_ok_and(|info: ConnectionInfo| info.addr().is_supported())
}

fn refused(why: &str) -> StoreError {
    StoreError::refused(format!("not an address of redis: {why}"))
}

fn unsupported() -> StoreError {
    StoreError::refused(
        "the address of redis asks for TLS, which needs the feature `tls-rustls` of tower-circuit-breaker",
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
