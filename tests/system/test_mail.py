"""Mails of a real server, taken by a real SMTP server: each once, whoever is killed."""

import io
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import zxingcpp
from PIL import Image

from gateway.mail.transport import CONNECTIONS_MAX
from tests.post_office import PostOffice
from tests.server import Server, running
from tests.shop import Shop
from tests.waiting import until

HOLDERS = 60


@asynccontextmanager
async def _house(folder: Path, post: PostOffice) -> AsyncIterator[tuple[Shop, Server]]:
    settings = {"SMTP_URL": post.url, "STAMPEDE_DOORS_OPEN_HOURS": "200000"}
    async with running(folder, settings) as server, aiohttp.ClientSession() as http:
        yield Shop(server.url, http), server


async def _bought(shop: Shop, event_id: str, tier_id: str, email: str, **more: Any) -> str:
    placed = await shop.order(event_id, tier_id, buyer_email=email, buyer=email, **more)
    assert placed.status == 201, placed.body
    await shop.pay(placed.body["order_id"], buyer=email)
    order_id: str = placed.body["order_id"]
    return order_id


async def _holders(shop: Shop, event_id: str, tier_id: str, count: int = HOLDERS) -> list[str]:
    emails = [f"holder{n}@example.org" for n in range(count)]
    for email in emails:
        await _bought(shop, event_id, tier_id, email)
    return emails


def _said(post: PostOffice, words: str) -> Counter[str]:
    return Counter(to for to, message in post.letters if words in message["Subject"])


def _have_heard(post: PostOffice, share: int) -> bool:
    return len(_said(post, "Cancelled")) >= share


def _has_heard(post: PostOffice, address: str, words: str) -> bool:
    return _said(post, words)[address] > 0


def _codes(message: EmailMessage) -> list[str]:
    pictures = [p for p in message.walk() if p.get_content_type() == "image/png"]
    images = [Image.open(io.BytesIO(p.get_payload(decode=True))) for p in pictures]  # type: ignore
    return [found.text for image in images for found in zxingcpp.read_barcodes(image)]


async def test_a_confirmed_order_is_mailed_with_the_codes_of_its_tickets(tmp_path: Path) -> None:
    async with PostOffice().open() as post, _house(tmp_path / "data", post) as (shop, server):
        event_id, (tier_id,) = await shop.on_sale({"name": "VIP"}, title="Rock & Röll")
        order_id = await _bought(shop, event_id, tier_id, "ann@example.org", quantity=2)
        await until(lambda: post.to("ann@example.org"))
        (message,) = post.to("ann@example.org")
        assert message["Subject"] == "Your tickets for Rock & Röll"
        tickets = (await shop.read(order_id, "ann@example.org"))["tickets"]
        assert _codes(message) == [ticket["token"] for ticket in tickets]

        attendees = [{"name": "Bo", "email": "bo@example.org"}, {"name": "Cy", "email": "cy@x.org"}]
        placed = await shop.order(event_id, tier_id, 2, attendees=attendees)
        await shop.pay(placed.body["order_id"])
        await until(lambda: post.to("bo@example.org") and post.to("cy@x.org"))
        first, second = (await shop.read(placed.body["order_id"]))["tickets"]
        assert _codes(post.to("bo@example.org")[0]) == [first["token"]]
        assert _codes(post.to("cy@x.org")[0]) == [second["token"]]

        path = f"/v1/orders/{order_id}/refund"
        body = {"ticket_ids": [tickets[0]["ticket_id"]]}
        till = await shop.box_office()
        assert (await shop.call("POST", path, body, token=till, key=uuid4().hex)).status == 200
        await until(lambda: _said(post, "Refund for"))
        (_, refund) = post.to("ann@example.org")
        text = refund.get_body(("plain",))
        assert text is not None and "EUR 25.00" in text.get_content()
        assert "@example.org" not in server.log.read_text()


async def test_a_ticket_that_is_given_away_is_mailed_to_its_new_holder(tmp_path: Path) -> None:
    async with PostOffice().open() as post, _house(tmp_path / "data", post) as (shop, _):
        event_id, (tier_id,) = await shop.on_sale()
        order_id = await _bought(shop, event_id, tier_id, "ann@example.org")
        (ticket,) = (await shop.read(order_id, "ann@example.org"))["tickets"]
        token = await shop.token("buyer", "ann@example.org")
        path = f"/v1/tickets/{ticket['ticket_id']}/transfer"
        body = {"attendee_name": "Bo", "attendee_email": "bo@example.org", "buyer_id": "bo"}
        given = await shop.call("POST", path, body, token=token, key=uuid4().hex)
        assert given.status == 201, given.body
        await until(partial(_has_heard, post, "bo@example.org", "Your ticket for"))
        await until(partial(_has_heard, post, "ann@example.org", "has a new holder"))
        new = f"/v1/tickets/{given.body['ticket_id']}"
        held = await shop.call("GET", new, token=await shop.token("buyer", "bo"))
        assert _codes(post.to("bo@example.org")[0]) == [held.body["token"]]
        for message in post.to("ann@example.org"):
            assert held.body["token"] not in message.as_string()
            assert held.body["token"] not in _codes(message)


