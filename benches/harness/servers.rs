//! The servers of the stores' tests, for those who have them installed: on free ports, in temporary folders, gone with the bench.

#![expect(dead_code, clippy::unwrap_used, reason = "a bench needs a part of what the tests need")]

#[path = "../../tests/store/servers/folder.rs"]
pub(crate) mod folder;
#[path = "../../tests/store/servers/postgres.rs"]
pub(crate) mod postgres;
#[path = "../../tests/store/servers/redis.rs"]
pub(crate) mod redis;

use std::path::Path;

/// Returns whether a program is there, in the path or where Debian keeps the versions of PostgreSQL.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places = std::env::split_paths(&path).chain(versions.map(|version| version.path().join("bin")));
    Path::new("/usr/bin/setpriv").exists() && places.any(|place| place.join(program).is_file())
}
