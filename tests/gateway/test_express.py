"""The express lane: hot requests are answered there, all else and in all else as ever."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio

from gateway.express import TOLD_MAX, Lane
from tests.server import Server
from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

WITHIN_S = 10


class Wire:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        async with asyncio.timeout(WITHIN_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, json.loads(body)


@asynccontextmanager
async def wire(server: Server) -> AsyncIterator[Wire]:
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


class Caller:
    """Writes requests for orders of one event as bytes."""

    def __init__(self, event_id: str, tier_id: str, token: str) -> None:
        self.event_id = event_id
        self.body = {"selections": [{"tier_id": tier_id, "quantity": 1}]}
        self._token = token

    def order(
        self,
        *headers: str,
        key: str | None = "",
        body: bytes | None = None,
        path: str | None = None,
        token: str | None = None,
        version: str = "1.1",
    ) -> bytes:
        sent = json.dumps(self.body).encode() if body is None else body
        lines = [
            f"POST {path or f'/v1/events/{self.event_id}/orders'} HTTP/{version}",
            "Host: test",
            f"Authorization: Bearer {token or self._token}",
            *headers,
        ]
        if key is not None:
            lines.append(f"Idempotency-Key: {key or uuid4()}")
        if "Transfer-Encoding: chunked" not in headers:
            lines.append(f"Content-Length: {len(sent)}")
        return "\r\n".join([*lines, "\r\n"]).encode() + sent


@pytest_asyncio.fixture(loop_scope="session")
async def caller(shop: Shop) -> Caller:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1_000})
    return Caller(event_id, tier_id, await shop.token("buyer", "ann"))


def hurried(headers: dict[str, str]) -> bool:
    """Whether the answer came by the lane: aiohttp tells its own name."""
    return "server" not in headers


async def test_an_order_goes_by_the_lane(server: Server, caller: Caller) -> None:
    async with wire(server) as connection:
        connection.writer.write(caller.order())
        status, headers, body = await connection.answer()
    assert (status, body["status"]) == (201, "PENDING")
    assert headers["content-type"] == "application/json"
    assert headers["date"].endswith("gmt")
    assert hurried(headers)


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "used"])
async def test_answers_keep_the_order_of_their_requests(
    server: Server, caller: Caller, fresh: bool
) -> None:
    """Hot ones, and ones that take aiohttp's way, pipelined."""
    first, broken = caller.order(), caller.order(body=b"{")
    health = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
    async with wire(server) as connection:
        if not fresh:
            connection.writer.write(caller.order())
            await connection.answer()
        connection.writer.write(first + health + caller.order() + broken + first + health)
        answers = [await connection.answer() for _ in range(6)]
    assert [status for status, _, _ in answers] == [201, 200, 201, 400, 201, 200]
    assert answers[4][1]["idempotency-replayed"] == "true"
    assert answers[4][2] == answers[0][2]
    assert answers[2][2] != answers[0][2]


async def test_what_comes_while_an_order_is_served_waits_for_its_turn(
    server: Server, caller: Caller
) -> None:
    health = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
    for _ in range(20):
        async with wire(server) as connection:
            connection.writer.write(caller.order())
            await connection.writer.drain()
            connection.writer.write(health + caller.order())
            answers = [await connection.answer() for _ in range(3)]
            assert [status for status, _, _ in answers] == [201, 200, 201]


async def test_orders_go_by_the_lane_after_others_that_did_not(
    server: Server, caller: Caller
) -> None:
    """Not always at once: a client may have its answer before aiohttp's task is at rest again.
    Then for good."""
    others = [
        b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
        caller.order(body=b"{"),
        caller.order(),
    ]
    async with wire(server) as connection:
        for other in others:
            connection.writer.write(other)
            await connection.answer()
        by_the_lane = False
        async with asyncio.timeout(WITHIN_S):
            while not by_the_lane:
                connection.writer.write(caller.order())
                status, headers, _ = await connection.answer()
                assert status == 201
                by_the_lane = hurried(headers)
        for _ in range(10):
            connection.writer.write(caller.order())
            _, headers, _ = await connection.answer()
            assert hurried(headers)


async def test_many_orders_in_one_piece(server: Server, caller: Caller) -> None:
    count = 150
    async with wire(server) as connection:
        connection.writer.write(b"".join(caller.order() for _ in range(count)))
        answers = [await connection.answer() for _ in range(count)]
    assert {status for status, _, _ in answers} == {201}
    assert len({body["order_id"] for _, _, body in answers}) == count


async def test_an_order_that_comes_in_pieces(server: Server, caller: Caller) -> None:
    head_end = caller.order().index(b"\r\n\r\n")
    for cut in (10, head_end + 2, head_end + 10):
        async with wire(server) as connection:
            request = caller.order()
            connection.writer.write(request[:cut])
            await connection.writer.drain()
            await asyncio.sleep(0.02)  # so that they are read apart, as a rule
            connection.writer.write(request[cut:])
            status, _, _ = await connection.answer()
            assert status == 201, cut
            connection.writer.write(caller.order())
            status, _, _ = await connection.answer()
            assert status == 201, cut


