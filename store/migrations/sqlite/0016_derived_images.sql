-- The derived images of this database's daemons. A row is there before anything of its image is in the registry.
-- Times are nanoseconds since 1970-01-01 UTC.
CREATE TABLE derived_images (
    ref          TEXT PRIMARY KEY CHECK (ref LIKE '%@%'), -- with a digest
    bytes        INTEGER NOT NULL CHECK (bytes >= 0), -- that its removal frees
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    removing_at  INTEGER -- the beginning of a removal that has not ended
) STRICT;

-- The derived image that the function app of a container needs: '' for none.
ALTER TABLE containers ADD COLUMN derived_ref TEXT NOT NULL DEFAULT '';
UPDATE containers SET derived_ref = coalesce(json_extract(derived, '$.reference'), '') WHERE derived <> '';
CREATE INDEX containers_by_derived ON containers (derived_ref) WHERE derived_ref <> '';
