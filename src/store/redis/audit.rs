//! The audit, which is a capped stream of rows and a set of the ids of the appended rows.
//!
//! If the answer to an append is lost, the rows are appended again, sometimes an hour and thousands of rows later.
//! Therefore the script looks up the id of each row in a sorted set of the newest 20 000 ids. The lookup is exact and
//! costs a microsecond. A search in the last rows of the stream would be slower and not exact.

use super::error::{Access, NoAnswer};
use super::keys::Keys;
use super::script;
use super::servers::Servers;
use crate::random;
use crate::record::Timestamp;
use crate::store::{AuditFilter, AuditRow, StoreError};
use crate::sync::{AtomicBool, Relaxed};

const ROWS_KEPT: usize = 10_000;
const IDS_KEPT: usize = 2 * ROWS_KEPT;
/// The largest number of rows that one script appends. A script with so many rows takes a millisecond, during which the
/// server does nothing else.
const APPENDED_AT_ONCE: usize = 256;
const READ_AT_ONCE: usize = 512;
const TRIMMED_AT_MOST: usize = 8;
/// The largest number of pages that a query reads, which is enough for the whole stream. Redis keeps a stream in blocks
/// of at most 100 rows (the default), and `MAXLEN ~` removes only whole blocks. Therefore the stream can have more rows
/// than `ROWS_KEPT`, but not twice as many.
const MAX_PAGES: usize = 2 * ROWS_KEPT / READ_AT_ONCE;

/// Appends the rows that the stream does not have yet, in order. `has_appended` is true after the first success. If the
/// whole stream is missing after that, the stream was lost. The script then also appends a row that reports the loss.
///
/// # Cancel safety
///
/// If the future is dropped, some of the rows may have been appended. The caller may append all of them again.
pub(super) async fn append(
    servers: &Servers,
    keys: &Keys,
    has_appended: &AtomicBool,
    rows: &[AuditRow],
) -> Result<(), StoreError> {
    for rows in rows.chunks(APPENDED_AT_ONCE) {
        let mut command = script::append_audit(keys);
        // Relaxed, because the flag publishes no other data.
        command.arg(ROWS_KEPT).arg(IDS_KEPT).arg(u8::from(has_appended.load(Relaxed)));
        for row in rows.first().map(gone).iter().chain(rows) {
            let fields = fields(row);
            command.arg(&row.id).arg(2 * fields.len());
            for (field, value) in fields {
                command.arg(field).arg(value);
            }
        }
        servers.send_one(&keys.audit(), command, Access::Write).await.map_err(|fault| refusal(keys, fault))?;
        // Relaxed, because the flag publishes no other data.
        has_appended.store(true, Relaxed);
    }
    Ok(())
}

/// Returns the newest rows that pass the filter, sorted from the oldest to the newest.
///
/// # Cancel safety
///
/// Dropping the future has no effect.
pub(super) async fn read(servers: &Servers, keys: &Keys, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
    let mut rows = Vec::new();
    let mut last = String::new();
    for _ in 0..MAX_PAGES {
        // Each further page begins with the last row of the previous page, which is skipped below. An exclusive start,
        // `(`, needs Redis 6.2.
        let from = if last.is_empty() { "+" } else { &last };
        let command = script::audit_page(keys, "XREVRANGE", from, "-", READ_AT_ONCE);
        let answer =
            servers.send_one(&keys.audit(), command, Access::Read).await.map_err(|fault| refusal(keys, fault))?;
        let page: Vec<(String, Vec<Vec<u8>>)> = servers.decode(answer)?;
        let whole = page.len() == READ_AT_ONCE;
        for (id, values) in page {
            if id == last {
                continue;
            }
            if rows.len() < filter.limit {
                rows.extend(row(&values).filter(|row| filter.passes(row)));
            }
            last = id;
        }
        if !whole || rows.len() >= filter.limit {
            break;
        }
    }
    rows.reverse();
    Ok(rows)
}

