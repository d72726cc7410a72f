-- Containers whose rows are gone: the newest 10,000. A row never goes without leaving its id here.
CREATE TABLE removed_containers (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id  TEXT NOT NULL UNIQUE CHECK (length(id) = 64)
) STRICT;

INSERT INTO removed_containers (id)
    SELECT DISTINCT actor_id FROM events WHERE type = 'container' AND action = 'destroy' AND length(actor_id) = 64
    AND actor_id NOT IN (SELECT id FROM containers);

CREATE TRIGGER remember_removed AFTER DELETE ON containers
BEGIN
    INSERT OR IGNORE INTO removed_containers (id) VALUES (OLD.id);
    DELETE FROM removed_containers WHERE seq <= (SELECT max(seq) FROM removed_containers) - 10000;
END;

-- Function apps and workspaces of ours that were last seen without a container.
-- Times are nanoseconds since 1970-01-01 UTC.
CREATE TABLE orphans (
    container_id TEXT NOT NULL CHECK (length(container_id) = 64),
    kind         TEXT NOT NULL CHECK (kind IN ('function app', 'workspace')),
    home         TEXT NOT NULL, -- the state folder of a workspace
    name         TEXT NOT NULL, -- the container's, '' if it is unknown
    place        TEXT NOT NULL CHECK (place <> ''), -- resource id or path
    first_seen   INTEGER NOT NULL,
    last_seen    INTEGER NOT NULL,
    sightings    INTEGER NOT NULL CHECK (sightings > 0),
    waited       INTEGER NOT NULL CHECK (waited >= 0), -- nanoseconds
    held         TEXT NOT NULL CHECK (held IN ('', 'unknown', 'most')),
    confirmed_at INTEGER,

    PRIMARY KEY (container_id, kind, home),
    CHECK (kind = 'workspace' OR home = '')
) STRICT;
