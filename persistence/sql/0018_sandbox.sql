-- The embedded provider as a bank of its own. `faults`: what goes wrong with this payment.

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
