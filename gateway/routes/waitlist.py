"""Waiting for places of a tier that can't be had: strictly first come, first served.

Places that come back are held for the first in the line before the public sees them; an order with
the `offer_id` buys them.
"""

import os
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from engine import ids
from engine.catalogue import to_ms
from engine.commands import JoinWaitlist, LeaveWaitlist, ReadWaitlistEntry, Role
from engine.facts import WaitlistJoined
from engine.projection import EntryRow
from engine.rejections import Reason, Rejection
from engine.replies import Replayed
from engine.waiter import EntryStatus, EntryView
from gateway.http import Body, answer, decode_bytes, idempotency_key, instant, replayed, unknown
from gateway.ownership import refuse_stranger
from gateway.personal import Buyer, seal
from gateway.problems import refused
from gateway.routes.orders import Email, Subject, buyer_for
from gateway.routing import BUYERS, HOLDERS, Route, ports_of, principal_of

_UNKNOWN = Rejection(Reason.UNKNOWN_ENTRY)


class WaitlistBody(Body, frozen=True):
    quantity: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    email: Email
    buyer_id: Subject | None = None


class OfferAnswer(Struct, frozen=True):
    offer_id: str
    quantity: int
    expires_at: str


class EntryAnswer(Struct, frozen=True):
    """`position`: in the line, from 1, while it waits.

    `reason`: why there is no offer yet (`no_places_free`, `others_first`, `sale_not_begun`,
    `sale_over`, `sales_closed`, `event_cancelled`, `event_over`), or why it has left (`buyer`,
    `event_cancelled`, `event_over`).

    `rest_entry_id`: the entry that waits on for what the offer lacked.
    """

    entry_id: str
    event_id: str
    tier_id: str
    buyer_id: str
    quantity: int
    position: int | None
    status: str
    reason: str | None = None
    offer: OfferAnswer | None = None
    rest_entry_id: str | None = None
    order_id: str | None = None


async def join(request: web.Request) -> web.Response:
    principal, tier_id = principal_of(request), request.match_info["tier_id"]
    raw = await request.read()
    body = decode_bytes(raw, WaitlistBody)
    buyer_id = buyer_for(principal, body.buyer_id)
    key = idempotency_key(request, raw, principal)
    ports = ports_of(request)
    event_id = await ports.catalogue.event_of_tier(tier_id)
    if event_id is None:
        return unknown("tier")
    entry_id = ids.entry_id(event_id, os.urandom(ids.ORDER_RANDOM_BYTES))
    sealed, personal_key = seal(Buyer(body.email), entry_id)
    offer_ttl_ms = ports.settings.offer_seconds * 1000
    command = JoinWaitlist(
        entry_id, tier_id, buyer_id, body.quantity, offer_ttl_ms, key, sealed, personal_key
    )
    match await ports.mailbox.ask(event_id, command):
        case WaitlistJoined() as joined:
            return answer(_joined(event_id, joined), 201)
        case Replayed(view=WaitlistJoined() as first):
            return replayed(_joined(event_id, first), 201)
        case Rejection(reason=Reason.UNKNOWN_EVENT):  # its sale has never been opened
            return refused(Rejection(Reason.EVENT_NOT_ON_SALE))
        case Rejection() as refusal:
            return refused(refusal)
        case other:
            raise AssertionError(other)


def _joined(event_id: str, fact: WaitlistJoined) -> EntryAnswer:
    return EntryAnswer(
        fact.entry_id,
        event_id,
        fact.tier_id,
        fact.buyer_id,
        fact.quantity,
        fact.position,
        EntryStatus.WAITING,
    )


async def read_entry(request: web.Request) -> web.Response:
    found = await _ask(request, ReadWaitlistEntry)
    return refused(found) if isinstance(found, Rejection) else answer(found)


async def leave(request: web.Request) -> web.Response:
    found = await _ask(request, LeaveWaitlist)
    if isinstance(found, Rejection):
        return refused(found)
    if found.status != EntryStatus.LEFT:
        return refused(Rejection(Reason.ENTRY_ENDED, {"status": found.status}))
    return web.Response(status=204)


async def _ask(
    request: web.Request, kind: type[ReadWaitlistEntry | LeaveWaitlist]
) -> EntryAnswer | Rejection:
    entry_id = request.match_info["entry_id"]
    event_id = ids.event_of_entry(entry_id)
    if event_id is None:
        return _UNKNOWN
    command = kind(entry_id, principal_of(request).caller)
    reply = await ports_of(request).mailbox.ask(event_id, command)
    if isinstance(reply, Rejection):
        return await _on_file(request, entry_id) if reply == _UNKNOWN else reply
    assert isinstance(reply, EntryView), reply
    return _answer(event_id, reply)


async def _on_file(request: web.Request, entry_id: str) -> EntryAnswer | Rejection:
    """An entry that has left its sale's memory a day after it ended."""
    row = await ports_of(request).projections.waitlist_entry(entry_id)
    if row is None or row.ended_at is None:
        return _UNKNOWN
    caller = principal_of(request).caller
    if caller.role is Role.BUYER and caller.subject != row.buyer_id:
        return _UNKNOWN
    if caller.role is Role.ORGANIZER and await refuse_stranger(request, row.event_id):
        return _UNKNOWN
    return _of_row(row)


def _answer(event_id: str, view: EntryView) -> EntryAnswer:
    return EntryAnswer(
        view.entry_id,
        event_id,
        view.tier_id,
        view.buyer_id,
        view.quantity,
        view.position,
        view.status,
        view.waits_for or view.left_because,
        _offer(view.entry_id, view.quantity, view.expires_at_ms),
        view.rest_entry_id,
        view.order_id,
    )


def _of_row(row: EntryRow) -> EntryAnswer:
    return EntryAnswer(
        row.entry_id,
        row.event_id,
        row.tier_id,
        row.buyer_id,
        row.quantity,
        None,
        row.status,
        row.left_because,
        _offer(row.entry_id, row.quantity, to_ms(row.expires_at) if row.expires_at else None),
        row.rest_entry_id,
        row.order_id,
    )


def _offer(entry_id: str, quantity: int, expires_at_ms: int | None) -> OfferAnswer | None:
    if expires_at_ms is None:
        return None
    return OfferAnswer(ids.offer_id(entry_id), quantity, instant(expires_at_ms))


_ENTRY = "/v1/waitlist/{entry_id}"

ROUTES = [
    Route(
        "POST",
        "/v1/tiers/{tier_id}/waitlist",
        join,
        BUYERS,
        "Wait for places",
        WaitlistBody,
        answers={201: EntryAnswer},
        needs_key=True,
    ),
    Route("GET", _ENTRY, read_entry, HOLDERS, "A place in the line", answers={200: EntryAnswer}),
    Route("DELETE", _ENTRY, leave, BUYERS, "Leave the line", answers={204: None}),
]
