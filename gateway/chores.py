"""Work in the background that goes on as long as the process does.

A chore that fails is logged and tried again at its next turn: each may be done twice, none is lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta

import structlog

from engine import ids
from engine.catalogue import from_ms
from engine.commands import SettleRefund
from engine.projection import PendingRefund
from gateway.devices import POLL_S
from gateway.payments.provider import ProviderUnavailable
from gateway.payments.sandbox import Sandbox
from gateway.ports import Ports
from gateway.telemetry import CALLS, MAILS

REFUNDS_MAX = 100
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
        chores = [
            every(5.0, "complete ended events", self.complete_ended_events),
            every(0.5, "send money back", self.send_money_back),
            every(0.5, "send deposits back", self.send_deposits_back),
            every(5.0, "lapse unpaid bookings", self.lapse_unpaid_bookings),
            every(60.0, "forget old changes of tokens", self.forget_old_changes),
            every(POLL_S, "ask for revoked devices", self._ports.fleet.poll),
            every(5.0, "bring back astray bookings", self.bring_back_astray_bookings),
            every(5.0, "count what waits to leave", self.count_outgoing),
        ]
        if isinstance(self._ports.payments, Sandbox):
            chores.append(every(2.0, "repeat webhooks", self._ports.payments.tell_the_untold))
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

    async def send_deposits_back(self) -> None:
        provider, bookings = self._ports.payments, self._ports.bookings
        if provider is None:
            return
        for refund in await bookings.pending_refunds(REFUNDS_MAX):
            try:
                done = await provider.refund(
                    refund.refund_id, refund.payment_id, refund.amount_minor
                )
            except ProviderUnavailable:
                continue
            await bookings.settle_refund(refund.refund_id, done)

    async def send_money_back(self) -> None:
        """Every refund that the projection shows as pending; the provider does each id once."""
        for refund in await self._ports.projections.pending_refunds(REFUNDS_MAX):
            await self._send_back(refund)

    async def _send_back(self, refund: PendingRefund) -> None:
        provider = self._ports.payments
        event_id = ids.event_of_order(refund.order_id)
        if provider is None or event_id is None:
            return
        try:
            done = await provider.refund(refund.refund_id, refund.payment_id, refund.amount_minor)
        except ProviderUnavailable:
            return
        settled = SettleRefund(refund.order_id, refund.refund_id, done)
        await self._ports.mailbox.ask(event_id, settled)