async def test_a_body_behind_its_head_goes_by_the_lane(server: Server, caller: Caller) -> None:
    request = caller.order()
    head_end = request.index(b"\r\n\r\n") + 4
    async with wire(server) as connection:
        for piece in (
            request[:head_end],
            request[head_end : head_end + 5],
            request[head_end + 5 :],
        ):
            connection.writer.write(piece)
            await connection.writer.drain()
            await asyncio.sleep(0.02)  # so that they are read apart, as a rule
        status, headers, _ = await connection.answer()
    assert status == 201
    assert hurried(headers)


@pytest.mark.parametrize("way", ["close", "1.0", "chunked", "gzip", "expect", "query"])
async def test_what_is_not_plain_goes_the_ordinary_way(
    server: Server, caller: Caller, way: str
) -> None:
    plain = json.dumps(caller.body).encode()
    path = f"/v1/events/{caller.event_id}/orders"
    requests = {
        "close": lambda: caller.order("Connection: close"),
        "1.0": lambda: caller.order(version="1.0"),
        "chunked": lambda: caller.order(
            "Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(plain), plain)
        ),
        "gzip": lambda: caller.order("Content-Encoding: gzip", body=gzip.compress(plain)),
        "expect": lambda: caller.order("Expect: 100-continue"),
        "query": lambda: caller.order(path=f"{path}?a=b"),
    }
    async with wire(server) as connection:
        connection.writer.write(requests[way]())
        if way == "expect":
            interim = await asyncio.wait_for(connection.reader.readuntil(b"\r\n\r\n"), WITHIN_S)
            assert interim.startswith(b"HTTP/1.1 100")
        status, headers, body = await connection.answer()
    assert (status, body["status"]) == (201, "PENDING")
    assert not hurried(headers)


async def test_refusals_are_the_same_by_both_ways(
    server: Server, shop: Shop, caller: Caller
) -> None:
    """`Connection: close` makes it the ordinary one."""
    tier_id = caller.body["selections"][0]["tier_id"]
    strange = "/v1/events/evt_0123456789abcdef/orders"
    too_many = {"selections": [{"tier_id": tier_id, "quantity": 1_000_000}]}
    cases: dict[str, dict[str, Any]] = {
        "sold out or too many": {"body": json.dumps(too_many).encode()},
        "no such event": {"path": strange},
        "no such path": {"path": f"//v1/events/{caller.event_id}/orders"},
        "no event's id": {"path": "/v1/events/nonsense/orders"},
        "no key": {"key": None},
        "a bad key": {"key": "a b"},
        "no JSON": {"body": b"{"},
        "no body": {"body": b""},
        "too large": {"body": b" " * 300_000},
        "no credential of ours": {"token": "nonsense"},
        "not a buyer": {"token": await shop.token("scanner", "gate", caller.event_id)},
    }
    for name, case in cases.items():
        answers = []
        for header in ((), ("Connection: close",)):
            async with wire(server) as connection:
                connection.writer.write(caller.order(*header, **case))
                status, headers, body = await connection.answer()
                answers.append((status, headers["content-type"], body))
        assert answers[0] == answers[1], name
        assert answers[0][0] >= 400, name


async def test_a_client_that_has_gone_has_ordered_all_the_same(
    server: Server, caller: Caller
) -> None:
    keys = [uuid4().hex for _ in range(20)]
    for key in keys:
        async with wire(server) as connection:
            connection.writer.write(caller.order(key=key))
            await connection.writer.drain()
    for key in keys:
        async with wire(server) as connection:
            connection.writer.write(caller.order(key=key))
            status, headers, _ = await connection.answer()
            assert (status, headers.get("idempotency-replayed")) == (201, "true")


async def test_the_replies_of_a_large_turn_are_told_in_order_and_in_several_callbacks() -> None:
    reply_to: list[Callable[[int], None]] = []
    told: list[int] = []
    mailbox = SimpleNamespace(post=lambda _event, _command, reply: reply_to.append(reply))
    connection = SimpleNamespace(replied=lambda _asking, reply: told.append(reply))
    asking = SimpleNamespace(connection=connection, call=SimpleNamespace(event_id=""), command=None)
    lane = Lane(cast(Any, None), cast(Any, mailbox), [])
    for _ in range(2 * TOLD_MAX + 1):
        lane.ask(cast(Any, asking))
    for number, reply in enumerate(reply_to):
        reply(number)
    counts = []
    while len(told) < len(reply_to):
        await asyncio.sleep(0)
        counts.append(len(told))
    assert counts == [TOLD_MAX, 2 * TOLD_MAX, 2 * TOLD_MAX + 1]
    assert told == list(range(2 * TOLD_MAX + 1))
