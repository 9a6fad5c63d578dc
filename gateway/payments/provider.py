"""The port to a payment provider.

Its word comes back as a signed webhook, or is asked for where none came; never as an answer to a
buyer. Every call may be made again: it carries an id of ours, and the provider does each id once.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from engine.projection import Asked, DueRefund


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    DECLINED = "declined"


class Standing(StrEnum):
    """What became of a payment. Only CANCELLED is for ever: no money will come."""

    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CANCELLED = "cancelled"


class RefundStanding(StrEnum):
    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"


class Intent(Struct, frozen=True):
    """A payment that the provider knows of and that waits for its payer."""

    payment_id: str
    status: str  # "requires_action" or "processing"
    client_secret: str | None = None
    checkout_url: str | None = None


class Created(Struct, frozen=True):
    """`reference`: the provider's own name for the payment, where it has one."""

    intent: Intent
    reference: str | None = None


class Known(Struct, frozen=True):
    """`amount_minor`: what has come, where it has succeeded."""

    standing: Standing
    amount_minor: int = 0


class PaymentWord(Struct, frozen=True):
    """What a verified webhook says of a payment."""

    payment_id: str
    outcome: Outcome
    amount_minor: int


class RefundWord(Struct, frozen=True):
    """Something has happened to a refund: the provider is to be asked what."""

    refund_id: str


class BadSignature(Exception):
    """The webhook is not the provider's, or too old."""


class ProviderUnavailable(Exception):
    """The provider gave no answer; asking again with the same id is safe."""


class ProviderRefuses(Exception):
    """The provider takes no such payment: too little, a currency it does not have."""


class PaymentProvider(Protocol):
    """Calls raise ProviderUnavailable where there is no answer, ProviderRefuses for good."""

    name: str

    async def create(self, asked: Asked) -> Created:
        """Ask for a payment; the same `payment_id` again answers the same intent."""
        ...

    async def look(self, asked: Asked) -> Known:
        """What has become of it."""
        ...

    async def cancel(self, asked: Asked) -> Known:
        """See to it that nobody pays it any more, if that can be; what has become of it."""
        ...

    async def refund(self, refund: DueRefund) -> RefundStanding:
        """Send money back, once for each `refund_id` and attempt; how far it is, if asked again."""
        ...

    def word(self, headers: Mapping[str, str], body: bytes) -> PaymentWord | RefundWord | None:
        """What a webhook says; None: nothing that matters here. Raises BadSignature."""
        ...
