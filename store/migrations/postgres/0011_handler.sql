-- Whether the function app is known to hold azf-handler: its image says so, or it has answered.
ALTER TABLE containers ADD COLUMN has_handler BOOLEAN NOT NULL DEFAULT FALSE;
