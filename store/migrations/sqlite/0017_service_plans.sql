-- Service plans, and the one on which a container's function app is or will be: '' while the container waits for a
-- place. Containers of earlier releases are on the service plan of the foundation, or on an existing one.
CREATE TABLE service_plans (
	id             TEXT PRIMARY KEY,
	name           TEXT NOT NULL,
	resource_group TEXT NOT NULL,
	resource_id    TEXT NOT NULL,
	sku            TEXT NOT NULL,
	existing       BOOLEAN NOT NULL,
	state          TEXT NOT NULL,
	error          TEXT NOT NULL DEFAULT '',
	failures       INTEGER NOT NULL DEFAULT 0,
	retry_at       INTEGER,
	capacity       INTEGER NOT NULL,
	apps           INTEGER NOT NULL DEFAULT 0,
	busy           INTEGER NOT NULL DEFAULT 0,
	created_at     INTEGER NOT NULL,
	idle_since     INTEGER
);
CREATE INDEX service_plans_with_room ON service_plans (apps) WHERE apps < capacity;
ALTER TABLE containers ADD COLUMN service_plan TEXT NOT NULL DEFAULT '';
-- The error, in JSON, of the service plan that could not be created for the container.
ALTER TABLE containers ADD COLUMN place_error TEXT NOT NULL DEFAULT '';
UPDATE containers SET service_plan = 'first';
CREATE INDEX containers_by_service_plan ON containers (service_plan, state);
CREATE INDEX containers_without_place ON containers (created_at, id) WHERE service_plan = '';
