//! The cases of many writers at the same time.

use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::{JoinSet, yield_now};

use super::Failure;
use super::trial::{Trial, insist, number, record, writing};
use crate::store::{Store, StoreError, StoreErrorKind, Written};

pub(super) async fn one_winner(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    for round in ["absent", "present"] {
        let name = trial.name(round);
        let expected = match round {
            "absent" => None,
            _ => Some(trial.create(store, &name, &record(&name, 0)).await?),
        };
        let mut writers = JoinSet::new();
        // Without the barrier the first writer would end before the second writer begins.
        let together = Arc::new(Barrier::new(64));
        for number in 1..=64 {
            let (store, together) = (store.clone(), Arc::clone(&together));
            let write = writing(&name, expected.as_ref(), &record(&name, number));
            writers.spawn(async move {
                together.wait().await;
                (number, insist(|| store.compare_and_set(&write)).await)
            });
        }
        let (mut winners, mut seen) = (Vec::new(), Vec::new());
        while let Some(joined) = writers.join_next().await {
            let (writer, written) = joined.map_err(|error| trial.failure(format!("a writer: {error}")))?;
            match written.map_err(|error| trial.failure(format!("a writer: expected an answer, found {error}")))? {
                Written::Applied { .. } => winners.push(writer),
                Written::Conflict { current, .. } => seen.push(current),
            }
        }
        let [winner] = winners[..] else {
            return Err(trial.failure(format!("{round}: expected one winner, found {}", winners.len())));
        };
        for current in seen {
            trial.holds("the value that a loser sees", current, &record(&name, winner))?;
        }
        trial.holds("the stored value", trial.load(store, &name).await?, &record(&name, winner))?;
    }
    Ok(())
}

pub(super) async fn nothing_lost(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let name = trial.name("a");
    let mut writers = JoinSet::new();
    let together = Arc::new(Barrier::new(8));
    // Each writer opens the store itself, like a separate process.
    for _ in 0..8 {
        let (store, name, together) = (trial.open().await, name.clone(), Arc::clone(&together));
        writers.spawn(async move {
            together.wait().await;
            for _ in 0..8 {
                increment(&store, &name).await?;
            }
            Ok::<_, StoreError>(())
        });
    }
    while let Some(joined) = writers.join_next().await {
        let ended = joined.map_err(|error| trial.failure(format!("a writer: {error}")))?;
        ended.map_err(|error| trial.failure(format!("a writer: expected an answer, found {error}")))?;
    }
    trial.holds("the sum", trial.load(&trial.open().await, &name).await?, &record(&name, 64))?;
    Ok(())
}

async fn increment(store: &impl Store, name: &str) -> Result<(), StoreError> {
    let names = [name.to_owned()];
    // Each conflict means that another writer has made one of the other 63 increments, so this increment cannot have 64
    // conflicts.
    for _ in 0..64 {
        let current = insist(|| store.load_many(&names)).await?.entries.pop().flatten();
        // Gives the other writers a chance to write between this load and the write.
        yield_now().await;
        let next = current.as_ref().and_then(|current| number(&current.bytes)).unwrap_or(0) + 1;
        let write = writing(name, current.as_ref().map(|current| &current.etag), &record(name, next));
        if let Written::Applied { .. } = insist(|| store.compare_and_set(&write)).await? {
            return Ok(());
        }
    }
    Err(StoreError::new(StoreErrorKind::Corrupt, "64 conflicts on etags that had just been loaded"))
}
