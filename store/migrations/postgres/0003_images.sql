-- An image that is not resolved stands for its one reference, and its id is derived from that reference.
-- Times are nanoseconds since 1970-01-01 UTC.
CREATE TABLE images (
    id          TEXT COLLATE "C" PRIMARY KEY CHECK (strpos(id, ':') > 1),
    resolved    BOOLEAN NOT NULL,
    error       TEXT NOT NULL DEFAULT '', -- why it is not resolved, empty when nobody asked the registry
    spec        TEXT NOT NULL DEFAULT '{}' CHECK (spec::json IS NOT NULL),
    layer_sizes TEXT NOT NULL DEFAULT '[]' CHECK (layer_sizes::json IS NOT NULL),
    size        BIGINT NOT NULL DEFAULT 0 CHECK (size >= 0),
    recorded_at BIGINT NOT NULL,

    CHECK (NOT resolved OR error = '')
);

-- References in full, each with a tag or a digest.
CREATE TABLE image_names (
    name     TEXT COLLATE "C" PRIMARY KEY CHECK (name <> ''),
    image_id TEXT COLLATE "C" NOT NULL REFERENCES images (id) ON DELETE CASCADE
);

CREATE INDEX image_names_of_image ON image_names (image_id);

-- The image from which the container was created, as long as the image is known.
ALTER TABLE containers ADD COLUMN image_id TEXT COLLATE "C" REFERENCES images (id) ON DELETE SET NULL;

CREATE INDEX containers_of_image ON containers (image_id);
