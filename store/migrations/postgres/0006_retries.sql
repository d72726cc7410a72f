-- Of a container that could not be removed: how often that failed since it was made, and when it is tried again.
ALTER TABLE containers ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE containers ADD COLUMN retry_at BIGINT; -- nanoseconds since 1970-01-01 UTC
