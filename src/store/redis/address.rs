//! The source of connections to Redis, which is an address or a client. No message repeats an address, because a
//! password may be in it.
//!
//! The crate `redis` parses addresses of one server. For some addresses an error of that crate would leak a part of a
//! password, or would not name the missing feature. Therefore this module checks each address first. The files of
//! certificates are read for each new connection, so that a renewed certificate needs no restart.

mod several;

use std::sync::Arc;

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo};

use super::keys::Keys;
use super::sentinel::Sentinels;
use crate::keep::{Address, PREFIXES, StoreKind, is_prefix};
use crate::shown::quoted;
use crate::store::StoreError;
use crate::store::tls::{Content, Pem, is_this_host};
use several::Several;
pub(super) use several::joined;

/// The address and the settings from which clients are created. The address leads to one server, to the master that
/// sentinels name, or to a cluster.
#[derive(Clone)]
pub(super) struct Source {
    /// The client of the server. With sentinels or a cluster, the client has the address of the first host. Its other
    /// settings, such as user and password, belong to the master or to all nodes of the cluster.
    client: Client,
    place: Place,
    ca: Option<Pem>,
    identity: Option<(Pem, Pem)>,
    prefix: String,
}

/// The kind of servers that an address or a client leads to.
#[derive(Clone)]
enum Place {
    Server,
    Master(Sentinels),
    /// The nodes of a cluster that the address names. The store learns the other nodes from these nodes.
    Cluster(Arc<[ConnectionInfo]>),
}

impl Source {
    pub(super) fn from_client(client: Client) -> Self {
        Self { client, place: Place::Server, ca: None, identity: None, prefix: String::new() }
    }

