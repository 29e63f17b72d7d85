//! Whether the tables are there, and making them.

use sqlx::postgres::PgConnection;
use sqlx::{Row, query, raw_sql};

use super::connection::Lease;
use super::error::meaning;
use crate::store::StoreError;
use crate::store::schema::{POSTGRES, SchemaMode, TABLES};

/// Looks at the tables, and makes what is missing if it may. In a transaction that the caller commits.
pub(super) async fn ensure(lease: &mut Lease<'_>, mode: SchemaMode) -> Result<(), StoreError> {
    let connection = lease.connection();
    // To look needs no rights, to make what is there already needs them all the same.
    match verify(connection).await? {
        Err(_) if mode == SchemaMode::Create => {}
        found => return found,
    }
    // Two that make the same table at once: one of them would fail in spite of its `IF NOT EXISTS`.
    let made = async {
        query("SELECT pg_advisory_xact_lock($1)").persistent(false).bind(LOCK).execute(&mut *connection).await?;
        raw_sql(POSTGRES).execute(&mut *connection).await
    };
    made.await.map_err(|error| meaning(&error))?;
    verify(connection).await?
}

/// Returns what is missing, as an error in the result.
async fn verify(connection: &mut PgConnection) -> Result<Result<(), StoreError>, StoreError> {
    for table in &TABLES {
        let rows = query(COLUMNS).persistent(false).bind(table.name).fetch_all(&mut *connection).await;
        let columns = rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>());
        let columns = columns.map_err(|error| meaning(&error))?;
        if let Err(missing) = table.verify(&columns, "the database") {
            return Ok(Err(missing));
        }
    }
    Ok(Ok(()))
}

const COLUMNS: &str =
    "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
/// `breakers`, in ASCII: a number that no other application is likely to lock.
const LOCK: i64 = 0x6272_6561_6b65_7273;
