"""Writes down who is to hear of a fact, in the projector's transaction.

A key for each (kind, subject, version) makes it harmless to read facts twice. Facts of long ago
are passed over: who projects a whole journal anew tells nobody again what happened last year.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from engine import facts as f
from engine import ids
from engine.outgoing import MASS, MailDetail, MailKind, WebhookType
from persistence.transactions import Connection

TOLD_WITHIN = timedelta(days=7)

_encode = msgspec.json.Encoder().encode
_NO_DETAIL = MailDetail()

# Nobody to write to: nothing to write down. Attendees are named after the order is confirmed.
_MAILS = """
INSERT INTO mails (kind, subject, version, event_id, order_id, detail, lane)
SELECT t.kind, t.subject, t.version, t.event_id, t.order_id, t.detail, t.lane
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[])
    AS t (kind, subject, version, event_id, order_id, detail, lane)
JOIN orders USING (order_id)
WHERE orders.sealed IS NOT NULL OR t.kind <> 'order_confirmed' AND EXISTS (
    SELECT FROM tickets
    WHERE tickets.order_id = t.order_id AND tickets.sealed IS NOT NULL
)
ON CONFLICT (kind, subject, version) DO NOTHING
"""

# Who waits has no order yet. The second mail of an offer is due shortly before it ends.
_OFFERS = """
INSERT INTO mails (kind, subject, version, event_id, detail, lane, due_at)
SELECT kind, subject, 0, event_id, detail, 0, due
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    AS t (kind, subject, event_id, detail, due)
ON CONFLICT (kind, subject, version) DO NOTHING
"""
ENDING = timedelta(minutes=10)

_LISTENING = "SELECT EXISTS (SELECT FROM webhook_endpoints WHERE is_active)"

# An endpoint hears nothing from before it was there.
_DELIVERIES = """
INSERT INTO webhook_deliveries (endpoint_id, type, subject, version, data, happened_at)
SELECT w.endpoint_id, t.type, t.subject, t.version, t.data, t.at
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[])
    AS t (type, subject, version, event_id, data, at)
JOIN events e USING (event_id)
JOIN webhook_endpoints w
    ON w.organizer_id = e.organizer_id AND w.is_active AND t.type = ANY(w.events)
    AND t.at >= w.created_at
