-- What leaves the house: mails and webhooks, each written once by its key, whatever is read again.
-- Facts older than seven days are not told any more and rows are kept for thirty: so what is
-- projected anew finds what has been told.

-- `lane`: 0 goes before 1.
-- `delivered`: how many of its messages (one an addressee) have been taken.
CREATE TABLE mails (
    mail_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text     NOT NULL,
    subject    text     NOT NULL,  -- what it is about: an order, a refund, a ticket, a waitlist entry
    version    bigint   NOT NULL,
    event_id   text     NOT NULL,
    order_id   text,
    detail     text     NOT NULL,  -- JSON
    lane       smallint NOT NULL,
    state      text     NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'sent', 'nobody', 'dead')),
    delivered  integer  NOT NULL DEFAULT 0,
    attempts   integer  NOT NULL DEFAULT 0,
    error      text,
    due_at     timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, subject, version)
);
CREATE INDEX mails_due ON mails (lane, due_at) WHERE state = 'waiting';
CREATE INDEX mails_dead ON mails (mail_id) WHERE state = 'dead';
CREATE INDEX mails_oldest ON mails (created_at);

-- A mail to all who hold tickets of an event, until it has been written out to each order.
CREATE TABLE mailings (
    mailing_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL,
    event_id       text NOT NULL,
    after_order_id text NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION mailing_begins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mailings (kind, event_id) VALUES (TG_ARGV[0], NEW.event_id);
    RETURN NULL;
END $$;

CREATE TRIGGER mailing_of_change AFTER UPDATE ON events
    FOR EACH ROW WHEN (
        OLD.opened AND NEW.status NOT IN ('CANCELLED', 'COMPLETED')
        AND (OLD.start_time, OLD.end_time, OLD.venue_id)
            IS DISTINCT FROM (NEW.start_time, NEW.end_time, NEW.venue_id)
    ) EXECUTE FUNCTION mailing_begins('event_changed');
CREATE TRIGGER mailing_of_end AFTER UPDATE ON events
    FOR EACH ROW WHEN (OLD.opened AND OLD.status <> 'COMPLETED' AND NEW.status = 'COMPLETED')
    EXECUTE FUNCTION mailing_begins('event_completed');

-- `failing_since`: the first failure after the last success.
CREATE TABLE webhook_endpoints (
    endpoint_id   text PRIMARY KEY,
    organizer_id  text    NOT NULL,
    url           text    NOT NULL,
    events        text[]  NOT NULL,
    secret        text    NOT NULL,
    is_active     boolean NOT NULL,
    failing_since timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_endpoints_of ON webhook_endpoints (organizer_id, created_at, endpoint_id);

CREATE TABLE webhook_deliveries (
    delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id text    NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    type        text    NOT NULL,
    subject     text    NOT NULL,
    version     bigint  NOT NULL,
    data        text    NOT NULL,  -- JSON
    state       text    NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts    integer NOT NULL DEFAULT 0,
    status      integer,           -- the latest answer's
    error       text,
    due_at      timestamptz NOT NULL DEFAULT now(),
    happened_at timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (endpoint_id, type, subject, version)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at)
    WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_of ON webhook_deliveries (endpoint_id, delivery_id);
CREATE INDEX webhook_deliveries_oldest ON webhook_deliveries (created_at);
