-- Who has asked for a container, and in which request: '' if an earlier release created it.
ALTER TABLE containers ADD COLUMN origin TEXT NOT NULL DEFAULT '' CHECK (origin = '' OR json_valid(origin));
-- Who has asked for a run.
ALTER TABLE runs ADD COLUMN origin TEXT NOT NULL DEFAULT '' CHECK (origin = '' OR json_valid(origin));
