-- A name that was given here is none that a registry knows the image by.
ALTER TABLE image_names ADD COLUMN local BOOLEAN NOT NULL DEFAULT FALSE;
