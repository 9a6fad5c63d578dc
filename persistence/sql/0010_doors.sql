-- Devices at the doors, what they tell after they were offline, and what they carry with them.

-- The code itself is nowhere: it follows from the device's id and a secret that is not in here.
CREATE TABLE devices (
    device_id       text PRIMARY KEY,
    event_id        text        NOT NULL REFERENCES events,
    name            text        NOT NULL,
    gate            text,
    profile         text        NOT NULL,
    code_digest     bytea       NOT NULL UNIQUE,
    code_expires_at timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    enrolled_at     timestamptz,
    enrolled_under  bytea,  -- the idempotency key, so that a lost answer can be had again
    expires_at      timestamptz,
    revoked_at      timestamptz,
    seen_at         timestamptz,
    battery         real,
    queued          integer
);
CREATE INDEX devices_of_event ON devices (event_id, device_id);

-- Of a scan that was told of afterwards: our word on it, the device's own, and the instant by our
-- clock. `displaced`: an earlier one took its place. `contested`: the ticket had come to an end
-- before it was told.
ALTER TABLE checkins
    ADD COLUMN outcome      text,
    ADD COLUMN told         text,
    ADD COLUMN corrected_at timestamptz,
    ADD COLUMN contested    boolean NOT NULL DEFAULT false,
    ADD COLUMN displaced    boolean NOT NULL DEFAULT false;
CREATE INDEX checkins_in_conflict ON checkins (event_id, seq)
    WHERE outcome = 'conflict' OR contested OR displaced;
CREATE INDEX checkins_in_conflict_by_ticket ON checkins (event_id, order_id, number)
    WHERE outcome = 'conflict' OR contested OR displaced;

-- Which scan a ticket is in by.
ALTER TABLE tickets ADD COLUMN admitted_seq bigint;
UPDATE tickets t SET admitted_seq = c.seq FROM checkins c
WHERE c.order_id = t.order_id AND c.number = t.number AND c.result = 'ADMIT'
  AND c.undone_at IS NULL;

-- What devices ask for: the tokens whose worth has changed, in the order in which they did. A row
-- is the token's worth from then on.
CREATE TABLE token_changes (
    event_id     text   NOT NULL,
    change       bigint GENERATED ALWAYS AS IDENTITY,
    token_digest bytea  NOT NULL,
    tier_id      text   NOT NULL,
    status       text   NOT NULL,
    changed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, change)
);
CREATE INDEX token_changes_by_age ON token_changes (changed_at);

-- Numbers of changes are of one life of these tables.
CREATE TABLE token_changes_life (
    life text NOT NULL DEFAULT md5(random()::text || clock_timestamp()::text)
);
INSERT INTO token_changes_life DEFAULT VALUES;

-- Up to that change (inclusive) they are not kept any more.
CREATE TABLE token_changes_forgotten (
    event_id text PRIMARY KEY,
    change   bigint NOT NULL
);

-- By the statement, whatever it is that changes tickets: nobody can forget to write it down.
CREATE FUNCTION token_issued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO token_changes (event_id, token_digest, tier_id, status)
    SELECT event_id, token_digest, tier_id, status FROM tickets_now;
    RETURN NULL;
END $$;

CREATE FUNCTION token_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO token_changes (event_id, token_digest, tier_id, status)
    SELECT b.event_id, b.token_digest, b.tier_id, 'CANCELLED'
    FROM tickets_before b JOIN tickets_now n USING (order_id, number)
    WHERE b.token_digest <> n.token_digest;
    INSERT INTO token_changes (event_id, token_digest, tier_id, status)
    SELECT n.event_id, n.token_digest, n.tier_id, n.status
    FROM tickets_before b JOIN tickets_now n USING (order_id, number)
    WHERE b.token_digest <> n.token_digest OR b.status <> n.status;
    RETURN NULL;
END $$;

CREATE FUNCTION token_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO token_changes (event_id, token_digest, tier_id, status)
    SELECT event_id, token_digest, tier_id, 'CANCELLED' FROM tickets_before;
    RETURN NULL;
END $$;

CREATE TRIGGER token_issued AFTER INSERT ON tickets
    REFERENCING NEW TABLE AS tickets_now FOR EACH STATEMENT EXECUTE FUNCTION token_issued();
CREATE TRIGGER token_changed AFTER UPDATE ON tickets
    REFERENCING OLD TABLE AS tickets_before NEW TABLE AS tickets_now
    FOR EACH STATEMENT EXECUTE FUNCTION token_changed();
CREATE TRIGGER token_gone AFTER DELETE ON tickets
    REFERENCING OLD TABLE AS tickets_before FOR EACH STATEMENT EXECUTE FUNCTION token_gone();
