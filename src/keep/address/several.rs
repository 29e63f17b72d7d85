//! The check of an address that can list several Redis servers. The servers are the sentinels of a master, or the nodes
//! of a cluster.

use std::collections::BTreeSet;

use super::{Wrong, part};

/// Returns an error if the hosts or the path of a sentinel or cluster address are invalid. Addresses with other schemes
/// are accepted without a check.
pub(super) fn check(scheme: &str, place: &str) -> Result<(), Wrong> {
    let of_sentinels = scheme.ends_with("-sentinel");
    if !of_sentinels && !scheme.ends_with("-cluster") {
        return Ok(());
    }
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let mut seen = BTreeSet::new();
    let mut hosts = authority.rsplit('@').next().unwrap_or_default().split(',');
    if !hosts.all(|host| !host.is_empty() && seen.insert(host)) || seen.len() > MAX_SERVERS {
        return Err(part(format!(
            "an address of several servers has 1 to {MAX_SERVERS} hosts, each once, between commas"
        )));
    }
    if !of_sentinels {
        let is_right = matches!(path, "" | "0");
        return if is_right { Ok(()) } else { Err(part("a cluster has only the database 0, and no path")) };
    }
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err(part(format!(
            "the address of sentinels has the name of the master behind the hosts: {scheme}://HOST,HOST/MASTER"
        )));
    }
    if !is_master(master) {
        return Err(part(format!("the name of a master is {MASTERS}")));
    }
    if !database.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(part("a database is a number behind the master: HOST,HOST/MASTER/0"));
    }
    Ok(())
}

/// Returns true if the text is a valid name of a master, as sentinels require.
pub(crate) fn is_master(name: &str) -> bool {
    (1..=100).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A description of the names that [`is_master`] accepts. Error messages contain this text.
pub(crate) const MASTERS: &str = "1 to 100 letters, digits and `.`, `_` and `-`";
const MAX_SERVERS: usize = 32;

#[cfg(test)]
mod tests {
    use crate::keep::Address;

    #[test]
    fn an_address_of_several_servers_names_their_hosts() {
        let many = format!("redis-sentinel://{}/m", ["a"; 33].join(","));
        for (url, reason) in [
            ("redis-sentinel://a,b", "the master behind the hosts: redis-sentinel://HOST,HOST/MASTER"),
            ("redis-sentinel://a,b/", "the master behind the hosts"),
            ("redis-sentinel://a,b?prefix=x", "the master behind the hosts"),
            ("rediss-sentinel://a/m m", "1 to 100 letters, digits and"),
            ("redis-sentinel://a/m%20m", "1 to 100 letters, digits and"),
            ("redis-sentinel://a/m/x", "a database is a number"),
            ("redis-sentinel://a/m/0/0", "a database is a number"),
            ("redis-sentinel://a,,b/m", "1 to 32 hosts, each once"),
            ("redis-sentinel://a,/m", "1 to 32 hosts, each once"),
            ("redis-sentinel:///m", "1 to 32 hosts, each once"),
            ("redis-sentinel://a,b,a/m", "1 to 32 hosts, each once"),
            ("redis-cluster://a,a", "1 to 32 hosts, each once"),
            ("redis-cluster://,a", "1 to 32 hosts, each once"),
            ("redis-cluster://a,b/1", "only the database 0"),
            ("redis-cluster://a,b/m", "only the database 0"),
            ("rediss-cluster://a/00", "only the database 0"),
            (&many, "1 to 32 hosts, each once"),
        ] {
            let error = Address::parse(url).err().expect(url).to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
