-- What tower-circuit-breaker keeps in SQLite. It is made at first use unless the store is told not to; running it again changes
-- nothing. `record` is the truth, in JSON; the other columns of a state say the same for people and dashboards.
-- Who edits `record` by hand writes a new `etag` with it. Times are UTC, as in 2026-11-21T03:02:14.123Z.

CREATE TABLE IF NOT EXISTS circuit_breaker_states (
    service           TEXT PRIMARY KEY NOT NULL,
    state             TEXT NOT NULL,          -- closed, open, half_open; unknown if the record cannot be read
    failures          REAL,                   -- weight of the failures since the last success, over all instances
    successes         INTEGER,                -- probes that succeeded while half-open, over all instances
    last_failure_at   TEXT,
    last_state_change TEXT,
    total_failures    INTEGER,
    total_successes   INTEGER,
    updated_at        TEXT NOT NULL,          -- by the clock of the host that wrote
    generation        INTEGER,                -- orders the states of a circuit
    etag              TEXT NOT NULL,          -- names this version of the row
    record            TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS circuit_breaker_audit (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which rows came
    id          TEXT NOT NULL UNIQUE,         -- the same row given twice is kept once
    service     TEXT NOT NULL,
    action      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    "user"      TEXT,                         -- null: the circuit itself
    "timestamp" TEXT NOT NULL,
    generation  INTEGER NOT NULL DEFAULT 0,
    instance    TEXT NOT NULL DEFAULT ''
);

CREATE INDEX IF NOT EXISTS circuit_breaker_audit_service_timestamp ON circuit_breaker_audit (service, "timestamp");
