//! The audit in its stream.

use std::collections::HashMap;

use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::store::{AuditFilter, AuditRow, Store, StoreErrorKind};

use super::fresh;

pub(super) fn row(number: u64) -> AuditRow {
    AuditRow {
        id: format!("0f{number}"),
        service: format!("service {}", number % 2),
        action: "trip".to_owned(),
        reason: "release of\n\"billing\" ä".to_owned(),
        user: number.is_multiple_of(3).then(|| "ada".to_owned()),
        timestamp: Timestamp::from_millis(number),
        generation: u64::MAX,
        instance: String::new(),
    }
}

#[tokio::test]
async fn a_row_given_again_after_thousands_of_others_is_kept_once() {
    let (server, store) = fresh().await;
    let rows: Vec<_> = (0..3000).map(row).collect();
    store.append_audit(&rows).await.unwrap();
    // Another instance, another connection, and one new row among them.
    server.store().append_audit(&[row(0), row(3000), row(2999)]).await.unwrap();
    let all = store.audit(&AuditFilter::new().limit(usize::MAX)).await.unwrap();
    assert_eq!(all, (0..=3000).map(row).collect::<Vec<_>>());
    let newest = store.audit(&AuditFilter::new().service("service 1").limit(2)).await.unwrap();
    assert_eq!(newest, [row(2997), row(2999)]);
    let since = store.audit(&AuditFilter::new().since(Timestamp::from_millis(2999))).await.unwrap();
    assert_eq!(since, [row(2999), row(3000)]);
    assert_eq!(store.audit(&AuditFilter::new().limit(0)).await.unwrap(), []);
}

#[tokio::test]
async fn an_audit_that_is_gone_says_so_in_its_next_row() {
    let (server, store) = fresh().await;
    store.append_audit(&[row(0), row(1)]).await.unwrap();
    // The rows were deleted by their age, and nothing is missing.
    store.trim_audit(Timestamp::from_millis(5)).await.unwrap();
    store.append_audit(&[row(2)]).await.unwrap();
    assert_eq!(store.audit(&AuditFilter::new()).await.unwrap(), [row(2)]);
    for (number, lost, writer) in [
        (4, &["UNLINK", "circuit_breaker:audit"][..], server.store()),
        (5, &["FLUSHALL"][..], store.clone()),
        (6, &["UNLINK", "circuit_breaker:audit"][..], store.clone()),
    ] {
        server.cli::<()>(lost).await;
        let is_flushed = lost[0] == "FLUSHALL";
        for _ in 0..2 {
            writer.append_audit(&[row(number), row(3)]).await.unwrap();
            let rows = store.audit(&AuditFilter::new()).await.unwrap();
            let actions: Vec<&str> = rows.iter().map(|row| &*row.action).collect();
            // A row whose id is still known is not appended again.
            let expected =
                if number == 4 || is_flushed { &["missing", "trip", "trip"][..] } else { &["missing", "trip"] };
            assert_eq!(actions, expected, "{rows:?}");
            assert!(rows[0].reason.contains("evicted, flushed or deleted"), "{rows:?}");
        }
    }
}

#[tokio::test]
async fn the_stream_is_capped_and_readable_for_people() {
    let (server, store) = fresh().await;
    for start in (0..22_000).step_by(2000) {
        store.append_audit(&(start..start + 2000).map(row).collect::<Vec<_>>()).await.unwrap();
    }
    let (rows, ids): (u64, u64) = (
        server.cli(&["XLEN", "circuit_breaker:audit"]).await,
        server.cli(&["ZCARD", "{circuit_breaker:audit}:ids"]).await,
    );
    assert!((10_000..10_200).contains(&rows), "{rows} rows");
    assert_eq!(ids, 20_000);
    let newest: Vec<(String, HashMap<String, String>)> =
        server.cli(&["XREVRANGE", "circuit_breaker:audit", "+", "-", "COUNT", "1"]).await;
    assert_eq!(newest[0].1["service"], "service 1");
    assert_eq!(newest[0].1["timestamp"], "21999");
    assert_eq!(newest[0].1["reason"], row(0).reason);
}

#[tokio::test]
async fn foreign_entries_of_the_stream_are_skipped() {
    let (server, store) = fresh().await;
    server.cli::<()>(&["XADD", "circuit_breaker:audit", "*", "note", "by hand"]).await;
    store.append_audit(&[row(1)]).await.unwrap();
    assert_eq!(store.audit(&AuditFilter::new()).await.unwrap(), [row(1)]);
    server.cli::<()>(&["SET", "circuit_breaker:audit", "no stream"]).await;
    let append = store.append_audit(&[row(2)]).await.unwrap_err();
    let read = store.audit(&AuditFilter::new()).await.unwrap_err();
    assert_eq!((append.kind(), read.kind()), (StoreErrorKind::Refused, StoreErrorKind::Refused));
    assert!(append.to_string().contains("circuit_breaker:audit"), "{append}");
    server.cli::<()>(&["DEL", "circuit_breaker:audit"]).await;
    store.append_audit(&[row(2)]).await.unwrap();
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    assert_eq!((&*rows[0].action, &rows[1..]), ("missing", &[row(2)][..]), "a refused row is not remembered as kept");
}
