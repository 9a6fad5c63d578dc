"""Asking the provider for a payment, and what its silence means to whoever pays."""

from gateway.payments.provider import Intent, PaymentProvider, ProviderUnavailable
from gateway.problems import Problem


def needed(provider: PaymentProvider | None) -> PaymentProvider:
    """Raises Problem 503 where none is set up."""
    if provider is None:
        raise Problem(503, "payments_unavailable", "no payment provider is set up")
    return provider


async def ask_provider(
    provider: PaymentProvider | None,
    payment_id: str,
    paid_for: str,
    amount_minor: int,
    currency: str,
    method: str,
) -> Intent:
    """What the provider says of the payment; asking twice is harmless. Raises Problem 503."""
    try:
        return await needed(provider).create(payment_id, paid_for, amount_minor, currency, method)
    except ProviderUnavailable:
        raise Problem(
            503,
            "outcome_unknown",
            "the payment provider does not answer; send it again with the same key",
            retryable=True,
            retry_after_s=2,
        ) from None
