//! Real servers, started on free ports in temporary folders, and stopped by their pid.

pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod folder;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod trio;
pub(crate) mod users;
