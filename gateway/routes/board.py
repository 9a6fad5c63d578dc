"""The doors' board: a page for a screen on the wall, which asks the API for all that it shows.

It is sent as one piece, with the uPlot that draws its chart (`web/uplot/`, MIT) in the places that
say so.
"""

import base64
import re
from functools import cache
from hashlib import sha256
from importlib.resources import files

from aiohttp import web

from gateway.routing import ANYONE, Route

_PAGE = "doors.html"
_PLACE = "/* uPlot */\n"
_PLOT = ("uplot/uPlot.min.css", "uplot/uPlot.iife.min.js")  # in the order of their places


@cache
def _page() -> tuple[str, str]:
    """And what it may do: run its own script, ask its own server, nothing else."""
    web = files("gateway").joinpath("web")
    page = web.joinpath(_PAGE).read_text(encoding="utf-8")
    for part in _PLOT:
        page = page.replace(_PLACE, web.joinpath(part).read_text(encoding="utf-8"), 1)
    style, script = (_hash(page, tag) for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hash(page: str, tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert found is not None
    return f"'sha256-{base64.b64encode(sha256(found[1].encode()).digest()).decode()}'"


async def board(request: web.Request) -> web.Response:
    page, policy = _page()
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(text=page, content_type="text/html", headers=headers)


ROUTES = [
    Route(
        "GET",
        "/ops/events/{event_id}/doors",
        board,
        ANYONE,
        "The doors' board as a page, which asks for a credential itself",
        answers={200: None},
        media=("text/html",),
    ),
]
