//! The SQL statements, and the conversion of their rows.
//!
//! Each statement that changes a record also notifies the channel `circuit_breaker:OID` with the version and the name
//! of the record. OID is the number by which PostgreSQL knows the table. A channel belongs to a database and not to a
//! schema. Without the OID, stores in two schemas would receive the notifications of each other. Listeners receive a
//! notification at the commit. A write that changes only the counts of a record notifies no listener, because a commit
//! with a notification waits for a lock of the whole server.
//!
//! Times are passed as milliseconds in both directions and stored as timestamps, which a person can read.

use sqlx::postgres::PgRow;
use sqlx::{Row, ValueRef};

use crate::record::{CircuitRecord, Timestamp};
use crate::store::sql::unsigned;
use crate::store::{AuditRow, Etag, Hint, Loaded, Versioned, too_long};

pub(super) fn time(row: &PgRow, index: usize) -> Result<Timestamp, sqlx::Error> {
    Ok(Timestamp::from_millis(unsigned(row.try_get(index)?)))
}

/// Returns the text that precedes the name in the notification of a write. The text is the etag. If the write publishes
/// a transition, a mark follows the etag. An older version of this crate reads the etag and the mark together as an
/// unknown etag, and therefore loads the record. Returns `None` if the write must not notify listeners.
pub(super) fn version_with(hint: Hint, etag: &Etag) -> Option<String> {
    match hint {
        Hint::None => None,
        Hint::Transition => Some(format!("{}{TRANSITION}", etag.as_str())),
        Hint::Any => Some(etag.as_str().to_owned()),
    }
}

/// Returns the etag and the hint in the part of a notification that precedes the name of the record. Returns no etag
/// for a deletion and for a text that cannot be an etag.
pub(super) fn version_of(text: &str) -> (Option<Etag>, Hint) {
    let (etag, hint) = text.strip_suffix(TRANSITION).map_or((text, Hint::Any), |etag| (etag, Hint::Transition));
    ((2..=LONGEST_ETAG).contains(&etag.len()).then(|| Etag::new(etag)), hint)
}

/// Returns the values in the order of the names. Each row has the time of the server. If no name has a record, there is
/// one row that has only the time.
pub(super) fn loaded(names: &[String], rows: &[PgRow]) -> Result<Loaded, sqlx::Error> {
    let (mut entries, mut now) = (vec![None; names.len()], Timestamp::default());
    for row in rows {
        now = time(row, 0)?;
        let Some(service) = row.try_get::<Option<&str>, _>(1)? else { continue };
        let etag = Etag::new(lossy(row, 3)?.unwrap_or_default());
        let value = Versioned { bytes: bytes(row, 2)?.unwrap_or_else(too_long), etag };
        for (entry, _) in entries.iter_mut().zip(names).filter(|(_, name)| *name == service) {
            *entry = Some(value.clone());
        }
    }
    Ok(Loaded { entries, now })
}

/// Returns the bytes of a text column, or `None` for NULL. The column is not read as a `String`, because a database
/// with the encoding `SQL_ASCII` can hold bytes that are not UTF-8.
fn bytes(row: &PgRow, index: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(None);
    }
    value.as_bytes().map(|bytes| Some(bytes.to_vec())).map_err(sqlx::Error::Decode)
}