async def test_every_holder_hears_once_of_a_change_and_of_the_end(tmp_path: Path) -> None:
    async with PostOffice().open() as post, _house(tmp_path / "data", post) as (shop, _):
        event_id, (tier_id,) = await shop.on_sale()
        emails = await _holders(shop, event_id, tier_id)
        moved = {
            "start_time": "2031-06-01T09:00:00+02:00",
            "end_time": "2031-06-01T18:00:00+02:00",
        }
        assert (await shop.organize("PATCH", f"/v1/events/{event_id}", moved)).status == 200
        await until(lambda: len(_said(post, "New time or place")) == HOLDERS, 60)
        assert (await shop.step(event_id, "complete")).status == 200
        await until(lambda: len(_said(post, "Thank you")) == HOLDERS, 60)
        for words in ("Your ticket", "New time or place", "Thank you"):
            assert _said(post, words) == Counter(emails), words


async def test_a_sender_that_is_killed_tells_every_holder_of_a_cancelled_event(
    tmp_path: Path,
) -> None:
    async with PostOffice().open() as post, _house(tmp_path / "data", post) as (shop, server):
        event_id, (tier_id,) = await shop.on_sale()
        emails = await _holders(shop, event_id, tier_id)
        await until(lambda: len(_said(post, "Your ticket")) == HOLDERS, 60)
        assert (await shop.step(event_id, "cancel")).status == 200
        kills = 0
        for share in (HOLDERS // 4, HOLDERS // 2):
            await until(partial(_have_heard, post, share), 60)
            os.kill(await server.node_pid("projector"), signal.SIGKILL)
            kills += 1
        await until(lambda: set(_said(post, "Cancelled")) == set(emails), 60)
        await until(lambda: _all_sent(server), 30)
        _assert_twice_is_the_same_mail(post, emails, most=kills * CONNECTIONS_MAX)


async def _all_sent(server: Server) -> bool:
    return await _mails(server, "state <> 'sent'") == 0


async def _nothing_is_due(server: Server) -> bool:
    return await _mails(server, "state = 'waiting' AND due_at <= now()") == 0


async def _mails(server: Server, condition: str) -> int:
    sockets = (server.folder / "postgres.sockets").resolve()
    connection = await asyncpg.connect(f"postgresql://stampede@/stampede?host={sockets}&port=5432")
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM mails WHERE {condition}"))
    finally:
        await connection.close()


def _assert_twice_is_the_same_mail(post: PostOffice, emails: Sequence[str], most: int) -> None:
    cancelled = [m for _, m in post.letters if "Cancelled" in m["Subject"]]
    assert {m["To"] for m in cancelled} == set(emails)
    assert len({m["Message-ID"] for m in cancelled}) == len(emails)
    assert len(cancelled) - len(emails) <= most


async def test_who_waits_hears_once_that_places_are_held(tmp_path: Path) -> None:
    async with PostOffice().open() as post, _house(tmp_path / "data", post) as (shop, server):
        event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1})
        first = await shop.order(event_id, tier_id)
        for waiter in ("first@example.org", "second@example.org"):
            token = await shop.token("buyer", waiter)
            path, body = f"/v1/tiers/{tier_id}/waitlist", {"quantity": 1, "email": waiter}
            joined = await shop.call("POST", path, body, token=token, key=uuid4().hex)
            assert joined.status == 201, joined.body
        ann = await shop.token("buyer", "ann")
        await shop.call("DELETE", f"/v1/orders/{first.body['order_id']}", token=ann)
        await until(partial(_has_heard, post, "first@example.org", "Your turn"))
        await until(partial(_nothing_is_due, server))
        assert _said(post, "") == Counter(["first@example.org"])


async def test_a_mail_server_that_comes_late_gets_everything(tmp_path: Path) -> None:
    post = PostOffice()
    async with post.open():
        port = int(post.url.rpartition(":")[2])
    async with _house(tmp_path / "data", post) as (shop, server):
        event_id, (tier_id,) = await shop.on_sale()
        await _bought(shop, event_id, tier_id, "ann@example.org")
        await until(lambda: _mails(server, "error IS NOT NULL"))
        async with post.open(port):
            await until(lambda: post.to("ann@example.org"), 60)
