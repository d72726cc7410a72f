-- Times are nanoseconds since 1970-01-01 UTC. Ids and names are in the order of their bytes, as in SQLite.
CREATE TABLE containers (
    id           TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 64),
    name         TEXT COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
    config       TEXT NOT NULL CHECK (config::json IS NOT NULL),
    host_config  TEXT NOT NULL CHECK (host_config::json IS NOT NULL),
    networking   TEXT NOT NULL CHECK (networking::json IS NOT NULL),
    state        TEXT NOT NULL CHECK (state IN ('creating', 'created', 'running', 'exited', 'removing', 'dead')),
    error        TEXT NOT NULL DEFAULT '',
    exit_code    BIGINT NOT NULL DEFAULT 0,
    created_at   BIGINT NOT NULL,
    started_at   BIGINT,
    finished_at  BIGINT,
    function_app TEXT NOT NULL,
    resource_id  TEXT NOT NULL DEFAULT '',
    host_name    TEXT NOT NULL DEFAULT '',
    plan_summary TEXT NOT NULL DEFAULT '',

    CHECK (state NOT IN ('created', 'running', 'exited') OR (resource_id <> '' AND host_name <> '')),
    CHECK (state <> 'running' OR (started_at IS NOT NULL AND finished_at IS NULL)),
    CHECK (state <> 'exited' OR (started_at IS NOT NULL AND finished_at IS NOT NULL)),
    CHECK (state <> 'dead' OR error <> '')
);

-- rowid is the order in which runs are inserted, as in SQLite.
CREATE TABLE runs (
    rowid        BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    id           TEXT COLLATE "C" PRIMARY KEY,
    container_id TEXT COLLATE "C" NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    trace_id     TEXT NOT NULL,
    span_id      TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    sent_at      BIGINT, -- just before the function app was called
    finished_at  BIGINT,
    exit_code    BIGINT NOT NULL DEFAULT 0,
    error        TEXT NOT NULL DEFAULT '',
    output       TEXT NOT NULL DEFAULT 'null' CHECK (output::json IS NOT NULL),
    truncated    BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE UNIQUE INDEX runs_one_running_per_container ON runs (container_id) WHERE finished_at IS NULL;
CREATE INDEX runs_latest ON runs (container_id, started_at);
