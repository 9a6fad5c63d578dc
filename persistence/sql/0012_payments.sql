-- Money: when it came and went, what the providers know of it, and the sandbox as a bank of its own.

-- What was projected before has these made by `stampede fsck --repair`.
ALTER TABLE payments
    ADD COLUMN taken_minor bigint NOT NULL DEFAULT 0,
    ADD COLUMN taken_at timestamptz;
ALTER TABLE refunds
    ADD COLUMN owed_at timestamptz,
    ADD COLUMN settled_at timestamptz,
    ADD COLUMN attempt integer NOT NULL DEFAULT 0;  -- how often it was sent anew by hand
CREATE INDEX refunds_failed ON refunds (event_id, refund_id) WHERE status = 'failed';
ALTER TABLE deposit_refunds ADD COLUMN attempt integer NOT NULL DEFAULT 0;
