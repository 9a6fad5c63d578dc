-- Codes that take something off an order, or sell what is hidden. What is used of them is counted in
-- the orders that stand.
CREATE TABLE promo_codes (
    promo_code_id  text PRIMARY KEY,
    event_id       text NOT NULL REFERENCES events,
    code           text NOT NULL,  -- in capitals
    kind           text NOT NULL CHECK (kind IN ('percent', 'amount')),
    value          bigint NOT NULL CHECK (value >= 0),
    tier_ids       text[] NOT NULL,
    uses_max       bigint CHECK (uses_max > 0),
    starts_at      timestamptz,
    ends_at        timestamptz,
    unlocks_hidden boolean NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (event_id, code)
);
ALTER TABLE tiers ADD COLUMN hidden boolean NOT NULL DEFAULT false;
ALTER TABLE orders ADD COLUMN promo_id text;
ALTER TABLE orders ADD COLUMN promo_code text;
ALTER TABLE order_items ADD COLUMN discount_minor bigint NOT NULL DEFAULT 0;
CREATE INDEX orders_of_promo_code ON orders (promo_id) WHERE promo_id IS NOT NULL;
