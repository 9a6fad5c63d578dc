"""A small client of the API for tests: roles, an event on sale, orders, payments, scans."""

import asyncio
import itertools
from typing import Any
from uuid import uuid4

import aiohttp

_numbers = itertools.count()


class Answer:
    def __init__(self, status: int, headers: Any, body: Any) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def code(self) -> str:
        return str(self.body["code"])


class Shop:
    """Calls one server in the roles that the tests need."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session
        self._tokens: dict[tuple[str, str, str | None], str] = {}

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        key: str | None = None,
        raw: bytes | None = None,
        accept: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        headers = {"Content-Type": "application/json", **(headers or {})}
        if accept is not None:
            headers["Accept"] = accept
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        request = self._session.request(
            method,
            self.url + path,
            headers=headers,
            json=body if raw is None else None,
            data=raw,
        )
        async with request as response:
            is_json = response.content_type.endswith(("/json", "+json"))
            content = await response.json() if is_json else await response.read()
            return Answer(response.status, response.headers, content)

    async def token(
        self,
        role: str,
        subject: str,
        event_id: str | None = None,
        profile: str | None = None,
    ) -> str:
        known = self._tokens.get((role, subject, event_id))
        if known is None:
            asked = {"role": role, "subject": subject, "event_id": event_id, "profile": profile}
            found = await self.call("POST", "/v1/dev/token", asked)
            assert found.status == 200, found.body
            known = self._tokens[role, subject, event_id] = found.body["token"]
        return known

    async def organizer(self) -> str:
        return await self.token("organizer", "orga")

    async def organize(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """A call of the organizer whose events `event` makes."""
        return await self.call(method, path, body, token=await self.organizer(), **more)

    async def box_office(self) -> str:
        return await self.token("box_office", "till")

    async def venue(self, **changes: Any) -> dict[str, Any]:
        venue = {
            "name": f"Hall {next(_numbers)}",
            "city": "Berlin",
            "country": "Germany",
            "capacity": 1_000_000,
            "timezone": "Europe/Berlin",
            **changes,
        }
        return await self._made("/v1/venues", venue)

    async def event(self, **changes: Any) -> dict[str, Any]:
        """An event with a confirmed booking, in DRAFT."""
        venue_id = changes.pop("venue_id", None) or (await self.venue())["venue_id"]
        event = {
            "venue_id": venue_id,
            "title": f"Conference {next(_numbers)}",
            "category": "CONFERENCE",
            "start_time": "2031-05-01T09:00:00+02:00",
            "end_time": "2031-05-01T18:00:00+02:00",
            **changes,
        }
        return await self._made("/v1/events", event)

    async def tier(self, event_id: str, **changes: Any) -> dict[str, Any]:
        tier = {
            "name": "GENERAL",
            "price": 2_500,
            "total_quantity": 100,
            "max_per_order": 10,
            "sale_start": "2020-01-01T00:00:00Z",
            **changes,
        }
        return await self._made(f"/v1/events/{event_id}/tiers", tier)

    async def _made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        made = await self.call("POST", path, body, token=await self.organizer())
        assert made.status == 201, made.body
        found: dict[str, Any] = made.body
        return found

    async def step(self, event_id: str, step: str) -> Answer:
        path = f"/v1/events/{event_id}/{step}"
        return await self.call("POST", path, token=await self.organizer())

    async def on_sale(self, *tiers: dict[str, Any], **event: Any) -> tuple[str, list[str]]:
        """An event that is on sale; its id and its tiers' ids."""
        made = await self.event(**event)
        event_id = made["event_id"]
        tier_ids = [(await self.tier(event_id, **tier))["tier_id"] for tier in tiers or ({},)]
        for step in ("publish", "open-sales"):
            answer = await self.step(event_id, step)
            assert answer.status == 200, answer.body
        return event_id, tier_ids

    async def order(
        self,
        event_id: str,
        tier_id: str,
        quantity: int = 1,
        *,
        buyer: str = "ann",
        key: str | None = None,
        **more: Any,
    ) -> Answer:
        body = {"selections": [{"tier_id": tier_id, "quantity": quantity}], **more}
        token = await self.token("buyer", buyer)
        path = f"/v1/events/{event_id}/orders"
        return await self.call("POST", path, body, token=token, key=key or uuid4().hex)

    async def pay(self, order_id: str, outcome: str = "succeed", buyer: str = "ann") -> Answer:
        """Ask for a payment and act as the payer; the answer to the former."""
        token = await self.token("buyer", buyer)
        path = f"/v1/orders/{order_id}/payment"
        asked = await self.call("POST", path, {"method": "card"}, token=token, key=uuid4().hex)
        if asked.status == 202:
            await self.act_as_payer(asked.body["payment_id"], outcome)
        return asked

    async def act_as_payer(self, payment_id: str, outcome: str = "succeed") -> Answer:
        return await self.call("POST", f"/v1/sandbox/payments/{payment_id}", {"outcome": outcome})

    async def read(self, order_id: str, buyer: str = "ann") -> dict[str, Any]:
        token = await self.token("buyer", buyer)
        found = await self.call("GET", f"/v1/orders/{order_id}", token=token)
        assert found.status == 200, found.body
        order: dict[str, Any] = found.body
        return order

    async def bought(
        self, event_id: str, tier_id: str, quantity: int = 1, buyer: str = "ann"
    ) -> dict[str, Any]:
        """A confirmed order, with its tickets."""
        placed = await self.order(event_id, tier_id, quantity, buyer=buyer)
        assert placed.status == 201, placed.body
        await self.pay(placed.body["order_id"], buyer=buyer)
        order = await self.read(placed.body["order_id"], buyer)
        assert order["status"] == "CONFIRMED", order
        return order

    async def scan(
        self,
        event_id: str,
        token: str,
        nonce: str | None = None,
        *,
        device: str = "gate-1",
        **more: Any,
    ) -> Answer:
        scanner = await self.token("scanner", device, event_id)
        body = {"token": token, "nonce": nonce or uuid4().hex, **more}
        return await self.call("POST", f"/v1/events/{event_id}/checkins", body, token=scanner)

    async def conflicts(self, event_id: str) -> list[dict[str, Any]]:
        """At its doors; when it answers, the tables have come as far as the sale."""
        path = f"/v1/events/{event_id}/conflicts"
        async with asyncio.timeout(60):
            while (found := await self.organize("GET", path)).status == 503:
                pass  # it has waited two seconds for them
        assert found.status == 200, found.body
        items: list[dict[str, Any]] = found.body["items"]
        return items
