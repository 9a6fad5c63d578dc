-- What hiring a hall costs, how it is paid for and given up; what is bulk: series and imports.

ALTER TABLE venues ADD COLUMN deposit_refundable_days integer NOT NULL DEFAULT 14
    CHECK (deposit_refundable_days >= 0);

-- The terms of the hire are those of the day on which the hall was asked for.
ALTER TABLE bookings
    ADD COLUMN hire_amount bigint NOT NULL DEFAULT 0,
    ADD COLUMN deposit_refundable_days integer NOT NULL DEFAULT 14,
    ADD COLUMN deposit_refunded bigint NOT NULL DEFAULT 0,
    ADD COLUMN expires_at timestamptz,  -- of a request that waits for its deposit
    ADD COLUMN cancel_reason text,
    -- Its event is said to be at another time, when the hall was taken: see persistence/healing.py.
    ADD COLUMN astray boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT bookings_money CHECK (0 <= deposit_refunded AND deposit_refunded <= deposit_paid);
UPDATE bookings b SET hire_amount = v.hire_amount FROM venues v WHERE v.venue_id = b.venue_id;
UPDATE bookings SET expires_at = created_at + interval '7 days' WHERE status = 'REQUESTED';
UPDATE bookings SET cancel_reason = 'organizer' WHERE status = 'CANCELLED';
CREATE INDEX bookings_lapsing ON bookings (expires_at) WHERE status = 'REQUESTED';
CREATE INDEX bookings_astray ON bookings (booking_id) WHERE astray;

-- Payments of deposits. What can't buy a booking goes back: late, twice, or not the amount asked.
CREATE TABLE deposits (
    payment_id   text PRIMARY KEY,
    booking_id   text   NOT NULL REFERENCES bookings,
    amount_minor bigint NOT NULL,
    currency     text   NOT NULL,
    method       text   NOT NULL,
    status       text   NOT NULL CHECK (status IN ('open', 'succeeded', 'declined', 'returned')),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX deposits_of_booking ON deposits (booking_id);

CREATE TABLE deposit_refunds (
    refund_id    text PRIMARY KEY,
    payment_id   text   NOT NULL REFERENCES deposits,
    booking_id   text   NOT NULL REFERENCES bookings,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    status       text   NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done', 'failed')),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX deposit_refunds_of_booking ON deposit_refunds (booking_id, created_at);
CREATE INDEX deposit_refunds_pending ON deposit_refunds (refund_id) WHERE status = 'pending';

CREATE TABLE booking_addons (
    addon_id    text PRIMARY KEY,
    booking_id  text   NOT NULL REFERENCES bookings,
    type        text   NOT NULL,
    description text   NOT NULL,
    cost        bigint NOT NULL CHECK (cost >= 0),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX booking_addons_of_booking ON booking_addons (booking_id, created_at, addon_id);

ALTER TABLE events ADD COLUMN series_id text;
CREATE INDEX events_of_series ON events (series_id, start_time) WHERE series_id IS NOT NULL;
CREATE INDEX events_of_organizer ON events (organizer_id, created_at, event_id);

-- The rows of imported files, so that a file may be imported again.
CREATE TABLE imported_rows (
    organizer_id text NOT NULL,
    import_key   text NOT NULL,
    event_id     text NOT NULL REFERENCES events DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (organizer_id, import_key)
);

-- Personal data, sealed: its key is kept apart. Of an order, and of a ticket that was named later.
ALTER TABLE orders ADD COLUMN IF NOT EXISTS sealed bytea;
ALTER TABLE tickets ADD COLUMN sealed bytea;

-- An event's tickets by order and number: its list of attendees, page by page.
CREATE INDEX tickets_of_event_in_order ON tickets (event_id, order_id, number);
DROP INDEX tickets_of_event;
