//! The source of connections to a Redis server, which is an address or a client. No message repeats an address, because
//! a password may be in it.
//!
//! The crate `redis` parses addresses. This module adds a check for each address with which an error of that crate
//! would leak a part of a password, or would not name the missing feature. The files of certificates are read for each
//! new connection, so that a renewed certificate needs no restart.

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo};

use super::keys::Keys;
use crate::keep::{Address, PREFIXES, StoreKind, is_prefix};
use crate::shown::quoted;
use crate::store::StoreError;
use crate::store::tls::{Content, Pem, is_this_host};

/// The source of the clients of one server.
#[derive(Clone)]
pub(super) struct Source {
    client: Client,
    ca: Option<Pem>,
    identity: Option<(Pem, Pem)>,
    prefix: String,
}

impl Source {
    pub(super) fn from_client(client: Client) -> Self {
        Self { client, ca: None, identity: None, prefix: String::new() }
    }

    pub(super) fn from_url(url: &str) -> Result<Self, StoreError> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(refused("it does not begin with redis://, rediss:// or unix://"));
        };
        // Without this check the address `redis://:se/cret@host` would have the host `se`, which messages repeat.
        let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if rest[authority..].contains('@') {
            return Err(refused("characters like / ? # and @ in the user or the password must be percent-encoded"));
        }
        let address = Address::parse(url)?;
        if address.kind != StoreKind::Redis {
            return Err(refused("it does not begin with redis://, rediss:// or unix://"));
        }
        let info = match url.into_connection_info() {
            Ok(info) if info.addr().is_supported() => info,
            Ok(_) => return Err(unsupported()),
            Err(error)
                if error.kind() == ErrorKind::InvalidClientConfig
                    && matches!(scheme, "rediss" | "valkeys")
                    && !tls() =>
            {
                return Err(unsupported());
            }
            // Only the kind of the crate's error is used, because its details may contain a part of the address.
            Err(_) => return Err(refused("write it as redis://user:password@host:6379/0")),
        };
        // By default the crate leaves Nagle's algorithm on, which delays a command while the answer to an earlier
        // command is awaited.
        let settings = TcpSettings::default().set_nodelay(true);
        let client = Client::open(info.set_tcp_settings(settings))
            .map_err(|_| refused("write it as redis://user:password@host:6379/0"))?;
        let file = |name, content| address.get(name).map(|path| Pem::new(name, path, content));
        let identity = file("cert", Content::Certificate).zip(file("key", Content::Key));
        let prefix = address.get("prefix").unwrap_or_default().to_owned();
        let source = Self { client, ca: file("ca", Content::Ca), identity, prefix };
        // The files are read here, so that a wrong path is refused at the start.
        source.with_files()?;
        Ok(source)
    }

    pub(super) fn info(&self) -> &ConnectionInfo {
        self.client.get_connection_info()
    }

    /// Replaces the prefix of the address.
    pub(super) fn with_prefix(self, prefix: &str) -> Result<Self, StoreError> {
        if !is_prefix(prefix) {
            let prefix = quoted(prefix);
            return Err(StoreError::refused(format!("the prefix of redis is \"{prefix}\" and must be {PREFIXES}")));
        }
        Ok(Self { prefix: prefix.to_owned(), ..self })
    }

    /// Returns the names of the keys and the channel.
    pub(super) fn keys(&self) -> Keys {
        Keys::new(&self.prefix, self.info().redis_settings().db())
    }

    /// Returns the file of the CA that verifies the certificate of the server, if the address names one.
    pub(super) fn ca(&self) -> Option<&Pem> {
        self.ca.as_ref()
    }

    /// Returns a client with the present content of the files.
    ///
    /// The files are read in a thread for blocking work, because a disk may hang.
    pub(super) async fn client(&self) -> Result<Client, StoreError> {
        if self.ca.is_none() && self.identity.is_none() {
            return Ok(self.client.clone());
        }
        let source = self.clone();
        let read = tokio::task::spawn_blocking(move || source.with_files()).await;
        read.unwrap_or_else(|_| Err(StoreError::unavailable("the runtime ends while certificates are read")))
    }

    #[cfg(feature = "tls-rustls")]
    fn with_files(&self) -> Result<Client, StoreError> {
        use redis::{ClientTlsConfig, TlsCertificates};
        if self.ca.is_none() && self.identity.is_none() {
            return Ok(self.client.clone());
        }
        let root_cert = self.ca.as_ref().map(Pem::read).transpose()?;
        let client_tls = match &self.identity {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: certificate.read()?, client_key: key.read()? })
            }
            None => None,
        };
        Client::build_with_tls(self.info().clone(), TlsCertificates { client_tls, root_cert }).map_err(|error| {
            let files = self.ca.iter().chain(self.identity.iter().flat_map(|(certificate, key)| [certificate, key]));
            let files: Vec<_> = files.map(ToString::to_string).collect();
            StoreError::refused(format!("the certificates for redis cannot be used: {}", files.join(", ")))
                .with_source(error)
        })
    }

    #[cfg(not(feature = "tls-rustls"))]
    fn with_files(&self) -> Result<Client, StoreError> {
        match self.ca.iter().chain(self.identity.iter().map(|(certificate, _)| certificate)).next() {
            // A missing file is reported first, because it is the nearer mistake.
            Some(file) => file.read().and(Err(unsupported())),
            None => Ok(self.client.clone()),
        }
    }

    /// Returns true if a password would go to another host whose certificate is not verified.
    pub(super) fn exposes_password(&self) -> bool {
        let unverified = match self.info().addr() {
            ConnectionAddr::Tcp(host, _) => !is_this_host(host),
            ConnectionAddr::TcpTls { host, insecure, .. } => *insecure && !is_this_host(host),
            ConnectionAddr::Unix(_) | _ => false,
        };
        unverified && self.info().redis_settings().password().is_some()
    }
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
            let error = Source::from_url(url).err().expect(url);
            assert!(!format!("{error} {error:?}").contains("secret"), "{url}: {error:?}");
        }
    }

    #[test]
    fn addresses_are_accepted_without_a_server() {
        for url in [
            "redis://host",
            "redis://:secret@host:1",
            "redis://user:se%2Fcret@[::1]/3",
            "valkey://host",
            "unix:///run/redis.sock?db=1",
        ] {
            assert!(Source::from_url(url).is_ok(), "{url}");
        }
        assert_eq!(Source::from_url("rediss://host").is_ok(), tls());
    }

    #[test]
    fn a_password_is_exposed_by_plain_text_to_another_host() {
        for (url, exposed) in [
            ("redis://:secret@db", true),
            ("valkey://ana:secret@10.0.0.1", true),
            ("redis://db", false),
            ("redis://:secret@localhost", false),
            ("redis://:secret@127.0.0.9", false),
            ("redis://:secret@[::1]", false),
            ("unix:///run/redis.sock?pass=secret", false),
        ] {
            assert_eq!(Source::from_url(url).map(|source| source.exposes_password()).ok(), Some(exposed), "{url}");
        }
        if tls() {
            assert!(!Source::from_url("rediss://:secret@db").expect("TLS is compiled in").exposes_password());
        }
    }
}
