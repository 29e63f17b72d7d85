//! The conversions that the two SQL stores share. They turn a record into the columns of its row, and bytes into text
//! columns.
//!
//! A load takes the record only from its stored bytes. The other columns are for people, so no value of these columns
//! makes a write fail. Bytes that do not decode get the state `unknown`, and a number that is too large for its column
//! becomes null. Each store has its own statements.

use std::borrow::Cow;

use super::{AuditRow, Etag, StoreError, Write, check_length};
use crate::random;
use crate::record::{CircuitRecord, Timestamp};

/// The columns of the table `circuit_breaker_states` that are computed from a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Columns {
    pub(super) state: &'static str,
    pub(super) failures: Option<f64>,
    pub(super) successes: Option<i64>,
    pub(super) last_failure_at: Option<i64>,
    pub(super) last_state_change: Option<i64>,
    pub(super) total_failures: Option<i64>,
    pub(super) total_successes: Option<i64>,
    pub(super) generation: Option<i64>,
}

impl Columns {
    /// Returns the columns for the record in `write`, or [`UNKNOWN`](Self::UNKNOWN) if the bytes do not decode.
    pub(super) fn of(write: &Write) -> Self {
        // The latest possible time is passed as the present, so that a record with times in the future is decoded too.
        // Only a load decides if a record is valid.
        let Ok(record) =
            CircuitRecord::decode_with_expired(&write.name, &write.bytes, Timestamp::from_millis(u64::MAX))
        else {
            return Self::UNKNOWN;
        };
        let time = |time: Option<Timestamp>| time.filter(|time| *time <= LATEST).map(bounded);
        Self {
            state: record.state.as_str(),
            failures: Some(record.failure_count),
            successes: i64::try_from(record.success_count).ok(),
            last_failure_at: time(record.last_failure_at),
            last_state_change: time(record.last_state_change),
            total_failures: i64::try_from(record.total_failures).ok(),
            total_successes: i64::try_from(record.total_successes).ok(),
            generation: i64::try_from(record.generation.get()).ok(),
        }
    }

    const UNKNOWN: Self = Self {
        state: "unknown",
        failures: None,
        successes: None,
        last_failure_at: None,
        last_state_change: None,
        total_failures: None,
        total_successes: None,
        generation: None,
    };
}

/// Returns a time in milliseconds. A time after the year 9999 becomes the end of that year, because dates of SQLite end
/// there.
pub(super) fn bounded(time: Timestamp) -> i64 {
    signed(time.min(LATEST).as_millis())
}

/// Returns the number as a signed integer of SQL, or the largest such integer if the number is larger.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts a number back that [`signed`] has converted. Null and negative numbers, which this crate never writes,
/// become zero.
pub(super) fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

/// Returns the record of a write as text. Refuses bytes that are not UTF-8, and a NUL in the record or in the name,
/// because a text column cannot hold them.
pub(super) fn text(write: &Write) -> Result<&str, StoreError> {
    check_length(write)?;
    let refused = |problem: &str| {
        StoreError::refused(format!("the record of `{}` {problem}, which a text column cannot hold", write.name))
    };
    let text = std::str::from_utf8(&write.bytes).map_err(|_| refused("is not UTF-8"))?;
    if text.contains('\0') || write.name.contains('\0') {
        return Err(refused("has a NUL"));
    }
    Ok(text)
}

/// Returns the rows with a replacement character for each NUL, because a text column cannot hold a NUL. Without the
/// replacement the store would refuse the row, and the row would be missing in the audit.
pub(super) fn without_nul(rows: &[AuditRow]) -> Cow<'_, [AuditRow]> {
    let mut rows = Cow::Borrowed(rows);
    let has_nul = |row: &AuditRow| {
        let texts = [&row.id, &row.service, &row.action, &row.reason, &row.instance];
        texts.into_iter().chain(&row.user).any(|text| text.contains('\0'))
    };
    if rows.iter().any(has_nul) {
        for AuditRow { id, service, action, reason, user, instance, .. } in rows.to_mut() {
            for text in [id, service, action, reason, instance].into_iter().chain(user) {
                *text = text.replace('\0', "\u{fffd}");
            }
        }
    }
    rows
}

/// Creates an etag of 128 random bits, so that different versions of a record have different etags.
pub(super) fn new_etag() -> Etag {
    Etag::new(random::id())
}

/// The last millisecond of the year 9999.
const LATEST: Timestamp = Timestamp::from_millis(253_402_300_799_999);
