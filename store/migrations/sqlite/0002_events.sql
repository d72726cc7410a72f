-- Events of containers and images. They outlive their containers and images, up to a number of events.
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL, -- nanoseconds since 1970-01-01 UTC
    type       TEXT NOT NULL CHECK (type IN ('container', 'image')),
    action     TEXT NOT NULL CHECK (action <> ''),
    actor_id   TEXT NOT NULL,
    attributes TEXT NOT NULL CHECK (json_valid(attributes))
) STRICT;

CREATE INDEX events_of_actor ON events (actor_id, seq);
