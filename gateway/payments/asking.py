"""Asking the provider for a payment, and what its silence means to whoever pays."""

from typing import Protocol

from msgspec import Struct

from engine.projection import Asked, DueLook, DueRefund, RefundCounts, RefundRow
from gateway.payments.provider import Intent, PaymentProvider, ProviderRefuses, ProviderUnavailable
from gateway.problems import Problem


class Intents(Protocol):
    """What was asked of providers, and when they are asked again what became of it."""

    async def open(self, provider: str, asked: Asked) -> Asked: ...

    async def refer(self, payment_id: str, reference: str) -> None: ...

    async def due(self, provider: str, limit: int) -> list[DueLook]: ...

    async def close(self, payment_id: str) -> None: ...

    async def overdue(self) -> int: ...


class Refunds(Protocol):
    """Money on its way back."""

    async def due(self, provider: str, limit: int) -> list[DueRefund]: ...

    async def find(self, provider: str, refund_id: str) -> DueRefund | None: ...

    async def hurry(self, refund_id: str) -> None: ...

    async def counts(self) -> RefundCounts: ...

    async def of_event(
        self, event_id: str, status: str | None, after: str, limit: int
    ) -> list[RefundRow]: ...


class Payments(Struct, frozen=True):
    """`provider` None: nobody takes money here."""

    provider: PaymentProvider | None
    intents: Intents
    refunds: Refunds

    def needed(self) -> PaymentProvider:
        """Raises Problem 503 where none is set up."""
        if self.provider is None:
            raise Problem(503, "payments_unavailable", "no payment provider is set up")
        return self.provider

    async def ask(self, asked: Asked) -> Intent:
        """What the provider says of the payment; asking twice is harmless. Raises Problem 503.

        It is written down first: if the answer is lost, the provider is asked what became of it.
        """
        provider = self.needed()
        known = await self.intents.open(provider.name, asked)
        try:
            created = await provider.create(known)
        except ProviderUnavailable:
            raise unanswered() from None
        except ProviderRefuses:
            raise Problem(
                422, "payment_refused", "the payment provider does not take such a payment"
            ) from None
        if created.reference is not None and created.reference != known.reference:
            await self.intents.refer(known.payment_id, created.reference)
        return created.intent


def unanswered() -> Problem:
    return Problem(
        503,
        "outcome_unknown",
        "the payment provider does not answer; send it again with the same key",
        retryable=True,
        retry_after_s=2,
    )
