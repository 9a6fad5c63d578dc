"""The lean edge that all baselines share: the bodies of the API on a bare aiohttp application.

The same server, event loop, JSON library and shapes, the collector as calm; no routes beside, no
middleware, no credentials, no limits, no idempotency keys, no logs, no metrics.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway import collector

PRICE_MINOR = 2_500
CURRENCY = "EUR"
_NOW = "2027-01-01T00:00:00.000Z"


class Selection(Struct, frozen=True, forbid_unknown_fields=True):
    tier_id: str
    quantity: Annotated[int, Meta(ge=1)]


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    selections: Annotated[list[Selection], Meta(min_length=1)]
    buyer_id: str | None = None


class Item(Struct, frozen=True):
    item_id: str
    tier_id: str
    quantity: int
    unit_price: int
    subtotal: int


class Placed(Struct, frozen=True):
    order_id: str
    event_id: str
    buyer_id: str | None
    status: str
    items: list[Item]
    total_amount: int
    currency: str
    payment_id: str | None
    created_at: str
    expires_at: str


class SoldOut(Struct, frozen=True):
    """A problem+json, as far as a buyer reads it."""

    title: str = "Sold out"
    status: int = 409
    code: str = "sold_out"
    retryable: bool = False


class Scan(Struct, frozen=True, forbid_unknown_fields=True):
    token: str
    nonce: str
    gate: str | None = None
    scanned_at: datetime | None = None


class Admission(Struct, frozen=True):
    result: str
    ticket_id: str
    tier: str
    checked_in_at: str
    gate: str | None


_order = msgspec.json.Decoder(Order)
_scan = msgspec.json.Decoder(Scan)
_encode = msgspec.json.Encoder().encode
_SOLD_OUT = _encode(SoldOut())

Place = Callable[[Placed], Awaitable[bool]]
"""Keeps an order and takes its places; False: sold out, nothing kept."""


def placed(event_id: str, order: Order) -> Placed:
    """The order as it would be answered."""
    order_id = "ord_" + os.urandom(18).hex()
    items = [_item(f"itm_{order_id[4:]}-{n}", s) for n, s in enumerate(order.selections)]
    total = sum(item.subtotal for item in items)
    return Placed(
        order_id, event_id, order.buyer_id, "PENDING", items, total, CURRENCY, None, _NOW, _NOW
    )


def _item(item_id: str, selected: Selection) -> Item:
    subtotal = PRICE_MINOR * selected.quantity
    return Item(item_id, selected.tier_id, selected.quantity, PRICE_MINOR, subtotal)


def selling(place: Place) -> web.Application:
    """An application that answers 201 for what `place` keeps, 409 for what it refuses."""

    async def sell(request: web.Request) -> web.Response:
        order = placed(request.match_info["event_id"], _order.decode(await request.read()))
        if await place(order):
            return web.Response(body=_encode(order), status=201, content_type="application/json")
        return web.Response(body=_SOLD_OUT, status=409, content_type="application/problem+json")

    app = web.Application()
    app.router.add_post("/v1/events/{event_id}/orders", sell)
    return app


async def admit(request: web.Request) -> web.Response:
    scan = _scan.decode(await request.read())
    admission = Admission("ADMIT", f"tkt_{os.urandom(18).hex()}-0", "GENERAL", _NOW, scan.gate)
    return web.Response(body=_encode(admission), content_type="application/json")


async def serve(app: web.Application) -> None:
    """On a free port, told in a line, until cancelled."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=16_384)
    await site.start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(f"ready on http://{host}:{port}\n")
    sys.stdout.flush()
    collector.calm()
    await asyncio.Event().wait()