/// Deletes rows that are older than `before`, the oldest first, and at most 4096 in one call. Returns true if more such
/// rows may be left.
///
/// The time in each row decides, so the oldest rows are read page by page. `XTRIM MINID` is not used, because it needs
/// Redis 6.2 and compares the time at which a row was appended. The ids of the deleted rows stay until the cap of the
/// set removes them.
///
/// # Cancel safety
///
/// If the future is dropped, some of the oldest rows may be gone.
pub(super) async fn trim(servers: &Servers, keys: &Keys, before: Timestamp) -> Result<bool, StoreError> {
    for _ in 0..TRIMMED_AT_MOST {
        let oldest = script::audit_page(keys, "XRANGE", "-", "+", READ_AT_ONCE);
        let answer =
            servers.send_one(&keys.audit(), oldest, Access::Read).await.map_err(|fault| refusal(keys, fault))?;
        let page: Vec<(String, Vec<Vec<u8>>)> = servers.decode(answer)?;
        // For a row of another program, only the time of the append is known. Such a row must not stop the deletion of
        // the rows behind it.
        let time =
            |(id, values): &(String, Vec<Vec<u8>>)| row(values).map_or_else(|| appended(id), |row| row.timestamp);
        let old: Vec<&str> = page.iter().take_while(|row| time(row) < before).map(|(id, _)| id.as_str()).collect();
        if !old.is_empty() {
            let mut delete = redis::cmd("XDEL");
            delete.arg(keys.audit()).arg(&old);
            servers.send_one(&keys.audit(), delete, Access::Write).await.map_err(|fault| refusal(keys, fault))?;
        }
        if old.len() < READ_AT_ONCE {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the row that reports the loss of all rows before `first`.
fn gone(first: &AuditRow) -> AuditRow {
    AuditRow {
        id: random::id(),
        action: "missing".to_owned(),
        reason: "the rows before this one are gone from redis, because the audit was evicted, flushed or deleted"
            .to_owned(),
        user: None,
        ..first.clone()
    }
}

fn refusal(keys: &Keys, fault: NoAnswer) -> StoreError {
    if !fault.is_wrong_type() {
        return fault.into();
    }
    let (stream, ids) = (keys.audit(), keys.audit_ids());
    let message = format!("the key {stream} or {ids} in redis is not of the right type and holds no audit; delete it");
    StoreError::refused(message).with_source(StoreError::from(fault))
}

fn fields(row: &AuditRow) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("service", row.service.clone()),
        ("action", row.action.clone()),
        ("reason", row.reason.clone()),
        ("timestamp", row.timestamp.to_string()),
        ("generation", row.generation.to_string()),
        ("instance", row.instance.clone()),
    ];
    fields.extend(row.user.clone().map(|user| ("user", user)));
    fields
}

/// Returns the time at which Redis appended a row, which is a part of the id that Redis gave to the row.
fn appended(id: &str) -> Timestamp {
    let millis = id.split_once('-').and_then(|(millis, _)| millis.parse().ok());
    Timestamp::from_millis(millis.unwrap_or_default())
}

/// Reads a row. Returns `None` for an entry that another program has added to the stream.
fn row(values: &[Vec<u8>]) -> Option<AuditRow> {
    let (pairs, _) = values.as_chunks::<2>();
    let value = |field: &str| {
        let [_, value] = pairs.iter().find(|[name, _]| name == field.as_bytes())?;
        str::from_utf8(value).ok()
    };
    Some(AuditRow {
        id: value("id")?.to_owned(),
        service: value("service")?.to_owned(),
        action: value("action")?.to_owned(),
        reason: value("reason")?.to_owned(),
        user: value("user").map(ToOwned::to_owned),
        timestamp: Timestamp::from_millis(value("timestamp")?.parse().ok()?),
        generation: value("generation")?.parse().ok()?,
        instance: value("instance")?.to_owned(),
    })
}