ON CONFLICT (endpoint_id, type, subject, version) DO NOTHING
"""

_SOLD_OUT = """
SELECT event_id FROM tier_counters WHERE event_id = ANY($1)
GROUP BY event_id HAVING bool_and(sold >= quantity)
"""


class _MailRow(Struct, frozen=True):
    kind: MailKind
    subject: str
    version: int
    event_id: str
    order_id: str
    detail: str
    lane: int


class _OfferRow(Struct, frozen=True):
    kind: MailKind
    subject: str
    event_id: str
    detail: str
    due: datetime


class _DeliveryRow(Struct, frozen=True):
    type: WebhookType
    subject: str
    version: int
    event_id: str
    data: str
    at: datetime


async def feed(connection: Connection, entries: Iterable[f.Entry]) -> None:
    """Once their rows are in the tables."""
    oldest_ms = (datetime.now(UTC) - TOLD_WITHIN).timestamp() * 1000
    # Of a placed order nobody hears yet, and an on-sale is little else.
    heard_of = (entry for entry in entries if type(entry.fact) is not f.OrderPlaced)
    recent = [entry for entry in heard_of if entry.at_ms >= oldest_ms]
    mails = [mail for entry in recent for mail in _mails(entry)]
    if mails:
        await connection.execute(_MAILS, *_columns(mails))
    if offers := [mail for entry in recent for mail in _offers(entry)]:
        await connection.execute(_OFFERS, *_columns(offers))
    if recent and await connection.fetchval(_LISTENING):
        told = [row for entry in recent if (row := _delivery(entry)) is not None]
        told += await _sold_out(connection, recent)
        if told:
            await connection.execute(_DELIVERIES, *_columns(told))


def _columns(rows: Sequence[Struct]) -> list[list[object]]:
    return [list(column) for column in zip(*map(msgspec.structs.astuple, rows), strict=True)]


def _mails(entry: f.Entry) -> list[_MailRow]:
    fact, event_id = entry.fact, entry.sale_id
    match fact:
        case f.TicketScanned():
            return []  # as nearly all at the doors
        case f.OrderConfirmed():
            return [_row_of(MailKind.ORDER_CONFIRMED, fact.order_id, event_id, fact.order_id)]
        case f.TicketTransferred():
            ends = (
                (MailKind.TICKET_GIVEN, fact.number),
                (MailKind.TICKET_RECEIVED, fact.new_number),
            )
            return [_of_ticket(kind, event_id, fact.order_id, number) for kind, number in ends]
        case f.MoneyReturned():
            detail = MailDetail(fact.amount_minor)
            kind = MailKind.MONEY_RETURNED
            return [_row_of(kind, fact.refund_id, event_id, fact.order_id, detail)]
        case f.OrderRefunded():
            # A refund that somebody asked for has that request's key.
            unwound = fact.key is None
            kind = MailKind.EVENT_CANCELLED if unwound else MailKind.ORDER_REFUNDED
            subject = fact.order_id if unwound else fact.refund_id
            detail = MailDetail(fact.amount_minor, fact.ticket_numbers)
            return [_row_of(kind, subject, event_id, fact.order_id, detail)]
        case f.TicketReissued():
            kind = MailKind.TICKET_REISSUED
            return [_of_ticket(kind, event_id, fact.order_id, fact.number, entry.seq)]
        case _:
            return []


def _offers(entry: f.Entry) -> list[_OfferRow]:
    fact = entry.fact
    if not isinstance(fact, f.OfferMade):
        return []
    made_at = datetime.fromtimestamp(entry.at_ms / 1000, UTC)
    ending_at = datetime.fromtimestamp(fact.expires_at_ms / 1000, UTC) - ENDING
    said = MailDetail(quantity=fact.quantity, until_ms=fact.expires_at_ms)
    detail = _encode(said).decode()
    told = [(MailKind.OFFER_MADE, made_at)]
    if ending_at - made_at >= ENDING:
        told.append((MailKind.OFFER_ENDING, ending_at))
    return [_OfferRow(kind, fact.entry_id, entry.sale_id, detail, due) for kind, due in told]


def _of_ticket(
    kind: MailKind, event_id: str, order_id: str, number: int, version: int = 0
) -> _MailRow:
    ticket_id = ids.ticket_id(order_id, number)
    return _row_of(kind, ticket_id, event_id, order_id, MailDetail(numbers=(number,)), version)


def _row_of(
    kind: MailKind,
    subject: str,
    event_id: str,
    order_id: str,
    detail: MailDetail = _NO_DETAIL,
    version: int = 0,
) -> _MailRow:
    lane = 1 if kind in MASS else 0
    return _MailRow(kind, subject, version, event_id, order_id, _encode(detail).decode(), lane)


def _delivery(entry: f.Entry) -> _DeliveryRow | None:
    fact = entry.fact
    match fact:
        case f.OrderConfirmed():
            tickets = [ids.ticket_id(fact.order_id, n) for n in range(len(fact.tokens))]
            data = {"order_id": fact.order_id, "ticket_ids": tickets}
            return _row(entry, WebhookType.ORDER_CONFIRMED, fact.order_id, 0, data)
        case f.OrderRefunded():
            refunded = {
                "order_id": fact.order_id,
                "refund_id": fact.refund_id,
                "amount": fact.amount_minor,
                "ticket_ids": [ids.ticket_id(fact.order_id, n) for n in fact.ticket_numbers],
            }
            return _row(entry, WebhookType.ORDER_REFUNDED, fact.refund_id, 0, refunded)
        case f.TicketScanned(result=f.ScanResult.ADMIT, order_id=str(order), number=int(number)):
            ticket = ids.ticket_id(order, number)
            scanned = {"ticket_id": ticket, "tier_id": fact.tier_id, "gate": fact.gate}
            return _row(entry, WebhookType.TICKET_CHECKED_IN, ticket, entry.seq, scanned)
        case _:
            return None


async def _sold_out(connection: Connection, entries: Sequence[f.Entry]) -> list[_DeliveryRow]:
    """Once an event: the first time that all its places are sold, and are still when projected."""
    last = {e.sale_id: e for e in entries if isinstance(e.fact, f.OrderConfirmed)}
    found = await connection.fetch(_SOLD_OUT, list(last)) if last else []
    return [
        _row(last[event_id], WebhookType.EVENT_SOLD_OUT, event_id, 0, {}) for (event_id,) in found
    ]


def _row(
    entry: f.Entry, kind: WebhookType, subject: str, version: int, data: Mapping[str, object]
) -> _DeliveryRow:
    at = datetime.fromtimestamp(entry.at_ms / 1000, UTC)
    told = _encode({"event_id": entry.sale_id, **data}).decode()
    return _DeliveryRow(kind, subject, version, entry.sale_id, told, at)