    pub(super) fn from_url(url: &str) -> Result<Self, StoreError> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(refused("it does not begin with redis://, rediss:// or unix://"));
        };
        // Without this check the address `redis://:se/cret@host` would have the host `se`. Messages repeat the host,
        // and would repeat a part of the password.
        let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if rest[authority..].contains('@') {
            return Err(refused("characters like / ? # and @ in the user or the password must be percent-encoded"));
        }
        let address = Address::parse(url)?;
        if address.kind != StoreKind::Redis {
            return Err(refused("it does not begin with redis://, rediss:// or unix://"));
        }
        let (server, place) = match Several::of(scheme, rest) {
            Some(several) => {
                let password = address.get("sentinel_pass");
                let sentinels = || several.sentinels(address.get("sentinel_user"), password).map(Place::Master);
                let nodes = || several.nodes().map(|nodes| Place::Cluster(nodes.into()));
                let place = if several.is_cluster() { nodes()? } else { sentinels()? };
                (parsed(&several.first())?, place)
            }
            None => (parsed(url)?, Place::Server),
        };
        let client = Client::open(server).map_err(|_| malformed())?;
        let file = |name, content| address.get(name).map(|path| Pem::new(name, path, content));
        let identity = file("cert", Content::Certificate).zip(file("key", Content::Key));
        let prefix = address.get("prefix").unwrap_or_default().to_owned();
        let source = Self { client, place, ca: file("ca", Content::Ca), identity, prefix };
        // The files are read here, so that a wrong path is refused at the start.
        source.with_files(source.info().clone())?;
        Ok(source)
    }

    pub(super) fn info(&self) -> &ConnectionInfo {
        self.client.get_connection_info()
    }

    /// Replaces the prefix of the address, or returns an error if the new prefix is not allowed.
    pub(super) fn with_prefix(self, prefix: &str) -> Result<Self, StoreError> {
        if !is_prefix(prefix) {
            let prefix = quoted(prefix);
            return Err(StoreError::refused(format!("the prefix of redis is \"{prefix}\" and must be {PREFIXES}")));
        }
        Ok(Self { prefix: prefix.to_owned(), ..self })
    }

    /// Returns the sentinels that name the master, or `None` if the address has no sentinels.
    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        match &self.place {
            Place::Master(sentinels) => Some(sentinels),
            Place::Server | Place::Cluster(_) => None,
        }
    }

    /// Returns the nodes that the address names, or `None` if the address does not lead to a cluster.
    pub(super) fn nodes(&self) -> Option<&[ConnectionInfo]> {
        match &self.place {
            Place::Cluster(nodes) => Some(nodes),
            Place::Server | Place::Master(_) => None,
        }
    }

    /// Returns the settings of a connection to the server at this host and port. The user, the password and TLS are the
    /// same as in the address.
    pub(super) fn server_at(&self, host: String, port: u16) -> ConnectionInfo {
        let address = match self.info().addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_) | _ => ConnectionAddr::Tcp(host, port),
        };
        self.info().clone().set_addr(address)
    }

    /// Returns a source for only this server, with the files and the prefix of `self`.
    pub(super) fn of(&self, server: ConnectionInfo) -> Result<Self, StoreError> {
        let client = Client::open(server).map_err(|_| malformed())?;
        Ok(Self { client, place: Place::Server, ..self.clone() })
    }

    /// Returns the scheme that selects TLS for this kind of address.
    pub(super) fn with_tls(&self) -> &'static str {
        match self.place {
            Place::Server => "rediss://",
            Place::Master(_) => "rediss-sentinel://",
            Place::Cluster(_) => "rediss-cluster://",
        }
    }

    /// Describes the servers, the database and the prefix for errors and logs, without a password.
    pub(super) fn described(&self) -> String {
        let place = match &self.place {
            Place::Server => self.info().addr().to_string(),
            Place::Master(sentinels) => sentinels.described(),
            Place::Cluster(nodes) => format!("the cluster of {}", hosts(nodes)),
        };
        self.keys().described(&place)
    }

    /// Returns the names of the keys and the channel.
    pub(super) fn keys(&self) -> Keys {
        Keys::new(&self.prefix, self.info().redis_settings().db())
    }

    /// Returns the file of the CA that verifies the certificate of the server, if the address names such a file.
    pub(super) fn ca(&self) -> Option<&Pem> {
        self.ca.as_ref()
    }

    /// Returns a client of a server with the present content of the certificate files.
    ///
    /// The files are read in a thread for blocking work, because a disk may hang.
    pub(super) async fn client(&self, server: ConnectionInfo) -> Result<Client, StoreError> {
        if self.ca.is_none() && self.identity.is_none() {
            return self.with_files(server);
        }
        let source = self.clone();
        let read = tokio::task::spawn_blocking(move || source.with_files(server)).await;
        read.unwrap_or_else(|_| Err(StoreError::unavailable("the runtime ends while certificates are read")))
    }

    #[cfg(feature = "tls-rustls")]
    fn with_files(&self, server: ConnectionInfo) -> Result<Client, StoreError> {
        use redis::{ClientTlsConfig, TlsCertificates};
        if self.ca.is_none() && self.identity.is_none() {
            return Client::open(server).map_err(|_| malformed());
        }
        let root_cert = self.ca.as_ref().map(Pem::read).transpose()?;
        let client_tls = match &self.identity {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: certificate.read()?, client_key: key.read()? })
            }
            None => None,
        };
        Client::build_with_tls(server, TlsCertificates { client_tls, root_cert }).map_err(|error| {
            let files = self.ca.iter().chain(self.identity.iter().flat_map(|(certificate, key)| [certificate, key]));
            let files: Vec<_> = files.map(ToString::to_string).collect();
            StoreError::refused(format!("the certificates for redis cannot be used: {}", files.join(", ")))
                .with_source(error)
        })
    }

    #[cfg(not(feature = "tls-rustls"))]
    fn with_files(&self, server: ConnectionInfo) -> Result<Client, StoreError> {
        match self.ca.iter().chain(self.identity.iter().map(|(certificate, _)| certificate)).next() {
            // A missing file is reported before the missing feature, because a user can correct the file more easily
            // than enable the feature.
            Some(file) => file.read().and(Err(unsupported())),
            None => Client::open(server).map_err(|_| malformed()),
        }
    }

    /// Returns true if a password would be sent over a network to a host whose certificate is not verified.
    ///
    /// Only the hosts of the address are checked. The host of a master is unknown before the sentinels name the master.
    /// The other nodes of a cluster are unknown before a node names these nodes.
    pub(super) fn exposes_password(&self) -> bool {
        let others = match &self.place {
            Place::Server => &[],
            Place::Master(sentinels) => sentinels.servers(),
            Place::Cluster(nodes) => nodes,
        };
        let mut servers = others.iter().chain([self.info()]);
        let any = servers.clone().any(|server| server.redis_settings().password().is_some());
        any && servers.any(|server| is_unverified(server.addr()))
    }
}

