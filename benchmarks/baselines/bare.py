"""The ceiling: a bare aiohttp handler that decodes and encodes the same bodies and does nothing.

The same server, the same event loop, the same JSON library, the same shapes; no routes beside, no
middleware, no credentials, no limits, no logs, no metrics, nothing decided and nothing kept.
"""

import asyncio
import os
import sys
from datetime import datetime
from typing import Annotated

import msgspec
import uvloop
from aiohttp import web
from msgspec import Meta, Struct


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
_NOW = "2027-01-01T00:00:00.000Z"


async def place(request: web.Request) -> web.Response:
    order = _order.decode(await request.read())
    order_id = "ord_" + os.urandom(18).hex()
    items = [
        Item(f"itm_{order_id[4:]}-{n}", s.tier_id, s.quantity, 2_500, 2_500 * s.quantity)
        for n, s in enumerate(order.selections)
    ]
    total = sum(item.subtotal for item in items)
    event_id = request.match_info["event_id"]
    placed = Placed(
        order_id, event_id, order.buyer_id, "PENDING", items, total, "EUR", None, _NOW, _NOW
    )
    return web.Response(body=_encode(placed), status=201, content_type="application/json")


async def admit(request: web.Request) -> web.Response:
    scan = _scan.decode(await request.read())
    admission = Admission("ADMIT", f"tkt_{os.urandom(18).hex()}-0", "GENERAL", _NOW, scan.gate)
    return web.Response(body=_encode(admission), content_type="application/json")


async def serve() -> None:
    app = web.Application()
    app.router.add_post("/v1/events/{event_id}/orders", place)
    app.router.add_post("/v1/events/{event_id}/checkins", admit)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=16_384)
    await site.start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(f"ready on http://{host}:{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
