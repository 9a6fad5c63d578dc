-- Where one may come back: who is out has a USED ticket without a check-in.
ALTER TABLE events ADD COLUMN reentry boolean NOT NULL DEFAULT false;

-- `leaving`: made at the way out. `visit`: of a ticket that may come back. `resolved`: an exit that
-- was told of later made it the admission of another stay.
ALTER TABLE checkins
    ADD COLUMN leaving  boolean NOT NULL DEFAULT false,
    ADD COLUMN visit    boolean NOT NULL DEFAULT false,
    ADD COLUMN resolved boolean NOT NULL DEFAULT false;
CREATE INDEX checkins_visits ON checkins (event_id, order_id, number) WHERE visit;
CREATE INDEX checkins_visits_told ON checkins (event_id, seq) WHERE visit AND told = 'ADMIT';

CREATE FUNCTION token_worth(status text, checked_in_at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN status = 'USED' AND checked_in_at IS NULL THEN 'OUT' ELSE status END
$$;

CREATE OR REPLACE FUNCTION token_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO token_changes (event_id, token_digest, tier_id, status)
    SELECT b.event_id, b.token_digest, b.tier_id, 'CANCELLED'
    FROM tickets_before b JOIN tickets_now n USING (order_id, number)
    WHERE b.token_digest <> n.token_digest;
    INSERT INTO token_changes (event_id, token_digest, tier_id, status)
    SELECT n.event_id, n.token_digest, n.tier_id, token_worth(n.status, n.checked_in_at)
    FROM tickets_before b JOIN tickets_now n USING (order_id, number)
    WHERE b.token_digest <> n.token_digest
       OR token_worth(b.status, b.checked_in_at) <> token_worth(n.status, n.checked_in_at);
    RETURN NULL;
END $$;
