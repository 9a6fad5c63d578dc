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

-- The embedded provider. `faults`: what goes wrong with this payment.
ALTER TABLE sandbox_payments
    DROP COLUMN told,
    ADD COLUMN faults     text[] NOT NULL DEFAULT '{}',
    ADD COLUMN opened_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN decided_at timestamptz,
    ADD COLUMN cancelled  boolean NOT NULL DEFAULT false;
CREATE INDEX sandbox_paid_for ON sandbox_payments (order_id);
-- `calls`: how often it was asked for. Only what is done has moved money.
ALTER TABLE sandbox_refunds
    ADD COLUMN status text NOT NULL DEFAULT 'done' CHECK (status IN ('pending', 'done', 'refused')),
    ADD COLUMN calls  integer NOT NULL DEFAULT 1;
CREATE INDEX sandbox_refunds_of_payment ON sandbox_refunds (payment_id);
-- Words that nobody has taken yet.
CREATE TABLE sandbox_webhooks (
    webhook_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id text    NOT NULL,
    outcome    text    NOT NULL,
    tries      integer NOT NULL DEFAULT 0,
    due_at     timestamptz NOT NULL
);
CREATE INDEX sandbox_webhooks_due ON sandbox_webhooks (due_at);
-- How many of the payments to come get which fault.
CREATE TABLE sandbox_mix (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    seed   bigint NOT NULL,
    shares jsonb  NOT NULL
);
