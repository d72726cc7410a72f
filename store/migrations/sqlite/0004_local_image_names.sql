-- A name that was given here is none that a registry knows the image by.
ALTER TABLE image_names ADD COLUMN local INTEGER NOT NULL DEFAULT 0 CHECK (local IN (0, 1));
