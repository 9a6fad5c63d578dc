-- The journal up to here, this one included, was moved to the archive: every sale in it has a durable
-- snapshot that is at least as new.
ALTER TABLE shards ADD COLUMN archived_seq bigint NOT NULL DEFAULT 0;
