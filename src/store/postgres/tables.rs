//! The check of the tables, and their creation.

use sqlx::postgres::PgConnection;
use sqlx::{Row, query, raw_sql};

use super::connection::Lease;
use super::error::meaning;
use crate::store::StoreError;
use crate::store::schema::{POSTGRES, SchemaMode, TABLES};

/// Checks the tables, and creates missing tables if the mode permits that. The caller commits the transaction.
pub(super) async fn ensure(lease: &mut Lease<'_>, mode: SchemaMode) -> Result<(), StoreError> {
    let connection = lease.connection();
    // The check comes first, because it needs no right to create tables. `CREATE TABLE IF NOT EXISTS` needs that right
    // even if the table exists.
    match verify(connection).await? {
        Err(_) if mode == SchemaMode::Create => {}
        found => return found,
    }
    // The lock prevents two instances from creating the same table at the same time. One of the two would fail in spite
    // of `IF NOT EXISTS`.
    let created = async {
        query("SELECT pg_advisory_xact_lock($1)").persistent(false).bind(LOCK).execute(&mut *connection).await?;
        raw_sql(POSTGRES).execute(&mut *connection).await
    };
    created.await.map_err(|error| meaning(&error))?;
    verify(connection).await?
}

/// Checks the tables. The outer error is a failure of the database, and the inner error names the missing table or
/// column.
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
/// The number of the advisory lock, which is `breakers` in ASCII. No other application is likely to use this number.
const LOCK: i64 = 0x6272_6561_6b65_7273;
