//! The place of an address with several servers, which are the sentinels of a master.

use std::collections::BTreeSet;

use super::{Wrong, part};

/// Checks the hosts and the path of an address with several servers. Other addresses have nothing to check here.
pub(super) fn check(scheme: &str, place: &str) -> Result<(), Wrong> {
    if !scheme.ends_with(SENTINEL) {
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

/// Returns true if sentinels accept the text as the name of a master.
pub(crate) fn is_master(name: &str) -> bool {
    (1..=100).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The description of the names that [`is_master`] accepts, for the texts of errors.
pub(crate) const MASTERS: &str = "1 to 100 letters, digits and `.`, `_` and `-`";
const SENTINEL: &str = "-sentinel";
const MAX_SERVERS: usize = 32;
