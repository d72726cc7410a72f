-- Containers whose rows are gone: the newest 10,000. A row never goes without leaving its id here.
CREATE TABLE removed_containers (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id  TEXT COLLATE "C" NOT NULL UNIQUE CHECK (length(id) = 64)
);

INSERT INTO removed_containers (id)
    SELECT DISTINCT actor_id FROM events WHERE type = 'container' AND action = 'destroy' AND length(actor_id) = 64
    AND actor_id NOT IN (SELECT id FROM containers);

-- Whoever deletes a row may have another search_path.
CREATE FUNCTION remember_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.removed_containers (id) VALUES ($1) ON CONFLICT (id) DO NOTHING', TG_TABLE_SCHEMA)
        USING OLD.id;
    EXECUTE format('DELETE FROM %1$I.removed_containers
        WHERE seq <= (SELECT max(seq) FROM %1$I.removed_containers) - 10000', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;

CREATE TRIGGER remember_removed AFTER DELETE ON containers FOR EACH ROW EXECUTE FUNCTION remember_removed();

-- Function apps and workspaces of ours that were last seen without a container.
-- Times are nanoseconds since 1970-01-01 UTC.
CREATE TABLE orphans (
    container_id TEXT COLLATE "C" NOT NULL CHECK (length(container_id) = 64),
    kind         TEXT NOT NULL CHECK (kind IN ('function app', 'workspace')),
    home         TEXT NOT NULL, -- the state folder of a workspace
    name         TEXT NOT NULL, -- the container's, '' if it is unknown
    place        TEXT NOT NULL CHECK (place <> ''), -- resource id or path
    first_seen   BIGINT NOT NULL,
    last_seen    BIGINT NOT NULL,
    sightings    BIGINT NOT NULL CHECK (sightings > 0),
    waited       BIGINT NOT NULL CHECK (waited >= 0), -- nanoseconds
    held         TEXT NOT NULL CHECK (held IN ('', 'unknown', 'most')),
    confirmed_at BIGINT,

    PRIMARY KEY (container_id, kind, home),
    CHECK (kind = 'workspace' OR home = '')
);
