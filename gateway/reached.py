"""Waiting until the tables have come as far as a sale: then they tell what it would tell."""

from aiohttp import web

from engine.commands import ReadSale
from engine.rejections import Rejection
from engine.state import SaleView
from gateway.routing import ports_of

PATIENCE_S = 2.0
PAUSE_S = 0.03


async def reached(request: web.Request, event_id: str) -> bool:
    """Whether the tables have all that had happened when this was asked, after a while at most."""
    ports = ports_of(request)
    view = await ports.mailbox.ask(event_id, ReadSale())
    if isinstance(view, Rejection):
        return True  # nothing has happened
    assert isinstance(view, SaleView)
    until_s = ports.clock.monotonic_s() + PATIENCE_S
    while await ports.projections.reached(event_id) < view.seq:
        if ports.clock.monotonic_s() >= until_s:
            return False
        await ports.clock.sleep(PAUSE_S)
    return True
