-- A snapshot is written in pieces, each a commit of its own; its row comes last and makes them count.
CREATE SEQUENCE snapshot_drafts;
CREATE TABLE snapshot_pieces (
    draft    bigint  NOT NULL,
    piece    integer NOT NULL,
    sale_id  text    NOT NULL,
    entities bytea   NOT NULL,
    crc      bigint  NOT NULL,
    PRIMARY KEY (draft, piece)
);
-- To compress what nearly nobody reads again would cost more than to write it.
ALTER TABLE snapshot_pieces ALTER COLUMN entities SET STORAGE EXTERNAL;
CREATE INDEX snapshot_pieces_of_sale ON snapshot_pieces (sale_id);

ALTER TABLE snapshots
    ADD COLUMN draft  bigint  NOT NULL DEFAULT nextval('snapshot_drafts'),
    ADD COLUMN pieces integer NOT NULL DEFAULT 1;
INSERT INTO snapshot_pieces (draft, piece, sale_id, entities, crc)
SELECT draft, 0, sale_id, entities, crc FROM snapshots;
ALTER TABLE snapshots DROP COLUMN entities, DROP COLUMN crc,
    ALTER COLUMN draft DROP DEFAULT, ALTER COLUMN pieces DROP DEFAULT;
