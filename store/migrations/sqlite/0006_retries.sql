-- For a container that could not be removed: the number of failures, and the time of the next attempt.
ALTER TABLE containers ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE containers ADD COLUMN retry_at INTEGER; -- nanoseconds since 1970-01-01 UTC
