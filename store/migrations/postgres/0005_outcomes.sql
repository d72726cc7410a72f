-- The outcomes of jobs, for the requests that wait for them in any daemon. They are kept for a day.
CREATE TABLE outcomes (
    job     BIGINT PRIMARY KEY,
    at      BIGINT NOT NULL, -- nanoseconds since 1970-01-01 UTC
    outcome TEXT NOT NULL CHECK (outcome::json IS NOT NULL)
);

CREATE INDEX outcomes_old ON outcomes (at);
