-- How many of a tier one buyer may have over all orders; null: no limit.
ALTER TABLE tiers ADD COLUMN max_per_buyer bigint CHECK (max_per_buyer > 0);
