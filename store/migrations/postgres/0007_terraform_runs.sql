-- A daemon that works on a Terraform workspace, or has worked on it and may have left a lock.
-- Times are nanoseconds since 1970-01-01 UTC.
CREATE TABLE terraform_runs (
    workspace  TEXT NOT NULL CHECK (workspace <> ''),
    replica    TEXT NOT NULL,
    home       TEXT NOT NULL,
    who        TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL, -- when the daemon last worked on it
    lost_at    BIGINT,          -- the time since which the daemon is missing

    PRIMARY KEY (workspace, replica)
);
