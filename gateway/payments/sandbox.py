"""The embedded payment provider: no bank behind it, all else as with a real one.

It keeps books of its own, answers the same id with the same intent, and tells
the outcome by a webhook signed as Stripe signs (`t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">`,
five minutes' tolerance: https://docs.stripe.com/webhooks#verify-manually).
"""

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
from msgspec import Struct

from engine.projection import SandboxPayment
from gateway.payments.provider import BadSignature, Intent, Outcome, PaymentWord
from gateway.signatures import signature, signed

SIGNATURE_HEADER = "Sandbox-Signature"
TOLERANCE_S = 300


class SandboxBooks(Protocol):
    """Where the sandbox writes things down; they survive restarts as a bank's do."""

    async def open(
        self, payment_id: str, paid_for: str, amount_minor: int, currency: str
    ) -> None: ...

    async def decide(self, payment_id: str, outcome: str) -> SandboxPayment | None: ...

    async def refund(self, refund_id: str, payment_id: str, amount_minor: int) -> None: ...

    async def untold(self) -> list[SandboxPayment]: ...

    async def told(self, payment_id: str) -> None: ...


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
        self._books = books
        self._secret = secret.encode()
        self._deliver = deliver
        self._clock_s = clock_s

    async def create(
        self, payment_id: str, paid_for: str, amount_minor: int, currency: str, method: str
    ) -> Intent:
        await self._books.open(payment_id, paid_for, amount_minor, currency)
        secret = hmac.digest(self._secret, payment_id.encode(), "sha256").hex()[:32]
        return Intent(
            payment_id,
            "requires_action",
            client_secret=secret,
            checkout_url=f"/v1/sandbox/payments/{payment_id}",
        )

    async def refund(self, refund_id: str, payment_id: str, amount_minor: int) -> bool:
        await self._books.refund(refund_id, payment_id, amount_minor)
        return True

    async def decide(self, payment_id: str, outcome: Outcome) -> SandboxPayment | None:
        """The payer acts; the webhook follows at once, and again until it is taken."""
        decided = await self._books.decide(payment_id, outcome.value)
        if decided is not None:
            await self._tell(decided)
        return decided

    async def tell_the_untold(self) -> None:
        for payment in await self._books.untold():
            await self._tell(payment)

    async def _tell(self, payment: SandboxPayment) -> None:
        assert payment.outcome is not None
        body = msgspec.json.encode(
            _WebhookBody(payment.payment_id, Outcome(payment.outcome), payment.amount_minor)
        )
        if await self._deliver(body, {SIGNATURE_HEADER: self.sign(body)}):
            await self._books.told(payment.payment_id)

    def sign(self, body: bytes) -> str:
        return signed(self._secret, int(self._clock_s()), body)

    def word(self, headers: Mapping[str, str], body: bytes) -> PaymentWord:
        parts = dict(
            part.split("=", 1)
            for part in headers.get(SIGNATURE_HEADER, "").split(",")
            if "=" in part
        )
        told = parts.get("t", "")
        if not (told.isascii() and told.isdigit() and len(told) < 12):
            raise BadSignature
        fresh = abs(self._clock_s() - int(told)) <= TOLERANCE_S
        ours = signature(self._secret, int(told), body)
        if not (fresh and hmac.compare_digest(ours, parts.get("v1", ""))):
            raise BadSignature
        webhook = msgspec.json.decode(body, type=_WebhookBody)
        return PaymentWord(webhook.payment_id, webhook.outcome, webhook.amount)
