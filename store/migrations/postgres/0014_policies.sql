-- The verdicts of policies on the plan that created a container: a list in JSON, or ''.
ALTER TABLE containers ADD COLUMN policy TEXT NOT NULL DEFAULT '';

-- The policies that each daemon has in force. Those of dead daemons are removed after a day.
CREATE TABLE daemon_policies (
    daemon_id TEXT PRIMARY KEY CHECK (daemon_id <> ''),
    digest    TEXT NOT NULL,
    at        BIGINT NOT NULL -- nanoseconds since 1970-01-01 UTC
);

-- Events may be about the daemon, too: policies judge what containers share.
ALTER TABLE events DROP CONSTRAINT events_type_check;
ALTER TABLE events ADD CONSTRAINT events_type_check CHECK (type IN ('container', 'image', 'daemon'));
