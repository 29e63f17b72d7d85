//! The real servers of the tests of stores.

#[path = "../store/servers/folder.rs"]
pub(crate) mod folder;
#[path = "../store/servers/postgres.rs"]
pub(crate) mod postgres;
#[path = "../store/servers/redis.rs"]
pub(crate) mod redis;
#[path = "../store/servers/users.rs"]
pub(crate) mod users;
