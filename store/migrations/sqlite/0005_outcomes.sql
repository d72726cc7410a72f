-- The outcomes of jobs, for the requests that wait for them in any daemon. They are kept for a day.
CREATE TABLE outcomes (
    job     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL, -- nanoseconds since 1970-01-01 UTC
    outcome TEXT NOT NULL CHECK (json_valid(outcome))
) STRICT;

CREATE INDEX outcomes_old ON outcomes (at);
