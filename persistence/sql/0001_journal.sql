-- Ownership and the journal: the truth. Everything else can be made again from here.

CREATE TABLE shards (
    shard_id integer PRIMARY KEY,
    epoch    bigint NOT NULL DEFAULT 0,
    last_seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);  -- updated with every batch: room for it on the same page

-- One row a shard and turn. `batch` is the msgpack of its entries, `crc` the CRC-32 of that.
CREATE TABLE journal (
    shard_id    integer     NOT NULL,
    seq         bigint      NOT NULL,
    epoch       bigint      NOT NULL,
    sale_ids    text[]      NOT NULL,
    batch       bytea       NOT NULL,
    crc         bigint      NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_id, seq)
) WITH (toast_tuple_target = 8160);
-- A batch of a few kilobytes stays in its row as it is: to compress it, or to cut it up, costs more
-- than to write it.
ALTER TABLE journal ALTER COLUMN batch SET STORAGE EXTERNAL;
CREATE INDEX journal_sales ON journal USING gin (sale_ids) WITH (fastupdate = off);

-- Keys of the personal data that is sealed in facts: to erase the key is to erase the person.
CREATE TABLE personal_keys (
    order_id text  NOT NULL,
    key_id   bytea NOT NULL,
    key      bytea NOT NULL,
    PRIMARY KEY (order_id, key_id)
);

-- Seldom written; bounds the replay when the fast snapshots are lost.
CREATE TABLE snapshots (
    sale_id     text PRIMARY KEY,
    shard_id    integer     NOT NULL,
    epoch       bigint      NOT NULL,
    seq         bigint      NOT NULL,
    journal_seq bigint      NOT NULL,
    entities    bytea       NOT NULL,
    crc         bigint      NOT NULL,
    taken_at    timestamptz NOT NULL DEFAULT now()
);
