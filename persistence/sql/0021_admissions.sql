-- How tickets stand at the doors, beside the tickets themselves: a check-in then is a new row, where
-- it was an update of a row and a look for what that had changed. Who is in has a row; so has who
-- was in and is out, without `checked_in_at`.
CREATE TABLE admissions (
    order_id      text    NOT NULL,
    number        integer NOT NULL,
    checked_in_at timestamptz,
    admitted_seq  bigint,  -- the scan it is in by
    PRIMARY KEY (order_id, number)
);

DROP TRIGGER token_changed ON tickets;
INSERT INTO admissions
SELECT order_id, number, checked_in_at, admitted_seq FROM tickets t
WHERE status = 'USED' OR checked_in_at IS NOT NULL OR EXISTS (
    SELECT FROM checkins c
    WHERE c.visit AND NOT c.leaving AND c.undone_at IS NULL AND (c.result = 'ADMIT' OR c.resolved)
      AND (c.event_id, c.order_id, c.number) = (t.event_id, t.order_id, t.number)
);
UPDATE tickets SET status = 'VALID' WHERE status = 'USED';
ALTER TABLE tickets DROP COLUMN checked_in_at, DROP COLUMN admitted_seq, RESET (fillfactor);

-- Tickets as the doors see them. `worth`: what devices are told, OUT for who was in and has left.
CREATE VIEW ticket_standings AS
SELECT t.order_id, t.number, t.event_id, t.tier_id, t.token_digest, t.issued_at, t.sealed,
    CASE WHEN t.status = 'VALID' AND a.order_id IS NOT NULL THEN 'USED' ELSE t.status END AS status,
    CASE WHEN t.status <> 'VALID' OR a.order_id IS NULL THEN t.status
         WHEN a.checked_in_at IS NULL THEN 'OUT' ELSE 'USED' END AS worth,
    a.checked_in_at, a.admitted_seq
FROM tickets t LEFT JOIN admissions a USING (order_id, number);

-- What admissions make of a token's worth, their writer tells.
CREATE OR REPLACE FUNCTION token_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO token_changes (event_id, token_digest, tier_id, status)
    SELECT b.event_id, b.token_digest, b.tier_id, 'CANCELLED'
    FROM tickets_before b JOIN tickets_now n USING (order_id, number)
    WHERE b.token_digest <> n.token_digest;
    INSERT INTO token_changes (event_id, token_digest, tier_id, status)
    SELECT s.event_id, s.token_digest, s.tier_id, s.worth
    FROM tickets_before b JOIN tickets_now n USING (order_id, number)
    JOIN ticket_standings s USING (order_id, number)
    WHERE b.token_digest <> n.token_digest OR b.status <> n.status;
    RETURN NULL;
END $$;
CREATE TRIGGER token_changed AFTER UPDATE ON tickets
    REFERENCING OLD TABLE AS tickets_before NEW TABLE AS tickets_now
    FOR EACH STATEMENT EXECUTE FUNCTION token_changed();
DROP FUNCTION token_worth;
