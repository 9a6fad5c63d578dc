-- Orders that have left their sale's memory are read here: all that they were, and whether these
-- tables have come far enough to say so.

-- What is projected is made again from the journal, with the columns that are new.
TRUNCATE projection_offsets, orders, order_items, payments, refunds, tickets, checkins,
    tier_counters;

-- The latest fact of each sale that these tables hold.
CREATE TABLE sale_offsets (
    sale_id text PRIMARY KEY,
    seq     bigint NOT NULL
) WITH (fillfactor = 50);  -- updated with every piece

ALTER TABLE orders ADD COLUMN sealed bytea;  -- personal data; its key is kept apart

-- The fact that made the row: payments and refunds in the order in which they came about.
ALTER TABLE payments ADD COLUMN seq bigint NOT NULL;
ALTER TABLE refunds ADD COLUMN seq bigint NOT NULL;
CREATE INDEX payments_of_order ON payments (order_id);
CREATE INDEX refunds_of_order ON refunds (order_id);
