-- A local name was given by a tag command. No registry knows the image by it.
ALTER TABLE image_names ADD COLUMN local INTEGER NOT NULL DEFAULT 0 CHECK (local IN (0, 1));
