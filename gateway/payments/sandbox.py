"""The embedded payment provider: no bank behind it, all else as with a real one.

It keeps books of its own, does what carries an id once, tells the outcome by signed webhooks until
they are taken, and goes wrong in every way that banks do, as `faults` says. Like a slow bank it
takes a payment's success also after its cancellation.
"""

import asyncio
import hmac
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from engine.projection import Asked, DueRefund, SandboxPayment, SandboxRefund, SandboxWebhook
from gateway.payments import faults
from gateway.payments.faults import Fault
from gateway.payments.provider import (
    BadSignature,
    Created,
    Intent,
    Known,
    Outcome,
    PaymentWord,
    ProviderUnavailable,
    RefundStanding,
    Standing,
)
from gateway.payments.side_by_side import some_at_once
from gateway.signatures import is_signed, signed

SIGNATURE_HEADER = "Sandbox-Signature"


class SandboxBooks(Protocol):
    """Where the sandbox writes things down; they survive restarts as a bank's do."""

    async def open(
        self,
        payment_id: str,
        paid_for: str,
        amount_minor: int,
        currency: str,
        faults: Sequence[str],
    ) -> tuple[SandboxPayment, bool]: ...

    async def find(self, payment_id: str) -> SandboxPayment | None: ...

    async def decide(
        self,
        payment_id: str,
        outcome: str,
        faults: Sequence[str],
        words: Sequence[tuple[str, float]],
    ) -> tuple[SandboxPayment, list[SandboxWebhook]] | None: ...

    async def cancel(self, payment_id: str) -> None: ...

    async def refund(
        self, refund_id: str, payment_id: str, amount_minor: int, status: str
    ) -> SandboxRefund: ...

    async def due_webhooks(self) -> list[SandboxWebhook]: ...

    async def told(self, webhook_id: int) -> None: ...

    async def set_mix(self, seed: int, shares: dict[str, float]) -> None: ...

    async def mix(self) -> tuple[int, dict[str, float]] | None: ...

    async def payments(self, after: str, limit: int) -> list[SandboxPayment]: ...

    async def refunds(self, payment_ids: Sequence[str]) -> list[SandboxRefund]: ...


class _WebhookBody(Struct, frozen=True):
    payment_id: str
    outcome: Outcome
    amount: int


class Sandbox:
    """`deliver` posts a webhook and answers whether it was taken (any 2xx)."""

    name = "sandbox"

    def __init__(
        self,
        books: SandboxBooks,
        secret: str,
        deliver: Callable[[bytes, dict[str, str]], Awaitable[bool]],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self.books = books
        self._secret = secret.encode()
        self._deliver = deliver
        self._clock_s = clock_s

    # As any provider.

    async def create(self, asked: Asked) -> Created:
        payment, new = await self.books.open(
            asked.payment_id,
            asked.paid_for,
            asked.amount_minor,
            asked.currency,
            await self._drawn(asked.payment_id),
        )
        await self._dawdle(payment)
        if new and Fault.CREATE_LOST in payment.faults:
            raise ProviderUnavailable
        secret = hmac.digest(self._secret, payment.payment_id.encode(), "sha256").hex()[:32]
        url = f"/v1/sandbox/payments/{payment.payment_id}"
        return Created(Intent(payment.payment_id, "requires_action", secret, url))

    async def look(self, asked: Asked) -> Known:
        payment = await self.books.find(asked.payment_id)
        if payment is None or payment.outcome is None:
            return Known(Standing.WAITING)
        await self._dawdle(payment)
        return Known(Standing(payment.outcome), payment.amount_minor)

    async def cancel(self, asked: Asked) -> Known:
        await self.books.cancel(asked.payment_id)
        return await self.look(asked)

    async def refund(self, refund: DueRefund) -> RefundStanding:
        """One that is done or refused stays that, for its id; another attempt has another id."""
        payment = await self.books.find(refund.asked.payment_id)
        if payment is None:  # nobody has paid it here: somebody has to look at that
            raise ProviderUnavailable
        await self._dawdle(payment)
        refund_id = f"{refund.refund_id}-{refund.attempt}" if refund.attempt else refund.refund_id
        first = await self._refunded(refund_id, refund, RefundStanding.PENDING)
        if first.status != RefundStanding.PENDING:
            return RefundStanding(first.status)
        known = set(payment.faults)
        if Fault.REFUND_REFUSED in known and not refund.attempt:
            return RefundStanding((await self._refunded(refund_id, refund, "refused")).status)
        if Fault.REFUND_FAILS in known and first.calls <= faults.REFUND_FAILURES:
            raise ProviderUnavailable
        if Fault.REFUND_PENDING in known and first.calls <= faults.REFUND_PENDING_CALLS:
            return RefundStanding.PENDING
        done = await self._refunded(refund_id, refund, RefundStanding.DONE)
        if Fault.REFUND_LOST in known:
            raise ProviderUnavailable
        return RefundStanding(done.status)

    async def _refunded(self, refund_id: str, refund: DueRefund, status: str) -> SandboxRefund:
        payment_id = refund.asked.payment_id
        return await self.books.refund(refund_id, payment_id, refund.amount_minor, status)

    def word(self, headers: Mapping[str, str], body: bytes) -> PaymentWord:
        header = headers.get(SIGNATURE_HEADER, "")
        if not is_signed(header, body, [self._secret], self._clock_s()):
            raise BadSignature
        webhook = msgspec.json.decode(body, type=_WebhookBody)
        return PaymentWord(webhook.payment_id, webhook.outcome, webhook.amount)

    # As no provider: who pays, what goes wrong, and the webhooks.

    async def decide(
        self, payment_id: str, outcome: Outcome, more: Sequence[Fault] = ()
    ) -> SandboxPayment | None:
        """The payer acts; webhooks follow at once, unless something goes wrong.

        None where the id is unknown. Raises ProviderUnavailable where the answer is lost.
        """
        known = await self.books.find(payment_id)
        if known is None:
            return None
        all_faults = [*map(Fault, known.faults), *more]
        if Fault.DECLINE in all_faults:
            outcome = Outcome.DECLINED
        told = Outcome.SUCCEEDED if known.outcome == Outcome.SUCCEEDED else outcome
        words = faults.words(told, Outcome.DECLINED, all_faults)
        decided = await self.books.decide(payment_id, outcome, more, words)
        assert decided is not None
        payment, due = decided
        if Fault.CHARGE_LOST in all_faults:
            raise ProviderUnavailable
        await self._tell(due)
        return payment

    async def tell_the_untold(self) -> None:
        """Payments side by side; what is told of one, in its order."""
        due = defaultdict(list)
        for word in await self.books.due_webhooks():
            due[word.payment_id].append(word)
        await some_at_once(self._tell, due.values())

    async def _tell(self, words: Sequence[SandboxWebhook]) -> None:
        for word in words:
            told = _WebhookBody(word.payment_id, Outcome(word.outcome), word.amount_minor)
            body = msgspec.json.encode(told)
            if await self._deliver(body, {SIGNATURE_HEADER: self.sign(body)}):
                await self.books.told(word.webhook_id)

    def sign(self, body: bytes) -> str:
        return signed(self._secret, int(self._clock_s()), body)

    async def _drawn(self, payment_id: str) -> list[Fault]:
        mix = await self.books.mix()
        return faults.drawn(*mix, payment_id) if mix is not None else []

    async def _dawdle(self, payment: SandboxPayment) -> None:
        if Fault.SLOW in payment.faults:
            await asyncio.sleep(faults.SLOW_S)
