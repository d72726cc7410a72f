-- Events of containers and images. They outlive their containers and images, up to a number of events.
CREATE TABLE events (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         BIGINT NOT NULL, -- nanoseconds since 1970-01-01 UTC
    type       TEXT NOT NULL CHECK (type IN ('container', 'image')),
    action     TEXT NOT NULL CHECK (action <> ''),
    actor_id   TEXT COLLATE "C" NOT NULL,
    attributes TEXT NOT NULL CHECK (attributes::json IS NOT NULL)
);

CREATE INDEX events_of_actor ON events (actor_id, seq);