/// Returns the hosts and ports of servers as one text, with commas between the servers.
pub(super) fn hosts(servers: &[ConnectionInfo]) -> String {
    let hosts: Vec<_> = servers.iter().map(|server| server.addr().to_string()).collect();
    hosts.join(", ")
}

/// Returns true if a text from a server can be a host. Other texts are refused, because errors and logs repeat the
/// host.
pub(super) fn is_host(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Returns true if the server is not on this host and its certificate is not verified.
fn is_unverified(server: &ConnectionAddr) -> bool {
    match server {
        ConnectionAddr::Tcp(host, _) => !is_this_host(host),
        ConnectionAddr::TcpTls { host, insecure, .. } => *insecure && !is_this_host(host),
        ConnectionAddr::Unix(_) | _ => false,
    }
}

/// Parses the address of one server.
fn parsed(url: &str) -> Result<ConnectionInfo, StoreError> {
    let wants_tls = url.starts_with("rediss:") || url.starts_with("valkeys:");
    match url.into_connection_info() {
        // By default the crate leaves Nagle's algorithm on, which delays a command while the answer to an earlier
        // command is awaited.
        Ok(info) if info.addr().is_supported() => Ok(info.set_tcp_settings(TcpSettings::default().set_nodelay(true))),
        Ok(_) => Err(unsupported()),
        Err(error) if error.kind() == ErrorKind::InvalidClientConfig && wants_tls && !tls() => Err(unsupported()),
        // The text of the error is not shown, because the text may contain a part of the address.
        Err(_) => Err(malformed()),
    }
}

/// Returns true if the crate `redis` was compiled with TLS, by the feature of this crate or by another crate.
fn tls() -> bool {
    "rediss://host".into_connection_info().is_ok_and(|info: ConnectionInfo| info.addr().is_supported())
}

fn refused(reason: &str) -> StoreError {
    StoreError::refused(format!("not an address of redis: {reason}"))
}

fn malformed() -> StoreError {
    refused(
        "write it as redis://user:password@host:6379/0, or redis-sentinel://user:password@host:26379,host:26379/master/0, \
         or redis-cluster://user:password@host:6379,host:6379",
    )
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
            "redis-sentinel://:secret@host,host:port/m",
            "redis-sentinel://:secret@host,/m",
            "redis-sentinel://:se/secret@host/m",
            "redis-sentinel://:secret@host/m m",
            "redis-sentinel://h ost:1/secret?sentinel_pass=secret",
            "redis-cluster://:secret@host,host:port",
            "redis-cluster://:secret@host,host/1",
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
            "redis-sentinel://user:se%2Fcret@host,[::1]:1,10.0.0.1:2/m/3?prefix=a&sentinel_pass=x",
            "valkey-cluster://user:se%2Fcret@host,[::1]:1,10.0.0.1:2/0?prefix=a",
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
            ("redis-sentinel://:secret@localhost,db/m", true),
            ("redis-sentinel://localhost,db/m?sentinel_pass=secret", true),
            ("redis-sentinel://:secret@localhost/m", false),
            ("redis-sentinel://db/m", false),
            ("redis-cluster://:secret@localhost,db", true),
            ("redis-cluster://:secret@localhost,127.0.0.1:1", false),
            ("redis-cluster://localhost,db", false),
        ] {
            assert_eq!(Source::from_url(url).map(|source| source.exposes_password()).ok(), Some(exposed), "{url}");
        }
        if tls() {
            assert!(!Source::from_url("rediss://:secret@db").expect("TLS is compiled in").exposes_password());
        }
    }
}
