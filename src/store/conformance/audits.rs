//! The cases of the audit. They check the order of rows, repeated rows, the longest rows, a restart of the process, and
//! filters.

use std::time::Duration;

use super::Failure;
use super::trial::Trial;
use crate::random;
use crate::record::Timestamp;
use crate::store::{AnyStore, AuditFilter, AuditRow, Store};

pub(super) async fn order(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let rows = rows(trial, now(trial, store).await?, "a");
    append(trial, store, &[]).await?;
    expect(trial, store, "before the first row", &AuditFilter::new().service(&rows[0].service), &[]).await?;
    append(trial, store, &rows[..1]).await?;
    append(trial, store, &rows[1..4]).await?;
    append(trial, store, &rows[4..]).await?;
    expect(trial, store, "after six rows", &AuditFilter::new().service(&rows[0].service), &rows).await
}

pub(super) async fn once(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let rows = rows(trial, now(trial, store).await?, "a");
    append(trial, store, &rows[..3]).await?;
    append(trial, store, &rows[..3]).await?;
    // The batch has known rows, new rows, and one row twice. A writer appends such a batch if the answer to an earlier
    // batch was lost.
    let mixed = [&rows[1..], &rows[4..5]].concat();
    append(trial, store, &mixed).await?;
    append(trial, store, &mixed).await?;
    expect(trial, store, "given again", &AuditFilter::new().service(&rows[0].service), &rows).await
}

/// Checks the rows with the longest texts that a registry writes. A row that the store cannot keep would be lost.
pub(super) async fn longest(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let now = now(trial, store).await?;
    for (number, text) in ["x", "\"", "\\", "ä", "\u{1f980}"].into_iter().enumerate() {
        let row = AuditRow {
            id: format!("{:016x}{}", random::bits(), "i".repeat(48)),
            service: trial.name(&number.to_string()),
            action: "a".repeat(40),
            reason: text.repeat(1_000),
            user: Some(text.repeat(200)),
            timestamp: now,
            generation: i64::MAX.unsigned_abs(),
            instance: text.repeat(200),
        };
        let (filter, rows) = (AuditFilter::new().service(&row.service), [row]);
        append(trial, store, &rows).await?;
        expect(trial, store, &format!("a long row of {text:?}"), &filter, &rows).await?;
    }
    Ok(())
}

pub(super) async fn reopen(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = trial.open().await;
    let rows = rows(trial, now(trial, &store).await?, "a");
    append(trial, &store, &rows[..4]).await?;
    drop(store);
    let store = &trial.open().await;
    let filter = AuditFilter::new().service(&rows[0].service);
    expect(trial, store, "opened again", &filter, &rows[..4]).await?;
    append(trial, store, &rows[2..]).await?;
    let other = &trial.open().await;
    append(trial, other, &rows).await?;
    expect(trial, store, "given again to the store opened again", &filter, &rows).await
}

pub(super) async fn filter(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let now = now(trial, store).await?;
    let (ours, theirs) = (rows(trial, now, "a"), rows(trial, now, "A"));
    for (our, their) in ours.iter().zip(&theirs) {
        append(trial, store, &[our.clone(), their.clone()]).await?;
    }
    let service = AuditFilter::new().service(&ours[0].service);
    expect(trial, store, "of one circuit", &service, &ours).await?;
    let since = service.clone().since(ours[3].timestamp);
    expect(trial, store, "since the fourth", &since, &ours[3..]).await?;
    expect(trial, store, "the newest two", &service.clone().limit(2), &ours[4..]).await?;
    expect(trial, store, "the newest two since the fourth", &since.limit(2), &ours[4..]).await?;
    expect(trial, store, "at most none", &service.clone().limit(0), &[]).await?;
    let never = service.since(ours[5].timestamp.saturating_add(Duration::from_millis(1)));
    expect(trial, store, "since after the last", &never, &[]).await?;
    let of_ann: Vec<_> = ours.iter().filter(|row| row.user.is_some()).cloned().collect();
    let by_ann = AuditFilter::new().service(&ours[0].service).user("Ann O'Dea");
    expect(trial, store, "of one user", &by_ann, &of_ann).await?;
    expect(trial, store, "the newest one of one user", &by_ann.clone().limit(1), &of_ann[2..]).await?;
    expect(trial, store, "of another user", &by_ann.user("ann o'dea"), &[]).await?;
    let empty = AuditFilter::new().service(&trial.name("empty"));
    expect(trial, store, "of a circuit without rows", &empty, &[]).await?;
    // Other users of the server may append rows at the same time, so the comparison leaves out their rows.
    let since = AuditFilter::new().since(ours[4].timestamp).limit(1000);
    let all = trial.run("audit", || store.audit(&since)).await?;
    let both = |row: &&AuditRow| row.service == ours[0].service || row.service == theirs[0].service;
    let expected = [&ours[4], &theirs[4], &ours[5], &theirs[5]].map(Clone::clone).to_vec();
    trial.same("of all circuits", &all.iter().filter(both).cloned().collect::<Vec<_>>(), &expected)
}

/// Returns six rows, each a second later than the row before. The ids descend, so that a store which sorts by id fails.
fn rows(trial: &Trial<'_, '_>, now: Timestamp, part: &str) -> Vec<AuditRow> {
    let service = trial.name(part);
    let random = random::bits();
    let actions = ["opened", "half_opened", "closed", "trip", "reset", "superseded"];
    (0_u32..)
        .zip(actions)
        .map(|(number, action)| AuditRow {
            id: format!("{random:x}-{}", 12 - number),
            service: service.clone(),
            action: action.to_owned(),
            reason: ["", "said \"no\"; 'why'? ä\u{1f980}", "tab\tand\nline\\"][number as usize % 3].to_owned(),
            user: (number % 2 == 1).then(|| "Ann O'Dea".to_owned()),
            timestamp: now.saturating_add(Duration::from_secs(number.into())),
            generation: now.as_millis() + u64::from(number),
            instance: "host-1".to_owned(),
        })
        .collect()
}

async fn now(trial: &Trial<'_, '_>, store: &AnyStore) -> Result<Timestamp, Failure> {
    Ok(trial.run("load_many", || store.load_many(&[])).await?.now)
}

async fn append(trial: &Trial<'_, '_>, store: &AnyStore, rows: &[AuditRow]) -> Result<(), Failure> {
    trial.run("append_audit", || store.append_audit(rows)).await
}

async fn expect(
    trial: &Trial<'_, '_>,
    store: &AnyStore,
    what: &str,
    filter: &AuditFilter,
    expected: &[AuditRow],
) -> Result<(), Failure> {
    let found = trial.run("audit", || store.audit(filter)).await?;
    if found == expected {
        return Ok(());
    }
    let shown = |rows: &[AuditRow]| rows.iter().map(|row| format!("{} {}", row.id, row.action)).collect::<Vec<_>>();
    if shown(&found) == shown(expected) {
        return trial.same(what, &found, &expected.to_vec());
    }
    trial.same(what, &shown(&found), &shown(expected))
}
