-- Finding events: what has changed (an outbox), the documents that are searched, and what trends.

CREATE EXTENSION IF NOT EXISTS cube;
CREATE EXTENSION IF NOT EXISTS earthdistance;
CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- An event that has changed, written in the transaction that changes it, gone once its document is
-- written. Never updated, so that who changes an event waits for nobody who reads this.
CREATE TABLE search_changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id  text NOT NULL
);

-- Taken when a document is read, by the one feeder: a higher version was read later.
CREATE SEQUENCE search_version;

-- Texts are folded and made into words by the program; `words` weighs title A, place B, about C.
CREATE TABLE search_documents (
    event_id     text COLLATE "C" PRIMARY KEY,
    version      bigint  NOT NULL,
    findable     boolean NOT NULL,
    available    boolean NOT NULL,
    category     text    NOT NULL,
    city         text    NOT NULL,
    city_key     text    NOT NULL,
    start_time   timestamptz NOT NULL,
    min_price    bigint,
    max_price    bigint,
    price_key    bigint  NOT NULL,  -- min_price, or above all prices
    prices       bigint[] NOT NULL,
    position     earth,
    title        text    NOT NULL,
    title_joined text    NOT NULL,
    title_words  tsvector NOT NULL,
    words        tsvector NOT NULL
);
CREATE INDEX search_words_of ON search_documents USING gin (words) WHERE findable;
CREATE INDEX search_titles ON search_documents USING gin (title_words) WHERE findable;
CREATE INDEX search_title_begins ON search_documents (title_joined text_pattern_ops) WHERE findable;
CREATE INDEX search_by_date ON search_documents (start_time, event_id) WHERE findable;
CREATE INDEX search_by_category ON search_documents (category, start_time, event_id) WHERE findable;
CREATE INDEX search_by_price ON search_documents (price_key, event_id) WHERE findable;
CREATE INDEX search_by_city ON search_documents (city_key, start_time, event_id) WHERE findable;
CREATE INDEX search_by_place ON search_documents USING gist (position) WHERE findable;

-- The same documents as they were read, for indexes elsewhere, which follow them by `version`.
CREATE TABLE search_sources (
    event_id   text PRIMARY KEY,
    version    bigint NOT NULL,
    document   bytea  NOT NULL,  -- JSON
    refresh_at timestamptz       -- when a tier's sale begins or ends: the document changes by itself
);
CREATE UNIQUE INDEX search_sources_by_version ON search_sources (version);
CREATE INDEX search_sources_due ON search_sources (refresh_at) WHERE refresh_at IS NOT NULL;

-- How far an index elsewhere has followed.
CREATE TABLE search_followers (
    index_name text PRIMARY KEY,
    version    bigint NOT NULL
);

-- Every word that some document has, to find those that a misspelt one may mean.
CREATE TABLE search_words (
    word      text COLLATE "C" PRIMARY KEY,
    documents bigint NOT NULL
);
CREATE INDEX search_words_alike ON search_words USING gin (word gin_trgm_ops);

CREATE FUNCTION search_event_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO search_changes (event_id) VALUES (NEW.event_id);
    RETURN NULL;
END $$;

CREATE FUNCTION search_venue_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO search_changes (event_id)
    SELECT event_id FROM events WHERE venue_id = NEW.venue_id;
    RETURN NULL;
END $$;

CREATE TRIGGER search_event_added AFTER INSERT ON events
    FOR EACH ROW EXECUTE FUNCTION search_event_changed();
CREATE TRIGGER search_event_changed AFTER UPDATE ON events
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION search_event_changed();
CREATE TRIGGER search_tier_added AFTER INSERT ON tiers
    FOR EACH ROW EXECUTE FUNCTION search_event_changed();
CREATE TRIGGER search_tier_changed AFTER UPDATE ON tiers
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION search_event_changed();
CREATE TRIGGER search_venue_changed AFTER UPDATE ON venues
    FOR EACH ROW WHEN (
        (OLD.name, OLD.city, OLD.country, OLD.latitude, OLD.longitude, OLD.timezone)
        IS DISTINCT FROM
        (NEW.name, NEW.city, NEW.country, NEW.latitude, NEW.longitude, NEW.timezone)
    ) EXECUTE FUNCTION search_venue_changed();
-- Only when a tier runs out or has places again, not with each sale.
CREATE TRIGGER search_tier_flipped AFTER UPDATE ON tier_counters
    FOR EACH ROW WHEN (
        (OLD.held + OLD.sold < OLD.quantity) IS DISTINCT FROM (NEW.held + NEW.sold < NEW.quantity)
    ) EXECUTE FUNCTION search_event_changed();

CREATE INDEX events_of_venue ON events (venue_id);
INSERT INTO search_changes (event_id) SELECT event_id FROM events;

-- Whose check-ins tell what a buyer likes.
CREATE INDEX orders_of_buyer ON orders (buyer_id, placed_at DESC) WHERE status = 'CONFIRMED';

-- Tickets confirmed in an hour, written by the projector with its offset; `change` is in the order of
-- its commits, so that Redis follows by it.
CREATE SEQUENCE trending_change;
CREATE TABLE trending_hours (
    hour     timestamptz NOT NULL,
    event_id text        NOT NULL,
    tickets  bigint      NOT NULL,
    change   bigint      NOT NULL,
    PRIMARY KEY (hour, event_id)
);
CREATE INDEX trending_changes ON trending_hours (change);
