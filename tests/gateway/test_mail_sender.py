"""The sender against a real Postgres and a real SMTP server that refuses, defers and goes away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from msgspec import Struct

from engine.outgoing import Mail
from gateway.mail.sender import Patience, Sender
from gateway.mail.smtp import SmtpTransport, smtp_server
from gateway.mail.transport import Letter
from persistence.outgoing.mails import MailBooks, MailOutbox
from tests.persistence.databases import fresh_database
from tests.post_office import TAKEN, PostOffice
from tests.waiting import until

QUICK = Patience(attempts_max=3, first_pause_s=0.01, pause_s_max=0.05, away_s_max=0.05, idle_s=0.01)


class Plain:
    """Letters to the addresses that stand in a mail's subject."""

    async def compose(self, mail: Mail) -> list[Letter]:
        if mail.subject == "bug":
            raise KeyError("ann@example.org")
        addresses = [] if mail.subject == "nobody" else mail.subject.split(",")
        return [
            Letter(f"<{mail.mail_id}.{n}@x>", to, f"Subject: {mail.kind}\r\n\r\nhi\r\n".encode())
            for n, to in enumerate(addresses)
        ]


class Office(Struct):
    post: PostOffice
    connection: asyncpg.Connection
    pool: asyncpg.Pool
    dsn: str

    async def mail(self, subject: str, lane: int = 0, **more: Any) -> None:
        row = {
            "kind": "order_confirmed",
            "subject": subject,
            "version": 0,
            "event_id": "evt_1",
            "detail": "{}",
            "lane": lane,
            **more,
        }
        places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        statement = f"INSERT INTO mails ({', '.join(row)}) VALUES ({places})"
        await self.pool.execute(statement, *row.values())

    async def state(self, subject: str) -> tuple[str, int, str | None]:
        row = await self.pool.fetchrow(
            "SELECT state, attempts, error FROM mails WHERE subject = $1", subject
        )
        assert row is not None
        return tuple(row)

    async def ended(self, subject: str, state: str) -> bool:
        return (await self.state(subject))[0] == state

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        transport = SmtpTransport(smtp_server(self.post.url), "tickets@example.org")
        outbox = MailOutbox(self.connection)
        task = asyncio.create_task(Sender(outbox, Plain(), transport, QUICK).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def office(postgres_dsn: str) -> AsyncIterator[Office]:
    async with (
        fresh_database(postgres_dsn) as dsn,
        PostOffice().open() as post,
        asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool,
    ):
        connection = await asyncpg.connect(dsn)
        made = Office(post, connection, pool, dsn)
        yield made
        await made.connection.close()


async def test_what_is_deferred_is_tried_again_until_it_is_taken(office: Office) -> None:
    answers = ["451 later", "421 busy", TAKEN]
    office.post.answer = lambda address: answers.pop(0)
    await office.mail("ann@x.org")
    async with office.sending():
        await until(lambda: office.ended("ann@x.org", "sent"))
    assert office.post.tried == ["ann@x.org"] * 3
    assert len(office.post.letters) == 1


async def test_what_is_deferred_too_often_is_given_up_and_can_be_tried_by_hand(
    office: Office,
) -> None:
    office.post.answer = lambda address: "451 later ann@x.org"
    await office.mail("ann@x.org")
    books = MailBooks(office.pool)
    async with office.sending():
        await until(lambda: office.ended("ann@x.org", "dead"))
        assert len(office.post.tried) == QUICK.attempts_max
        (dead,) = await books.dead(0, 10)
        assert (dead.subject, dead.error) == ("ann@x.org", "451")
        assert await books.counts() == (0, 1)
        office.post.answer = lambda address: TAKEN
        assert await books.try_again(dead.mail_id)
        await until(lambda: office.ended("ann@x.org", "sent"))
        assert not await books.try_again(dead.mail_id)


async def test_what_is_refused_is_dead_at_once_and_holds_nothing_up(office: Office) -> None:
    office.post.answer = lambda to: "550 5.1.1 no such" if to == "no@x.org" else TAKEN
    for to in ("no@x.org", "ann@x.org"):
        await office.mail(to)
    async with office.sending():
        await until(lambda: office.ended("no@x.org", "dead"))
        await until(lambda: office.ended("ann@x.org", "sent"))
    assert await office.state("no@x.org") == ("dead", 0, "550")
    assert office.post.tried.count("no@x.org") == 1


async def test_of_several_addressees_none_gets_it_twice_for_the_others(office: Office) -> None:
    answers = {"a@x.org": [TAKEN], "b@x.org": ["451 later", TAKEN], "c@x.org": [TAKEN]}
    office.post.answer = lambda to: answers[to].pop(0)
    await office.mail("a@x.org,b@x.org,c@x.org")
    async with office.sending():
        await until(lambda: office.ended("a@x.org,b@x.org,c@x.org", "sent"))
    assert [to for to, _ in office.post.letters] == ["a@x.org", "b@x.org", "c@x.org"]


async def test_a_sender_that_dies_after_its_letter_was_taken_sends_the_same_letter_again(
    office: Office,
) -> None:
    def taken_and_gone(address: str) -> str:
        office.connection.terminate()
        return TAKEN

    office.post.answer = taken_and_gone
    await office.mail("ann@x.org")
    async with office.sending():
        await until(lambda: office.post.letters)
        await until(office.connection.is_closed)
    assert (await office.state("ann@x.org"))[0] == "waiting"
    office.post.answer = lambda address: TAKEN
    office.connection = await asyncpg.connect(office.dsn)
    async with office.sending():
        await until(lambda: office.ended("ann@x.org", "sent"))
    (_, first), (_, second) = office.post.letters
    assert first.as_bytes() == second.as_bytes()


async def test_single_mails_go_before_the_mass(office: Office) -> None:
    for number in range(40):
        await office.mail(f"many{number}@x.org", lane=1)
    await office.mail("ann@x.org")
    async with office.sending():
        await until(lambda: len(office.post.tried) == 41)
    assert "ann@x.org" in office.post.tried[:4]


async def test_a_server_that_is_away_costs_no_attempts(office: Office) -> None:
    url = office.post.url
    office.post.url = "smtp://127.0.0.1:9"
    await office.mail("ann@x.org")
    async with office.sending():
        await until(lambda: _has_error(office))
    assert (await office.state("ann@x.org"))[:2] == ("waiting", 0)
    office.post.url = url
    async with office.sending():
        await until(lambda: office.ended("ann@x.org", "sent"))


async def _has_error(office: Office) -> bool:
    return (await office.state("ann@x.org"))[2] is not None


async def test_a_mail_that_can_t_be_made_is_given_up_and_says_nothing_of_people(
    office: Office, capfd: pytest.CaptureFixture[str]
) -> None:
    await office.mail("bug")
    await office.mail("nobody")
    async with office.sending():
        await until(lambda: office.ended("bug", "dead"))
        await until(lambda: office.ended("nobody", "nobody"))
    assert (await office.state("bug"))[2] == "KeyError"
    shown = capfd.readouterr()
    assert "ann@example.org" not in shown.out + shown.err


async def test_what_is_a_week_old_is_not_sent_any_more(office: Office) -> None:
    await office.mail("ann@x.org", created_at=datetime(2020, 1, 1, tzinfo=UTC))
    async with office.sending():
        await until(lambda: _gone(office))
    assert office.post.tried == []


async def _gone(office: Office) -> bool:
    return not await office.pool.fetchval("SELECT EXISTS (SELECT FROM mails)")
