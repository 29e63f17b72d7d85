//! The addresses of sentinels and of a cluster. A user writes one text with commas between the hosts, or one address
//! for each host.
//!
//! User, password, database and prefix belong to the master or to the cluster, as in an address of one server. Each
//! host becomes the address of one server, so that the crate `redis` parses hosts and ports in the same way everywhere.

use redis::{ConnectionInfo, RedisConnectionInfo};

use super::{malformed, parsed, refused};
use crate::keep::{MASTERS, is_master};
use crate::store::StoreError;
use crate::store::redis::sentinel::Sentinels;

/// The parts of an address with several hosts. The form of the address was checked before.
pub(super) struct Several<'a> {
    /// The scheme of the same address with one host.
    scheme: &'a str,
    /// The user and the password with the `@` behind them, or an empty text if the address has neither.
    user: &'a str,
    hosts: Vec<&'a str>,
    /// The name of the master that sentinels watch, or `None` for a cluster.
    master: Option<&'a str>,
    database: &'a str,
    query: &'a str,
}

impl<'a> Several<'a> {
    /// Returns the parts, or `None` for an address of one server. `rest` is the part behind `://`.
    pub(super) fn of(scheme: &'a str, rest: &'a str) -> Option<Self> {
        let (scheme, kind) = scheme.split_once('-')?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let (master, database) = match kind {
            "sentinel" => path.split_once('/').map_or((Some(path), ""), |(master, database)| (Some(master), database)),
            _ => (None, path),
        };
        Some(Self { scheme, user, hosts: hosts.split(',').collect(), master, database, query })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.master.is_none()
    }

    /// Returns the address of the first host alone, in the form of an address of one server.
    pub(super) fn first(&self) -> String {
        self.with(self.hosts.first().copied().unwrap_or_default())
    }

    fn with(&self, host: &str) -> String {
        let Self { scheme, user, database, query, .. } = self;
        format!("{scheme}://{user}{host}/{database}?{query}")
    }

    /// Returns the nodes of a cluster.
    pub(super) fn nodes(&self) -> Result<Vec<ConnectionInfo>, StoreError> {
        self.hosts.iter().map(|host| parsed(&self.with(host))).collect()
    }

    /// Returns the sentinels. `user` and `password` belong to the sentinels, and not to the master.
    pub(super) fn sentinels(&self, user: Option<&str>, password: Option<&str>) -> Result<Sentinels, StoreError> {
        let servers = self.hosts.iter().map(|host| {
            let end = host.rfind(']').unwrap_or(0);
            let port = if host[end..].contains(':') { "" } else { PORT };
            let server: ConnectionInfo = parsed(&format!("{}://{host}{port}", self.scheme))?;
            let mut settings = RedisConnectionInfo::default();
            if let Some(user) = user {
                settings = settings.set_username(user);
            }
            if let Some(password) = password {
                settings = settings.set_password(password);
            }
            Ok(server.set_redis_settings(settings))
        });
        Ok(Sentinels::new(servers.collect::<Result<_, StoreError>>()?, self.master.unwrap_or_default()))
    }
}

/// Joins several addresses to one address. If `master` is given, the addresses are sentinels. Otherwise the addresses
/// are nodes of a cluster. The addresses may differ in host and port only.
pub(in crate::store::redis) fn joined(urls: &[impl AsRef<str>], master: Option<&str>) -> Result<String, StoreError> {
    if master.is_some_and(|master| !is_master(master)) {
        return Err(StoreError::refused(format!("the name of a master is {MASTERS}")));
    }
    let mut common = None;
    let mut hosts = Vec::new();
    for url in urls {
        let (scheme, rest) = url.as_ref().split_once("://").ok_or_else(malformed)?;
        if !matches!(scheme, "redis" | "rediss" | "valkey" | "valkeys") {
            return Err(refused("each of several addresses begins with redis:// or rediss://"));
        }
        let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        hosts.push(host);
        if *common.get_or_insert((scheme, user, behind)) != (scheme, user, behind) {
            return Err(refused("several addresses may differ in host and port only"));
        }
    }
    let (scheme, user, behind) = common.ok_or_else(|| refused("there is no host"))?;
    let hosts = hosts.join(",");
    Ok(match master {
        Some(master) => format!("{scheme}-sentinel://{user}{hosts}/{master}{behind}"),
        None => format!("{scheme}-cluster://{user}{hosts}{behind}"),
    })
}

/// The port of a sentinel whose address has none.
const PORT: &str = ":26379";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::address::Source;

    #[test]
    fn addresses_of_sentinels_become_one_address() {
        let urls = ["redis://ana:p%40x@a:1/3?prefix=x", "redis://ana:p%40x@b/3?prefix=x"];
        let address = joined(&urls, Some("m")).expect("the addresses differ in their hosts only");
        assert_eq!(address, "redis-sentinel://ana:p%40x@a:1,b/m/3?prefix=x");
        assert_eq!(joined(&["rediss://a/"], Some("m")).expect("one is enough"), "rediss-sentinel://a/m/");
        let nodes = joined(&["redis://:x@a:7001/0?prefix=x", "redis://:x@b/0?prefix=x"], None).expect("nodes");
        assert_eq!(nodes, "redis-cluster://:x@a:7001,b/0?prefix=x");
        for (urls, master) in [
            (&["redis://a", "rediss://b"][..], "m"),
            (&["redis://:secret@a", "redis://b"], "m"),
            (&["redis://a/secret", "redis://b/1"], "m"),
            (&["redis://a"], "secret m"),
            (&["unix:///secret"], "m"),
            (&["secret"], "m"),
            (&[], "m"),
        ] {
            let error = joined(urls, Some(master)).expect_err("wrong").to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn sentinels_have_a_port_and_credentials_of_their_own() {
        let url = "redis-sentinel://ana:master@a,[::1],[::2]:1,b:2/mymaster/3?sentinel_user=bob&sentinel_pass=x%20y";
        let source = Source::from_url(url).expect("the address is right");
        assert_eq!(source.info().redis_settings().password(), Some("master"));
        assert_eq!(source.info().redis_settings().db(), 3);
        let sentinels = source.sentinels().expect("there are sentinels");
        let places: Vec<_> = sentinels.servers().iter().map(|server| server.addr().to_string()).collect();
        assert_eq!(places, ["a:26379", "::1:26379", "::2:1", "b:2"]);
        for server in sentinels.servers() {
            assert_eq!(server.redis_settings().username(), Some("bob"));
            assert_eq!(server.redis_settings().password(), Some("x y"));
        }
    }
}
