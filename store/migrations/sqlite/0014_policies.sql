-- The verdicts of policies on the plan that created a container: a list in JSON, or ''.
ALTER TABLE containers ADD COLUMN policy TEXT NOT NULL DEFAULT '';

-- The policies that each daemon has in force. Those of dead daemons are removed after a day.
CREATE TABLE daemon_policies (
    daemon_id TEXT PRIMARY KEY CHECK (daemon_id <> ''),
    digest    TEXT NOT NULL,
    at        INTEGER NOT NULL -- nanoseconds since 1970-01-01 UTC
) STRICT;

-- Events may be about the daemon, too: policies judge what containers share.
CREATE TABLE events_of_all (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL, -- nanoseconds since 1970-01-01 UTC
    type       TEXT NOT NULL CHECK (type IN ('container', 'image', 'daemon')),
    action     TEXT NOT NULL CHECK (action <> ''),
    actor_id   TEXT NOT NULL,
    attributes TEXT NOT NULL CHECK (json_valid(attributes))
) STRICT;
INSERT INTO events_of_all SELECT seq, at, type, action, actor_id, attributes FROM events ORDER BY seq;
DROP TABLE events;
ALTER TABLE events_of_all RENAME TO events;
CREATE INDEX events_of_actor ON events (actor_id, seq);
