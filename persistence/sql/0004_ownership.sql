-- Who lives, and who owns what. Leases run by this database's clock alone.

-- A node is known by its name; `incarnation` tells a process from an earlier one of that name.
CREATE TABLE nodes (
    name        text PRIMARY KEY,
    incarnation text NOT NULL,
    roles       text[] NOT NULL,
    host        text NOT NULL,
    pid         integer NOT NULL,
    address     text NOT NULL,  -- where its health and its metrics are read
    lease_until timestamptz NOT NULL,
    leaving     boolean NOT NULL DEFAULT false,  -- lives, and wants to own nothing any more
    started_at  timestamptz NOT NULL DEFAULT now()
);

-- The owner is a node's name; NULL: nobody, whoever wants the shard may take it.
-- `inbox`: how far the commands of the shard's stream are decided (msgpack), written with every
-- batch that decided some of them.
ALTER TABLE shards ADD COLUMN owner text, ADD COLUMN inbox bytea;
