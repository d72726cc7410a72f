-- An image that is not resolved stands for its one reference, and its id is derived from that reference.
-- Times are nanoseconds since 1970-01-01 UTC.
CREATE TABLE images (
    id          TEXT PRIMARY KEY CHECK (instr(id, ':') > 1),
    resolved    INTEGER NOT NULL CHECK (resolved IN (0, 1)),
    error       TEXT NOT NULL DEFAULT '', -- why it is not resolved, empty when nobody asked the registry
    spec        TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(spec)),
    layer_sizes TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(layer_sizes)),
    size        INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0),
    recorded_at INTEGER NOT NULL,

    CHECK (resolved = 0 OR error = '')
) STRICT;

-- References in full, each with a tag or a digest.
CREATE TABLE image_names (
    name     TEXT PRIMARY KEY CHECK (name <> ''),
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX image_names_of_image ON image_names (image_id);

-- The image from which the container was created, as long as the image is known.
ALTER TABLE containers ADD COLUMN image_id TEXT REFERENCES images (id) ON DELETE SET NULL;

CREATE INDEX containers_of_image ON containers (image_id);
