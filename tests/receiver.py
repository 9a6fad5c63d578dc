"""An organizer's server for the tests: it takes webhooks, checks who signed them, and answers."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class Receiver:
    """`answer`: what it says to a body. `bodies`: what it has heard, in order."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.signatures: list[tuple[str, bytes]] = []
        self.answer: Callable[[dict[str, Any]], web.Response] = lambda body: web.Response()
        self.hangs = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.signatures.append((request.headers["Stampede-Signature"], raw))
        body = json.loads(raw)
        self.bodies.append(body)
        return self.answer(body)

    async def flood(self, request: web.Request) -> web.StreamResponse:
        """An answer without end."""
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(65_536))
        except ConnectionError:
            self.hangs.set()
        return response

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [body for body in self.bodies if body["type"] == kind]

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Receiver"]:
        app = web.Application()
        app.router.add_post("/flood", self.flood)
        app.router.add_post("/{path:.*}", self.take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/hook"
        try:
            yield self
        finally:
            await runner.cleanup()


def is_signed(secret: str, header: str, body: bytes) -> bool:
    """As a receiver would check it, by code of its own."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    text = parts["t"].encode() + b"." + body
    wanted = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, parts["v1"])
