-- Ids carry their event: what is an event's is a range of the primary key. And who has a pending
-- order is who has places held, by the counters.
DROP INDEX orders_of_event, orders_pending, tickets_of_event_in_order, payments_of_order;

-- Room on the page for the update that each of these rows gets, so that no index hears of it.
ALTER TABLE tickets SET (fillfactor = 80);
ALTER TABLE payments SET (fillfactor = 80);
ALTER TABLE tier_counters SET (fillfactor = 50);
