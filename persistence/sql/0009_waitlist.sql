-- The waitlist as the projector knows it: who waits, was offered places, took them or did not.

CREATE TABLE waitlist (
    entry_id      text PRIMARY KEY,
    event_id      text   NOT NULL,
    tier_id       text   NOT NULL,
    buyer_id      text   NOT NULL,
    quantity      bigint NOT NULL,  -- that it waits for, or was offered
    status        text   NOT NULL,
    joined_at     timestamptz NOT NULL,
    expires_at    timestamptz,      -- of its offer, as it was made
    rest_entry_id text,
    order_id      text,
    left_because  text,
    ended_at      timestamptz,
    origin_id     text   NOT NULL,  -- the entry for which `sealed` was sealed
    sealed        bytea             -- the mail address; its key is kept apart
);
CREATE INDEX waitlist_of_event ON waitlist (event_id);
CREATE INDEX waitlist_live ON waitlist (event_id) WHERE status IN ('WAITING', 'OFFERED');

-- A ticket that came by transfer: from which number of its order, and to whom.
ALTER TABLE tickets ADD COLUMN transferred_from integer, ADD COLUMN holder_id text;
