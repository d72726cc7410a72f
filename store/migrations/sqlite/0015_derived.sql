-- The image that Azure runs in place of the container's own, in JSON, or ''.
ALTER TABLE containers ADD COLUMN derived TEXT NOT NULL DEFAULT '';
