//! The audit's file.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::store::{AuditFilter, AuditRow, FileStore, Store};

use super::Folder;

pub(super) fn row(number: usize) -> AuditRow {
    AuditRow {
        id: format!("row-{number}"),
        service: "payments".to_owned(),
        action: "trip".to_owned(),
        reason: "a\nmaintenance\nwindow".to_owned(),
        user: Some("ann".to_owned()),
        timestamp: Timestamp::from_millis(1_790_000_000_000 + number as u64),
        generation: 7,
        instance: "host-1".to_owned(),
    }
}

fn rows(numbers: std::ops::Range<usize>) -> Vec<AuditRow> {
    numbers.map(row).collect()
}

async fn all(store: &FileStore) -> Vec<AuditRow> {
    store.audit(&AuditFilter::new().limit(usize::MAX)).await.unwrap()
}

#[tokio::test]
async fn a_torn_line_costs_no_other_row() {
    for torn in ["{\"id\":\"row-2\",\"serv", "\0\0\0\0", "not a row\nnor this"] {
        let folder = Folder::new();
        folder.store().append_audit(&rows(0..2)).await.unwrap();
        // What a killed writer leaves.
        let mut file = OpenOptions::new().append(true).open(folder.path("audit.jsonl")).unwrap();
        file.write_all(torn.as_bytes()).unwrap();

        let store = folder.store();
        assert_eq!(all(&store).await, rows(0..2), "after {torn:?}");
        store.append_audit(&rows(1..4)).await.unwrap();
        store.append_audit(&rows(3..5)).await.unwrap();
        assert_eq!(all(&store).await, rows(0..5), "after {torn:?} and more rows");
    }
}

#[tokio::test]
async fn a_last_row_without_its_line_end_is_a_row() {
    let folder = Folder::new();
    fs::write(folder.path("audit.jsonl"), serde_json::to_string(&row(0)).unwrap()).unwrap();
    let store = folder.store();
    assert_eq!(all(&store).await, rows(0..1));
    store.append_audit(&rows(1..2)).await.unwrap();
    assert_eq!(all(&store).await, rows(0..2));
}

#[tokio::test]
async fn the_audit_file_is_put_aside_at_its_size_limit() {
    let folder = Folder::new();
    let line = serde_json::to_string(&row(100)).unwrap().len() as u64 + 1;
    let store = folder.store().audit_bytes(10 * line);
    for number in 100..125 {
        store.append_audit(&rows(number..number + 1)).await.unwrap();
    }
    assert_eq!(all(&store).await, rows(110..125), "the oldest ten are gone, two files are read");
    let lengths = ["audit.old.jsonl", "audit.jsonl"].map(|file| fs::metadata(folder.path(file)).unwrap().len());
    assert_eq!(lengths, [10 * line, 5 * line]);

    store.append_audit(&rows(110..126)).await.unwrap();
    folder.store().append_audit(&rows(110..126)).await.unwrap();
    assert_eq!(all(&folder.store()).await, rows(110..126), "rows that were put aside are known, after a restart too");
}

#[tokio::test]
async fn rows_that_another_process_put_aside_are_known() {
    let folder = Folder::new();
    let (ours, theirs) = (folder.store(), folder.store().audit_bytes(1));
    ours.append_audit(&rows(0..3)).await.unwrap();
    theirs.append_audit(&rows(3..5)).await.unwrap();
    assert_eq!(folder.files(".jsonl"), ["audit.jsonl", "audit.old.jsonl"]);
    ours.append_audit(&rows(0..6)).await.unwrap();
    assert_eq!(all(&ours).await, rows(0..6));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_lose_no_row() {
    let folder = Folder::new();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = folder.store().lock_wait(std::time::Duration::from_secs(20)).audit_bytes(2000);
        writers.spawn(async move {
            for number in (writer * 5)..(writer * 5 + 5) {
                store.append_audit(&rows(number..number + 1)).await.unwrap();
                store.append_audit(&rows(number..number + 1)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let text = ["audit.old.jsonl", "audit.jsonl"].map(|file| fs::read_to_string(folder.path(file)).unwrap()).concat();
    let found = all(&folder.store()).await;
    assert_eq!(text.lines().count(), found.len(), "each line is a row, and each row is there once");
    assert!(text.len() < 5000, "it was put aside: {} bytes are left", text.len());
}
