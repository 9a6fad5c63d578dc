"""The port to a payment provider. Its word comes back as a signed webhook, never as an answer."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    DECLINED = "declined"


class Intent(Struct, frozen=True):
    """A payment that the provider knows of and that waits for its payer."""

    payment_id: str
    status: str  # "requires_action" or "processing"
    client_secret: str | None = None
    checkout_url: str | None = None


class PaymentWord(Struct, frozen=True):
    """What a verified webhook says."""

    payment_id: str
    outcome: Outcome
    amount_minor: int


class BadSignature(Exception):
    """The webhook is not the provider's, or too old."""


class ProviderUnavailable(Exception):
    """The provider gave no answer; asking again with the same id is safe."""


class PaymentProvider(Protocol):
    name: str

    async def create(
        self, payment_id: str, paid_for: str, amount_minor: int, currency: str, method: str
    ) -> Intent:
        """Ask for a payment; the same `payment_id` again answers the same intent.

        `paid_for`: the order or the booking. Raises ProviderUnavailable.
        """
        ...

    async def refund(self, refund_id: str, payment_id: str, amount_minor: int) -> bool:
        """Send money back, once for each `refund_id`; False where the provider refuses for good.

        Raises ProviderUnavailable.
        """
        ...

    def word(self, headers: Mapping[str, str], body: bytes) -> PaymentWord:
        """What a webhook says. Raises BadSignature."""
        ...
