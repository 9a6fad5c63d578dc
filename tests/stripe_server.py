"""A Stripe of our own for the tests: the few calls we make, with its idempotency keys and ways to
go wrong. The shapes are those of the API's reference, as far as the package looks at them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import MultiDictProxy


class StripeServer:
    """`trouble`: what the next call meets instead of its answer, or behind its effect."""

    def __init__(self) -> None:
        self.url = ""
        self.intents: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.trouble: str | None = None
        self.refunds_are = "succeeded"
        self._first: dict[str, tuple[str, int, dict[str, Any]]] = {}

    def pay(self, reference: str) -> None:
        intent = self.intents[reference]
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}

    def decline(self, reference: str) -> None:
        error = {"type": "card_error", "code": "card_declined", "decline_code": "generic_decline"}
        self.intents[reference] |= {
            "status": "requires_payment_method",
            "last_payment_error": error,
        }

    def reference(self, payment_id: str) -> str:
        (found,) = [k for k, i in self.intents.items() if i["metadata"]["payment_id"] == payment_id]
        return found

    def forget_keys(self) -> None:
        """A day has passed."""
        self._first.clear()

    @web.middleware
    async def _middle(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append((request.method, request.path, dict(request.headers)))
        trouble = self.trouble
        if trouble == "lost" and request.method == "GET":
            trouble = None  # a client sends it again by itself where only the connection is gone
        else:
            self.trouble = None
        match trouble:
            case "500":
                return _error(500, "api_error")
            case "429":
                return _error(429, "rate_limit_error")
            case "401":
                return _error(401, "authentication_error")
            case "silence":
                await asyncio.sleep(60)
        response: web.Response = await handler(request)
        if trouble == "lost":
            assert request.transport is not None
            request.transport.abort()
        if trouble == "half":
            half = web.StreamResponse(headers={"Content-Length": "10000"})
            await half.prepare(request)
            await half.write(b"{")
            await asyncio.sleep(60)
        return response

    async def _once(
        self, request: web.Request, make: Callable[[MultiDictProxy[Any]], tuple[int, Any]]
    ) -> web.Response:
        key = request.headers.get("Idempotency-Key", "")
        body = await request.post()
        print_ = hashlib.sha256(repr(sorted(body.items())).encode()).hexdigest()
        if key in self._first:
            known, status, answer = self._first[key]
            if known != print_:
                return _error(400, "idempotency_error")
            return web.json_response(answer, status=status)
        status, answer = make(body)
        if key:
            self._first[key] = (print_, status, dict(answer))
        return web.json_response(answer, status=status)

    async def create(self, request: web.Request) -> web.Response:
        def make(body: MultiDictProxy[Any]) -> tuple[int, Any]:
            if int(body["amount"]) < 50:
                return 400, _said("invalid_request_error", "amount_too_small")
            reference = f"pi_{len(self.intents)}"
            self.intents[reference] = {
                "id": reference,
                "object": "payment_intent",
                "amount": int(body["amount"]),
                "amount_received": 0,
                "currency": body["currency"],
                "client_secret": f"{reference}_secret_x",
                "status": "requires_payment_method",
                "last_payment_error": None,
                "metadata": _metadata(body),
            }
            return 200, self.intents[reference]

        return await self._once(request, make)

    async def retrieve(self, request: web.Request) -> web.Response:
        found = self.intents.get(request.match_info["id"])
        if found is None:
            return _error(404, "invalid_request_error", "resource_missing")
        return web.json_response(found)

    async def cancel(self, request: web.Request) -> web.Response:
        found = self.intents[request.match_info["id"]]
        if found["status"] in ("succeeded", "canceled"):
            return _error(400, "invalid_request_error", "payment_intent_unexpected_state")
        found["status"] = "canceled"
        return web.json_response(found)

    async def send_back(self, request: web.Request) -> web.Response:
        def make(body: MultiDictProxy[Any]) -> tuple[int, Any]:
            intent = self.intents[body["payment_intent"]]
            back = [
                r["amount"]
                for r in self.refunds.values()
                if r["payment_intent"] == intent["id"] and r["status"] != "failed"
            ]
            if sum(back) + int(body["amount"]) > intent["amount_received"]:
                return 400, _said("invalid_request_error", "charge_already_refunded")
            refund_id = f"re_{len(self.refunds)}"
            self.refunds[refund_id] = {
                "id": refund_id,
                "object": "refund",
                "payment_intent": intent["id"],
                "amount": int(body["amount"]),
                "status": self.refunds_are,
                "metadata": _metadata(body),
            }
            return 200, self.refunds[refund_id]

        return await self._once(request, make)

    async def list_refunds(self, request: web.Request) -> web.Response:
        of = request.query["payment_intent"]
        found = [r for r in self.refunds.values() if r["payment_intent"] == of]
        body = {"object": "list", "data": found[::-1], "has_more": False, "url": "/v1/refunds"}
        return web.json_response(body)


def _metadata(body: MultiDictProxy[Any]) -> dict[str, str]:
    return {
        name.removeprefix("metadata[").removesuffix("]"): str(value)
        for name, value in body.items()
        if name.startswith("metadata[")
    }


def _said(kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"type": kind, "code": code, "message": "no"}}


def _error(status: int, kind: str, code: str | None = None) -> web.Response:
    return web.json_response(_said(kind, code), status=status)


@asynccontextmanager
async def stripe_server() -> AsyncIterator[StripeServer]:
    stripe = StripeServer()
    app = web.Application(middlewares=[stripe._middle])
    app.router.add_post("/v1/payment_intents", stripe.create)
    app.router.add_get("/v1/payment_intents/{id}", stripe.retrieve)
    app.router.add_post("/v1/payment_intents/{id}/cancel", stripe.cancel)
    app.router.add_post("/v1/refunds", stripe.send_back)
    app.router.add_get("/v1/refunds", stripe.list_refunds)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0)
    stripe.url = str(server.make_url("")).rstrip("/")
    try:
        yield stripe
    finally:
        await server.close()
