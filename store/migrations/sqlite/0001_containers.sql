-- Times are nanoseconds since 1970-01-01 UTC.
CREATE TABLE containers (
    id           TEXT PRIMARY KEY CHECK (length(id) = 64),
    name         TEXT NOT NULL UNIQUE CHECK (name <> ''),
    config       TEXT NOT NULL CHECK (json_valid(config)),
    host_config  TEXT NOT NULL CHECK (json_valid(host_config)),
    networking   TEXT NOT NULL CHECK (json_valid(networking)),
    state        TEXT NOT NULL CHECK (state IN ('creating', 'created', 'running', 'exited', 'removing', 'dead')),
    error        TEXT NOT NULL DEFAULT '',
    exit_code    INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    function_app TEXT NOT NULL,
    resource_id  TEXT NOT NULL DEFAULT '',
    host_name    TEXT NOT NULL DEFAULT '',
    plan_summary TEXT NOT NULL DEFAULT '',

    CHECK (state NOT IN ('created', 'running', 'exited') OR (resource_id <> '' AND host_name <> '')),
    CHECK (state <> 'running' OR (started_at IS NOT NULL AND finished_at IS NULL)),
    CHECK (state <> 'exited' OR (started_at IS NOT NULL AND finished_at IS NOT NULL)),
    CHECK (state <> 'dead' OR error <> '')
) STRICT;

CREATE TABLE runs (
    id           TEXT PRIMARY KEY,
    container_id TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    trace_id     TEXT NOT NULL,
    span_id      TEXT NOT NULL,
    started_at   INTEGER NOT NULL,
    sent_at      INTEGER, -- just before the function app was called
    finished_at  INTEGER,
    exit_code    INTEGER NOT NULL DEFAULT 0,
    error        TEXT NOT NULL DEFAULT '',
    output       TEXT NOT NULL DEFAULT 'null' CHECK (json_valid(output)),
    truncated    INTEGER NOT NULL DEFAULT 0 CHECK (truncated IN (0, 1))
) STRICT;

CREATE UNIQUE INDEX runs_one_running_per_container ON runs (container_id) WHERE finished_at IS NULL;
CREATE INDEX runs_latest ON runs (container_id, started_at);
