//! Orders to registries with a store, and to a store alone. On paused time and a store in memory, but for `files`.

mod audit;
mod durable;
mod files;
mod operator;
mod orders;

use tower_circuit_breaker::By;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::operation::{Done, Kept, Order, Refused};
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{AuditFilter, AuditRow, Store};

use crate::rig::{Instance, alice};

fn bob() -> By {
    By::new("bob", "the wrong one").unwrap()
}

fn reset() -> Order {
    Order::reset(&alice(), To::Closed)
}

fn mode(instance: &Instance) -> Mode {
    instance.circuit.status().mode
}

async fn order(instance: &Instance, order: &Order) -> Result<Done, Refused> {
    instance.registry.operate("payments", order).await
}

fn is_stored(done: &Done) -> bool {
    matches!(done.kept, Kept::Stored { .. })
}

/// The rows of the audit, oldest first.
async fn rows(store: &impl Store) -> Vec<AuditRow> {
    store.audit(&AuditFilter::new().limit(10_000)).await.unwrap()
}

/// The rows of operators as `action user`, oldest first.
async fn acts(store: &impl Store) -> Vec<String> {
    rows(store).await.iter().filter_map(|row| Some(format!("{} {}", row.action, row.user.as_deref()?))).collect()
}
