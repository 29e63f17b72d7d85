-- What tower-circuit-breaker keeps in PostgreSQL. It is made at first use unless the store is told not to; running it again changes
-- nothing. `record` is the truth, in JSON; the other columns of a state say the same for people and dashboards.
-- Who edits `record` by hand writes a new `etag` with it.

CREATE TABLE IF NOT EXISTS circuit_breaker_states (
    service           TEXT PRIMARY KEY,
    state             TEXT NOT NULL,          -- closed, open, half_open; unknown if the record cannot be read
    failures          DOUBLE PRECISION,       -- weight of the failures since the last success, over all instances
    successes         BIGINT,                 -- probes that succeeded while half-open, over all instances
    last_failure_at   TIMESTAMPTZ,
    last_state_change TIMESTAMPTZ,
    total_failures    BIGINT,
    total_successes   BIGINT,
    updated_at        TIMESTAMPTZ NOT NULL,   -- by this server's clock
    generation        BIGINT,                 -- orders the states of a circuit
    etag              TEXT NOT NULL,          -- names this version of the row
    record            TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS circuit_breaker_audit (
    number      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order in which rows came
    id          TEXT NOT NULL UNIQUE,         -- the same row given twice is kept once
    service     TEXT NOT NULL,
    action      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    "user"      TEXT,                         -- null: the circuit itself
    "timestamp" TIMESTAMPTZ NOT NULL,
    generation  BIGINT NOT NULL DEFAULT 0,
    instance    TEXT NOT NULL DEFAULT ''
);

CREATE INDEX IF NOT EXISTS circuit_breaker_audit_service_timestamp ON circuit_breaker_audit (service, "timestamp");
