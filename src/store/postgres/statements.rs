//! The SQL statements, and the conversion of their rows.
//!
//! Each statement that changes a record also notifies the channel `circuit_breaker` with the name. Listeners receive
//! the notification at the commit. Times are passed as milliseconds in both directions and stored as timestamps, which
//! a person can read.

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::record::Timestamp;
use crate::store::sql::unsigned;
use crate::store::{AuditRow, Etag, Loaded, Versioned};

pub(super) fn time(row: &PgRow, index: usize) -> Result<Timestamp, sqlx::Error> {
    Ok(Timestamp::from_millis(unsigned(row.try_get(index)?)))
}

/// Returns the values in the order of the names. Each row has the time of the server. If no name has a record, there is
/// one row that has only the time.
pub(super) fn loaded(names: &[String], rows: &[PgRow]) -> Result<Loaded, sqlx::Error> {
    let (mut entries, mut now) = (vec![None; names.len()], Timestamp::default());
    for row in rows {
        now = time(row, 0)?;
        let Some(service) = row.try_get::<Option<&str>, _>(1)? else { continue };
        let value = Versioned {
            bytes: row.try_get::<String, _>(2)?.into_bytes(),
            etag: Etag::new(row.try_get::<String, _>(3)?),
        };
        for (entry, _) in entries.iter_mut().zip(names).filter(|(_, name)| *name == service) {
            *entry = Some(value.clone());
        }
    }
    Ok(Loaded { entries, now })
}

pub(super) fn audited(row: &PgRow) -> Result<AuditRow, sqlx::Error> {
    Ok(AuditRow {
        id: row.try_get(0)?,
        service: row.try_get(1)?,
        action: row.try_get(2)?,
        reason: row.try_get(3)?,
        user: row.try_get(4)?,
        timestamp: time(row, 5)?,
        generation: unsigned(row.try_get(6)?),
        instance: row.try_get(7)?,
    })
}

pub(super) const LOAD: &str = "SELECT clock.now, s.service, s.record, s.etag
    FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
    LEFT JOIN circuit_breaker_states AS s ON s.service = ANY($1)";
pub(super) const LIST: &str = "SELECT service FROM circuit_breaker_states ORDER BY service COLLATE \"C\"";
pub(super) const UNWRITTEN: &str = "SELECT service FROM circuit_breaker_states
    WHERE updated_at < to_timestamp($1 / 1000.0) AND service COLLATE \"C\" > $2
    ORDER BY service COLLATE \"C\" LIMIT 256";
pub(super) const INSERT: &str = "WITH written AS (
    INSERT INTO circuit_breaker_states (service, state, failures, successes, last_failure_at, last_state_change,
        total_failures, total_successes, updated_at, generation, etag, record)
    SELECT $1, $2, $3, $4, to_timestamp($5 / 1000.0), to_timestamp($6 / 1000.0), $7, $8, clock_timestamp(), $9, $10, $11
    WHERE $12::text IS NULL
    ON CONFLICT (service) DO NOTHING RETURNING service)
    SELECT count(pg_notify('circuit_breaker', service)), floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM written";
pub(super) const UPDATE: &str = "WITH written AS (
    UPDATE circuit_breaker_states SET state = $2, failures = $3, successes = $4, last_failure_at = to_timestamp($5 / 1000.0),
        last_state_change = to_timestamp($6 / 1000.0), total_failures = $7, total_successes = $8,
        updated_at = clock_timestamp(), generation = $9, etag = $10, record = $11
    WHERE service = $1 AND etag = $12 RETURNING service)
    SELECT count(pg_notify('circuit_breaker', service)), floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM written";
pub(super) const DELETE: &str =
    "WITH gone AS (DELETE FROM circuit_breaker_states WHERE service = $1 AND etag = $2 RETURNING service)
    SELECT count(pg_notify('circuit_breaker', service)) FROM gone";
pub(super) const APPEND: &str = "INSERT INTO circuit_breaker_audit (id, service, action, reason, \"user\", \"timestamp\", generation, instance)
    SELECT id, service, action, reason, person, to_timestamp(millis / 1000.0), generation, instance
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[]) WITH ORDINALITY
        AS given (id, service, action, reason, person, millis, generation, instance, position)
    ORDER BY position ON CONFLICT (id) DO NOTHING";
pub(super) const AUDIT: &str =
    "SELECT id, service, action, reason, \"user\", round(extract(epoch FROM \"timestamp\") * 1000)::bigint,
        generation, instance
    FROM circuit_breaker_audit
    WHERE ($1::text IS NULL OR service = $1) AND ($2::bigint IS NULL OR \"timestamp\" >= to_timestamp($2 / 1000.0))
        AND ($4::text IS NULL OR \"user\" = $4)
    ORDER BY number DESC LIMIT $3";
// The statement checks only the oldest rows, so that it ends within the deadline, however many rows there are.
pub(super) const TRIM: &str = "DELETE FROM circuit_breaker_audit WHERE number IN (SELECT number FROM
        (SELECT number, \"timestamp\" FROM circuit_breaker_audit ORDER BY number LIMIT 5000) AS oldest
    WHERE \"timestamp\" < to_timestamp($1 / 1000.0))";
pub(super) const TRIMMED_AT_ONCE: u64 = 5000;
