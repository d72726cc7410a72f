-- A daemon that works on a Terraform workspace, or has worked on it and may have left a lock.
-- Times are nanoseconds since 1970-01-01 UTC.
CREATE TABLE terraform_runs (
    workspace  TEXT NOT NULL CHECK (workspace <> ''),
    replica    TEXT NOT NULL,
    home       TEXT NOT NULL,
    who        TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL, -- when the daemon last worked on it
    lost_at    INTEGER,          -- the time since which the daemon is missing

    PRIMARY KEY (workspace, replica)
) STRICT;
