-- Money: when it came and went, and what the providers know of it.

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

-- What was asked of the payment providers: their own name for it once they have told it, and when
-- they are asked next what became of it. NULL: there is nothing more to hear.
CREATE TABLE intents (
    payment_id   text PRIMARY KEY,
    provider     text   NOT NULL,
    paid_for     text   NOT NULL,  -- an order, or a booking
    amount_minor bigint NOT NULL,
    currency     text   NOT NULL,
    reference    text,
    asked_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    looks        integer NOT NULL DEFAULT 0,
    look_at      timestamptz DEFAULT clock_timestamp() + interval '5 seconds'
);
CREATE INDEX intents_due ON intents (look_at) WHERE look_at IS NOT NULL;

-- How often a refund on its way was asked for, and when it is again.
CREATE TABLE refund_tries (
    refund_id text PRIMARY KEY,
    tries     integer NOT NULL DEFAULT 1,
    first_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    try_at    timestamptz NOT NULL
);
