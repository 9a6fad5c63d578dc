"""Work in the background that goes on as long as the process does.

A chore that fails is logged and tried again at its next turn: each may be done twice, none is lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta

import structlog

from engine.catalogue import from_ms
from gateway.devices import POLL_S
from gateway.payments.errands import Errands
from gateway.payments.sandbox import Sandbox
from gateway.ports import Ports
from gateway.telemetry import CALLS, MAILS, REFUNDS, SILENT

ENDED_MAX = 50
LAPSED_MAX = 50
ASTRAY_MAX = 10
CHANGES_KEPT = timedelta(days=2)
CHANGES_FORGOTTEN_MAX = 20_000


async def every(seconds: float, name: str, chore: Callable[[], Awaitable[None]]) -> None:
    log = structlog.get_logger("chores")
    told = ""
    while True:
        try:
            await chore()
            told = ""
        except Exception as error:
            if repr(error) != told:  # once, however long it lasts
                told = repr(error)
                log.warning("chore failed", chore=name, error=told, cause=repr(error.__cause__))
        await asyncio.sleep(seconds)


class Chores:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def all(self) -> list[Coroutine[None, None, None]]:
        ports = self._ports
        errands = Errands(ports.payments, ports.mailbox, ports.bookings)
        chores = [
            every(5.0, "complete ended events", self.complete_ended_events),
            every(0.5, "send money back", errands.send_money_back),
            every(1.0, "ask for words of payments", errands.ask_for_words),
            every(5.0, "count what sticks of payments", self.count_payments),
            every(5.0, "lapse unpaid bookings", self.lapse_unpaid_bookings),
            every(60.0, "forget old changes of tokens", self.forget_old_changes),
            every(POLL_S, "ask for revoked devices", self._ports.fleet.poll),
            every(5.0, "bring back astray bookings", self.bring_back_astray_bookings),
            every(5.0, "count what waits to leave", self.count_outgoing),
        ]
        if isinstance(ports.payments.provider, Sandbox):
            chores.append(every(0.5, "repeat webhooks", ports.payments.provider.tell_the_untold))
        return chores

    async def complete_ended_events(self) -> None:
        now = from_ms(self._ports.clock.now_ms())
        await self._ports.catalogue.complete_ended(now, ENDED_MAX)

    async def lapse_unpaid_bookings(self) -> None:
        now = from_ms(self._ports.clock.now_ms())
        await self._ports.bookings.lapse_unpaid(now, LAPSED_MAX)

    async def bring_back_astray_bookings(self) -> None:
        await self._ports.bookings.bring_back_astray(ASTRAY_MAX)

    async def count_outgoing(self) -> None:
        """Here, not where it is sent: a sender that is dead would not say what waits."""
        outgoing = self._ports.outgoing
        for gauge, books in ((MAILS, outgoing.mails), (CALLS, outgoing.webhooks)):
            waiting, dead = await books.counts()
            gauge.labels("waiting").set(waiting)
            gauge.labels("dead").set(dead)

    async def forget_old_changes(self) -> None:
        now = from_ms(self._ports.clock.now_ms())
        await self._ports.tokens.forget(now - CHANGES_KEPT, CHANGES_FORGOTTEN_MAX)

    async def count_payments(self) -> None:
        payments = self._ports.payments
        counts = await payments.refunds.counts()
        for state in counts.__struct_fields__:
            REFUNDS.labels(state).set(getattr(counts, state))
        SILENT.set(await payments.intents.overdue())
