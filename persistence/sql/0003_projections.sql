-- What the projector copies out of the journal, for everything that is read but not decided on.

CREATE TABLE projection_offsets (
    shard_id integer PRIMARY KEY,
    seq      bigint NOT NULL
);

CREATE TABLE orders (
    order_id       text PRIMARY KEY,
    event_id       text   NOT NULL,
    buyer_id       text   NOT NULL,
    status         text   NOT NULL,
    cancel_reason  text,
    currency       text   NOT NULL,
    total_minor    bigint NOT NULL,
    refunded_minor bigint NOT NULL DEFAULT 0,
    placed_at      timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    confirmed_at   timestamptz
);
CREATE INDEX orders_of_event ON orders (event_id, placed_at, order_id);
CREATE INDEX orders_pending ON orders (event_id) WHERE status = 'PENDING';

CREATE TABLE order_items (
    order_id         text    NOT NULL,
    position         integer NOT NULL,
    tier_id          text    NOT NULL,
    quantity         bigint  NOT NULL,
    unit_price_minor bigint  NOT NULL,
    PRIMARY KEY (order_id, position)
);

CREATE TABLE payments (
    payment_id   text PRIMARY KEY,
    order_id     text   NOT NULL,
    event_id     text   NOT NULL,
    method       text   NOT NULL,
    amount_minor bigint NOT NULL,
    status       text   NOT NULL
);

CREATE TABLE refunds (
    refund_id    text PRIMARY KEY,
    order_id     text   NOT NULL,
    event_id     text   NOT NULL,
    payment_id   text,
    amount_minor bigint NOT NULL,
    status       text   NOT NULL
);
CREATE INDEX refunds_pending ON refunds (refund_id) WHERE status = 'pending';

CREATE TABLE tickets (
    order_id      text    NOT NULL,
    number        integer NOT NULL,
    event_id      text    NOT NULL,
    tier_id       text    NOT NULL,
    token_digest  bytea   NOT NULL,
    status        text    NOT NULL,
    issued_at     timestamptz NOT NULL,
    checked_in_at timestamptz,
    PRIMARY KEY (order_id, number)
);
CREATE INDEX tickets_of_event ON tickets (event_id);
CREATE INDEX tickets_by_token ON tickets USING hash (token_digest);

-- Every scan, refused too.
CREATE TABLE checkins (
    event_id     text   NOT NULL,
    seq          bigint NOT NULL,
    device_id    text   NOT NULL,
    nonce        text   NOT NULL,
    token_digest bytea  NOT NULL,
    order_id     text,
    number       integer,
    tier_id      text,
    gate         text,
    result       text   NOT NULL,
    reason       text,
    override_reason text,
    scanned_at   timestamptz,
    decided_at   timestamptz NOT NULL,
    undone_at    timestamptz,
    undone_by    text,
    PRIMARY KEY (event_id, seq)
);
CREATE UNIQUE INDEX checkins_by_nonce ON checkins (event_id, device_id, nonce);

-- The books of the embedded payment provider.
CREATE TABLE sandbox_payments (
    payment_id   text PRIMARY KEY,
    order_id     text    NOT NULL,
    amount_minor bigint  NOT NULL,
    currency     text    NOT NULL,
    outcome      text,
    told         boolean NOT NULL DEFAULT true
);
CREATE INDEX sandbox_untold ON sandbox_payments (payment_id) WHERE NOT told;

CREATE TABLE sandbox_refunds (
    refund_id    text PRIMARY KEY,
    payment_id   text   NOT NULL,
    amount_minor bigint NOT NULL
);
