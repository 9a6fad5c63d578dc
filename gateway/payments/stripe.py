"""Stripe: PaymentIntents and refunds, by the `stripe` package (the extra of that name).

Rules of this file:

- What is created carries an idempotency key of ours. Stripe forgets keys after a day, so a refund
  is looked for among its payment's refunds first, by our ids in its metadata.
- Nothing blocks the loop: the package's calls go by a client of ours on aiohttp. Its own one leaves
  a connection open whose answer never ends.
- The package repeats nothing by itself: whoever asked asks again, when it is due.
- Neither keys nor bodies are logged.

https://docs.stripe.com/payments/payment-intents https://docs.stripe.com/refunds
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp
import msgspec
import stripe
from msgspec import Struct

from engine.projection import Asked, DueRefund
from gateway.payments.provider import (
    BadSignature,
    Created,
    Intent,
    Known,
    Outcome,
    PaymentWord,
    ProviderRefuses,
    ProviderUnavailable,
    RefundStanding,
    RefundWord,
    Standing,
)
from gateway.signatures import is_signed

API_VERSION = "2026-10-28.endive"  # what the shapes below are of, whatever the account's default
SIGNATURE_HEADER = "Stripe-Signature"
TIMEOUT_S = 10.0
REFUNDS_A_PAYMENT_MAX = 100  # Stripe's page
DECLINED = "payment_intent.payment_failed"
_STATUS_SHOWN = {"processing": "processing", "succeeded": "processing"}
_REFUND_STANDING = {
    "succeeded": RefundStanding.DONE,
    "failed": RefundStanding.REFUSED,
    "canceled": RefundStanding.REFUSED,
}

_T = TypeVar("_T")


class _Object(Struct, frozen=True):
    """Of a webhook: a PaymentIntent, or a refund."""

    metadata: dict[str, str] | None = None
    amount_received: int = 0


class _Data(Struct, frozen=True):
    object: _Object


class _Event(Struct, frozen=True):
    type: str
    data: _Data


class _Http(stripe.HTTPClient):
    name = "aiohttp"

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s))

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            async with self._session.request(method, url, headers=headers, data=post_data) as got:
                return await got.read(), got.status, got.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            raise stripe.APIConnectionError(repr(error)) from error  # type: ignore[no-untyped-call]

    async def close_async(self) -> None:
        await self._session.close()


class Stripe:
    """`secrets` of the webhook's endpoint: the new one and the old one, while they are changed."""

    name = "stripe"

    def __init__(
        self,
        api_key: str,
        secrets: Sequence[str],
        *,
        api_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._secrets = [secret.encode() for secret in secrets]
        self._clock_s = clock_s
        self._http = _Http(timeout_s)
        self._client = stripe.StripeClient(
            api_key,
            stripe_version=API_VERSION,
            http_client=self._http,
            base_addresses={"api": api_url} if api_url is not None else {},
            max_network_retries=0,
        )

    async def close(self) -> None:
        await self._http.close_async()

    async def create(self, asked: Asked) -> Created:
        found = await self._created(asked)
        status = _STATUS_SHOWN.get(found.status, "requires_action")
        return Created(Intent(asked.payment_id, status, found.client_secret), found.id)

    async def look(self, asked: Asked) -> Known:
        return _known(await self._found(asked))

    async def cancel(self, asked: Asked) -> Known:
        reference = asked.reference or (await self._created(asked)).id
        try:
            cancelled = await _answered(self._client.v1.payment_intents.cancel_async(reference))
        except ProviderRefuses:  # it has succeeded, is being paid, or was cancelled
            return await self.look(asked)
        return _known(cancelled)

    async def refund(self, refund: DueRefund) -> RefundStanding:
        reference = refund.asked.reference
        if reference is None:  # nobody knows which payment: somebody has to look at that
            raise ProviderUnavailable
        refunds = self._client.v1.refunds
        listed = await _answered(
            refunds.list_async({"payment_intent": reference, "limit": REFUNDS_A_PAYMENT_MAX})
        )
        made = [one for one in listed.data if _ours(one, "refund_id") == refund.refund_id]
        for one in made:
            if one.status not in ("failed", "canceled"):
                return _REFUND_STANDING.get(one.status or "", RefundStanding.PENDING)
            if _ours(one, "attempt") == str(refund.attempt):
                return RefundStanding.REFUSED
        return await self._send_back(refund, reference)

    async def _send_back(self, refund: DueRefund, reference: str) -> RefundStanding:
        try:
            sent = await _answered(
                self._client.v1.refunds.create_async(
                    {
                        "payment_intent": reference,
                        "amount": refund.amount_minor,
                        "metadata": {
                            "refund_id": refund.refund_id,
                            "attempt": str(refund.attempt),
                        },
                    },
                    {"idempotency_key": f"{refund.refund_id}-{refund.attempt}"},
                )
            )
        except ProviderRefuses:
            return RefundStanding.REFUSED
        return _REFUND_STANDING.get(sent.status or "", RefundStanding.PENDING)

    def word(self, headers: Mapping[str, str], body: bytes) -> PaymentWord | RefundWord | None:
        if not is_signed(headers.get(SIGNATURE_HEADER, ""), body, self._secrets, self._clock_s()):
            raise BadSignature
        try:
            event = msgspec.json.decode(body, type=_Event)
        except msgspec.DecodeError:
            return None  # of another shape
        subject = event.data.object
        ours = subject.metadata or {}
        payment_id, refund_id = ours.get("payment_id"), ours.get("refund_id")
        if event.type == "payment_intent.succeeded" and payment_id is not None:
            return PaymentWord(payment_id, Outcome.SUCCEEDED, subject.amount_received)
        if event.type in (DECLINED, "payment_intent.canceled") and payment_id is not None:
            return PaymentWord(payment_id, Outcome.DECLINED, 0)
        if event.type in ("refund.updated", "refund.failed") and refund_id is not None:
            return RefundWord(refund_id)
        return None  # an account's other business

    async def _created(self, asked: Asked) -> stripe.PaymentIntent:
        """The same again for the same id, for a day; after that there is a reference."""
        return await _answered(
            self._client.v1.payment_intents.create_async(
                {
                    "amount": asked.amount_minor,
                    "currency": asked.currency.lower(),
                    "automatic_payment_methods": {"enabled": True},
                    "metadata": {"payment_id": asked.payment_id, "paid_for": asked.paid_for},
                },
                {"idempotency_key": asked.payment_id},
            )
        )

    async def _found(self, asked: Asked) -> stripe.PaymentIntent:
        """As it is now: what the same key answers is how it was when it was created."""
        reference = asked.reference or (await self._created(asked)).id
        return await _answered(self._client.v1.payment_intents.retrieve_async(reference))


def _ours(refund: stripe.Refund, name: str) -> str | None:
    return getattr(refund.metadata, name, None)


def _known(found: stripe.PaymentIntent) -> Known:
    match found.status:
        case "succeeded":
            return Known(Standing.SUCCEEDED, found.amount_received)
        case "canceled":
            return Known(Standing.CANCELLED)
        case "requires_payment_method" if found.last_payment_error is not None:
            return Known(Standing.DECLINED)
        case _:
            return Known(Standing.WAITING)


async def _answered(call: Awaitable[_T]) -> _T:
    """Raises ProviderRefuses, or ProviderUnavailable where it may be that it has happened."""
    try:
        return await call
    except stripe.IdempotencyError:
        raise  # the same id for something else: that is a bug
    except (stripe.InvalidRequestError, stripe.CardError) as error:
        raise ProviderRefuses from error
    except stripe.StripeError as error:  # no answer, half of one, 5xx, 429, no valid key
        raise ProviderUnavailable from error
