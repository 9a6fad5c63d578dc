-- The catalogue: venues, events, tiers, bookings. Ordinary tables, changed in ordinary transactions.

CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE TABLE venues (
    venue_id       text PRIMARY KEY,
    name           text NOT NULL,
    address        text NOT NULL,
    city           text NOT NULL,
    country        text NOT NULL,
    latitude       double precision,
    longitude      double precision,
    capacity       bigint NOT NULL CHECK (capacity > 0),
    type           text NOT NULL,
    facilities     text NOT NULL,  -- JSON as it was sent
    timezone       text NOT NULL,
    is_active      boolean NOT NULL,
    hire_amount    bigint NOT NULL CHECK (hire_amount >= 0),
    deposit_amount bigint NOT NULL CHECK (deposit_amount >= 0),
    currency       text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX venues_newest ON venues (created_at, venue_id);

-- `status` is never SOLD_OUT: that is read from `tier_counters`. `opened`: the sale's actor must
-- hear of changes; `version` counts those that it has heard of.
CREATE TABLE events (
    event_id             text PRIMARY KEY,
    venue_id             text NOT NULL REFERENCES venues,
    organizer_id         text NOT NULL,
    booking_id           text NOT NULL,
    title                text NOT NULL,
    description          text NOT NULL,
    category             text NOT NULL,
    start_time           timestamptz NOT NULL,
    end_time             timestamptz NOT NULL,
    cover_image_url      text,
    age_restriction      integer,
    currency             text NOT NULL,
    setup_hours_before   double precision NOT NULL,
    teardown_hours_after double precision NOT NULL,
    status               text NOT NULL
        CHECK (status IN ('DRAFT', 'PUBLISHED', 'ON_SALE', 'COMPLETED', 'CANCELLED')),
    opened               boolean NOT NULL,
    version              bigint NOT NULL,
    gates                text NOT NULL,  -- JSON, [[name, [tier_id, ...]], ...]
    created_at           timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX events_newest ON events (created_at, event_id);
CREATE INDEX events_ending ON events (end_time) WHERE status IN ('PUBLISHED', 'ON_SALE');

CREATE TABLE tiers (
    tier_id        text PRIMARY KEY,
    event_id       text NOT NULL REFERENCES events,
    name           text NOT NULL,
    price          bigint NOT NULL CHECK (price >= 0),
    total_quantity bigint NOT NULL CHECK (total_quantity >= 0),
    sale_start     timestamptz NOT NULL,
    sale_end       timestamptz NOT NULL,
    max_per_order  bigint NOT NULL CHECK (max_per_order > 0),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX tiers_of_event ON tiers (event_id, created_at, tier_id);

-- Filled by the projector, which may know of a tier before its row is committed.
CREATE TABLE tier_counters (
    tier_id  text PRIMARY KEY,
    event_id text NOT NULL,
    quantity bigint NOT NULL,
    held     bigint NOT NULL,
    sold     bigint NOT NULL,
    seq      bigint NOT NULL DEFAULT 0
);
CREATE INDEX tier_counters_of_event ON tier_counters (event_id);

-- Two live bookings of one venue never overlap, whoever writes them.
CREATE TABLE bookings (
    booking_id           text PRIMARY KEY,
    venue_id             text NOT NULL REFERENCES venues,
    event_id             text NOT NULL REFERENCES events,
    start_time           timestamptz NOT NULL,
    end_time             timestamptz NOT NULL,
    setup_hours_before   double precision NOT NULL,
    teardown_hours_after double precision NOT NULL,
    held_window          tstzrange NOT NULL CHECK (NOT isempty(held_window)),
    status               text NOT NULL CHECK (status IN ('REQUESTED', 'CONFIRMED', 'CANCELLED')),
    deposit_amount       bigint NOT NULL,
    deposit_paid         bigint NOT NULL DEFAULT 0,
    payment_id           text,
    currency             text NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT bookings_never_overlap
        EXCLUDE USING gist (venue_id WITH =, held_window WITH &&) WHERE (status <> 'CANCELLED')
);
CREATE UNIQUE INDEX bookings_one_live_an_event ON bookings (event_id) WHERE status <> 'CANCELLED';

ALTER TABLE events
    ADD CONSTRAINT events_booking FOREIGN KEY (booking_id) REFERENCES bookings
    DEFERRABLE INITIALLY DEFERRED;

-- The first answer to each key, for 24 hours; `body` is empty while its change is under way.
CREATE TABLE idempotency_keys (
    digest      bytea PRIMARY KEY,
    fingerprint bytea NOT NULL,
    status      integer NOT NULL,
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_keys_oldest ON idempotency_keys (created_at);
