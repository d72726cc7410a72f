-- The configuration of the image from which a container was created, as it was known then: '' if it was not.
ALTER TABLE containers ADD COLUMN image_config TEXT NOT NULL DEFAULT '' CHECK (image_config = '' OR json_valid(image_config));
-- Whether somebody has asked to stop the run under way.
ALTER TABLE containers ADD COLUMN stop_asked INTEGER NOT NULL DEFAULT FALSE CHECK (stop_asked IN (FALSE, TRUE));
-- Whether the daemon has chosen the name.
ALTER TABLE containers ADD COLUMN unnamed INTEGER NOT NULL DEFAULT FALSE CHECK (unnamed IN (FALSE, TRUE));
-- Who waits for the answer to the create: the id of the daemon that the client asked, 'lost' when the client has gone
-- without the answer, '' when it was answered.
ALTER TABLE containers ADD COLUMN claim TEXT NOT NULL DEFAULT '';