fn lossy(row: &PgRow, index: usize) -> Result<Option<String>, sqlx::Error> {
    Ok(bytes(row, index)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns the names in the rows. A name that is not UTF-8 was written by another program, and is left out.
pub(super) fn listed(rows: &[PgRow]) -> Vec<String> {
    rows.iter().filter_map(|row| row.try_get(0).ok()).collect()
}

pub(super) fn audited(row: &PgRow) -> Result<AuditRow, sqlx::Error> {
    Ok(AuditRow {
        id: lossy(row, 0)?.unwrap_or_default(),
        service: lossy(row, 1)?.unwrap_or_default(),
        action: lossy(row, 2)?.unwrap_or_default(),
        reason: lossy(row, 3)?.unwrap_or_default(),
        user: lossy(row, 4)?,
        timestamp: time(row, 5)?,
        generation: unsigned(row.try_get(6)?),
        instance: lossy(row, 7)?.unwrap_or_default(),
    })
}

/// The name of the channel for changes of the table, as an SQL expression.
macro_rules! channel {
    () => {
        "'circuit_breaker:' || 'circuit_breaker_states'::regclass::oid::text"
    };
}

/// The etag of a row, as an SQL expression. A person or another program can write an etag of any length, or none. A
/// hash replaces a long etag, and the empty text replaces a missing etag.
macro_rules! version {
    () => {
        "coalesce(CASE WHEN octet_length(etag) <= 100 THEN etag ELSE 'long:' || md5(etag) END, '')"
    };
}

/// Selects a text column. If the text has more than 65 536 bytes, selects a short note in place of the text. Another
/// program has written such a text, which could fill the memory of this process.
macro_rules! bounded_text {
    ($column:literal) => {
        concat!("CASE WHEN octet_length(", $column, ") > 65536 THEN '(too long)' ELSE ", $column, " END")
    };
}

const _: () = assert!(CircuitRecord::MAX_BYTES == 65536, "`LOAD` has the same number");

pub(super) const LOAD: &str = concat!(
    "SELECT clock.now, s.service, CASE WHEN octet_length(s.record) <= 65536 THEN s.record END, ",
    version!(),
    " FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
    LEFT JOIN circuit_breaker_states AS s ON s.service = ANY($1)"
);
pub(super) const LIST: &str =
    "SELECT service FROM circuit_breaker_states WHERE octet_length(service) <= 200 ORDER BY service COLLATE \"C\"";
pub(super) const UNWRITTEN: &str = "SELECT service FROM circuit_breaker_states
    WHERE updated_at < to_timestamp($1 / 1000.0) AND service COLLATE \"C\" > $2 AND octet_length(service) <= 200
    ORDER BY service COLLATE \"C\" LIMIT 256";
pub(super) const INSERT: &str = concat!(
    "WITH written AS (
    INSERT INTO circuit_breaker_states (service, state, failures, successes, last_failure_at, last_state_change,
        total_failures, total_successes, updated_at, generation, etag, record)
    SELECT $1, $2, $3, $4, to_timestamp($5 / 1000.0), to_timestamp($6 / 1000.0), $7, $8, clock_timestamp(), $9, $10, $11
    WHERE $12::text IS NULL
    ON CONFLICT (service) DO NOTHING RETURNING service)
    SELECT count(*), floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
        count(CASE WHEN $13::text IS NOT NULL THEN pg_notify(",
    channel!(),
    ", $13 || ' ' || service)::text END) FROM written"
);
pub(super) const UPDATE: &str = concat!(
    "WITH written AS (
    UPDATE circuit_breaker_states SET state = $2, failures = $3, successes = $4, last_failure_at = to_timestamp($5 / 1000.0),
        last_state_change = to_timestamp($6 / 1000.0), total_failures = $7, total_successes = $8,
        updated_at = clock_timestamp(), generation = $9, etag = $10, record = $11
    WHERE service = $1 AND ",
    version!(),
    " = $12 RETURNING service)
    SELECT count(*), floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
        count(CASE WHEN $13::text IS NOT NULL THEN pg_notify(",
    channel!(),
    ", $13 || ' ' || service)::text END) FROM written"
);
pub(super) const DELETE: &str = concat!(
    "WITH gone AS (DELETE FROM circuit_breaker_states WHERE service = $1 AND ",
    version!(),
    " = $2 RETURNING service)
    SELECT count(pg_notify(",
    channel!(),
    ", '- ' || service)) FROM gone"
);
/// Selects the value of the parameter by which a listener detects a pooler, and the name of the table's channel. The
/// name is null if there is no table.
pub(super) const CHANNEL: &str = "SELECT current_setting('circuit_breaker.listener', true),
    'circuit_breaker:' || to_regclass('circuit_breaker_states')::oid::text";
/// Selects true if the connection listens on the channel of the present table. The table may have been dropped and
/// created again since the `LISTEN`, and then has another OID and another channel.
pub(super) const IS_LISTENING: &str =
    "SELECT coalesce('circuit_breaker:' || to_regclass('circuit_breaker_states')::oid::text
    IN (SELECT pg_listening_channels()), false)";
pub(super) const APPEND: &str = "INSERT INTO circuit_breaker_audit (id, service, action, reason, \"user\", \"timestamp\", generation, instance)
    SELECT id, service, action, reason, person, to_timestamp(millis / 1000.0), generation, instance
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[]) WITH ORDINALITY
        AS given (id, service, action, reason, person, millis, generation, instance, position)
    ORDER BY position ON CONFLICT (id) DO NOTHING";
pub(super) const AUDIT: &str = concat!(
    "SELECT ",
    bounded_text!("id"),
    ", ",
    bounded_text!("service"),
    ", ",
    bounded_text!("action"),
    ", ",
    bounded_text!("reason"),
    ", ",
    bounded_text!("\"user\""),
    ", CASE WHEN isfinite(\"timestamp\") THEN round(extract(epoch FROM \"timestamp\") * 1000)::bigint END, generation, ",
    bounded_text!("instance"),
    " FROM circuit_breaker_audit
    WHERE ($1::text IS NULL OR service = $1) AND ($2::bigint IS NULL OR \"timestamp\" >= to_timestamp($2 / 1000.0))
        AND ($4::text IS NULL OR \"user\" = $4)
    ORDER BY number DESC LIMIT $3"
);
// The statement checks only the oldest rows, so that it ends within the deadline, however many rows there are.
pub(super) const TRIM: &str = "DELETE FROM circuit_breaker_audit WHERE number IN (SELECT number FROM
        (SELECT number, \"timestamp\" FROM circuit_breaker_audit ORDER BY number LIMIT 5000) AS oldest
    WHERE \"timestamp\" < to_timestamp($1 / 1000.0))";
pub(super) const TRIMMED_AT_ONCE: u64 = 5000;
/// The mark behind the etag in the notification of a transition.
const TRANSITION: &str = ",transition";
/// The longest etag that is read from a notification, in bytes. A longer text counts as no etag.
const LONGEST_ETAG: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_gives_back_the_etag_and_the_hint_also_to_older_readers() {
        let etag = Etag::new("0a1b2c");
        for hint in [Hint::Transition, Hint::Any] {
            let version = version_with(hint, &etag).unwrap();
            assert_eq!(version_of(&version), (Some(etag.clone()), hint));
            // An older reader takes the text before the first blank for the etag, and the rest for the name.
            assert_eq!(format!("{version} a b").split_once(' '), Some((&*version, "a b")));
        }
        assert_eq!(version_with(Hint::None, &etag), None);
        for (text, hint) in [("-", Hint::Any), (",transition", Hint::Transition), (&*"x".repeat(101), Hint::Any)] {
            assert_eq!(version_of(text), (None, hint), "{text}");
        }
    }
}
