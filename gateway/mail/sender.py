"""Takes mails from the outbox to where they go: at least once, twice only by accident.

A letter is written off the list as soon as the mail server has taken it. Who is killed between the
two sends that letter again when it comes back, under the same Message-ID: at most one for each
connection that was in use.
"""

import asyncio
import itertools
import random
from collections.abc import Collection
from typing import Protocol

import structlog
from msgspec import Struct

from engine.outgoing import Mail
from engine.runtime.faults import Fault
from gateway.mail.transport import (
    CONNECTIONS_MAX,
    Deferred,
    Letter,
    Refused,
    Transport,
    Unreachable,
)

TIDY_EVERY = 1_000  # looks at an empty or full outbox


class Outbox(Protocol):
    async def next(self, not_these: Collection[int]) -> Mail | None: ...

    async def taken(self, mail_id: int, delivered: int) -> None: ...

    async def sent(self, mail_id: int) -> None: ...

    async def nobody(self, mail_id: int) -> None: ...

    async def dead(self, mail_id: int, error: str) -> None: ...

    async def again(self, mail_id: int, after_s: float, error: str, *, counts: bool) -> None: ...

    async def write_out(self) -> int: ...

    async def tidy(self) -> None: ...


class Composing(Protocol):
    async def compose(self, mail: Mail) -> list[Letter]: ...


class Patience(Struct, frozen=True):
    """How long is tried: four times as long after each refusal, up to `pause_s_max`.

    By default 2 s, 8 s, ... then every four hours: two and a half days in all.
    """

    attempts_max: int = 22
    first_pause_s: float = 2.0
    pause_s_max: float = 4 * 60 * 60.0
    away_s_max: float = 60.0
    idle_s: float = 0.2

    def pause_s(self, attempts: int) -> float:
        """With up to a fifth more, so that those refused together don't come back together."""
        pause_s = min(self.first_pause_s * 4.0**attempts, self.pause_s_max)
        return pause_s * random.uniform(1.0, 1.2)


class Sender:
    """Its outcomes stand in the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        composer: Composing,
        transport: Transport,
        patience: Patience,
    ) -> None:
        self._outbox = outbox
        self._composer = composer
        self._transport = transport
        self._patience = patience
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self._at_work: set[int] = set()
        self._away_s = 0.0
        self._log = structlog.get_logger("mail")

    async def run(self) -> None:
        """For ever. Raises what the database raises when it goes away."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write_out())
                while True:
                    await self._slots.acquire()
                    if self._away_s:
                        await asyncio.sleep(self._away_s)
                    mail = await self._outbox.next(self._at_work)
                    if mail is None:
                        self._slots.release()
                        await asyncio.sleep(self._patience.idle_s)
                    else:
                        self._at_work.add(mail.mail_id)
                        tasks.create_task(self._work(mail))
        finally:
            await self._transport.close()

    async def _write_out(self) -> None:
        for turn in itertools.count():
            if turn % TIDY_EVERY == 0:
                await self._outbox.tidy()
            await asyncio.sleep(0 if await self._outbox.write_out() else self._patience.idle_s)

    async def _work(self, mail: Mail) -> None:
        try:
            await self._deliver(mail)
        finally:
            self._at_work.discard(mail.mail_id)
            self._slots.release()

    async def _deliver(self, mail: Mail) -> None:
        try:
            letters = await self._composer.compose(mail)
        except Fault as fault:  # the sale can't be asked just now: not the mail's fault
            pause_s, error = self._patience.pause_s(0), type(fault).__name__
            return await self._outbox.again(mail.mail_id, pause_s, error, counts=False)
        except Exception as bug:
            error = type(bug).__name__  # its sentence may hold what the mail was about
            self._log.error("mail not made", mail_id=mail.mail_id, error=error)
            return await self._later(mail, error)
        if not letters:
            return await self._outbox.nobody(mail.mail_id)
        for part in range(mail.delivered, len(letters)):
            if not await self._send(mail, letters[part]):
                return None
            if part + 1 < len(letters):
                await self._outbox.taken(mail.mail_id, part + 1)
        await self._outbox.sent(mail.mail_id)
        return None

    async def _send(self, mail: Mail, letter: Letter) -> bool:
        try:
            await self._transport.send(letter)
        except Unreachable as error:
            self._away(str(error))
            await self._outbox.again(mail.mail_id, 0.0, str(error), counts=False)
            return False
        except Deferred as error:
            await self._later(mail, str(error))
            return False
        except Refused as error:
            await self._outbox.dead(mail.mail_id, str(error))
            return False
        self._away_s = 0.0
        return True

    async def _later(self, mail: Mail, error: str) -> None:
        if mail.attempts + 1 >= self._patience.attempts_max:
            return await self._outbox.dead(mail.mail_id, error)
        pause_s = self._patience.pause_s(mail.attempts)
        return await self._outbox.again(mail.mail_id, pause_s, error, counts=True)

    def _away(self, error: str) -> None:
        """The server is left in peace for a while, ever longer."""
        if not self._away_s:
            self._log.warning("mail server away", error=error)
        least_s = min(self._patience.first_pause_s, self._patience.away_s_max)
        self._away_s = min(max(self._away_s * 2, least_s), self._patience.away_s_max)
