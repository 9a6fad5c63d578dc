"""Which payment provider a gateway has: Stripe where there is a key, else the sandbox, or none."""

import socket
from contextlib import AsyncExitStack

import aiohttp
import asyncpg

from gateway.payments.provider import PaymentProvider
from gateway.payments.sandbox import Sandbox
from gateway.settings import Settings, SettingsError
from persistence.sandbox import SandboxBooks


def provider_of(
    settings: Settings,
    webhook_secret: str,
    pool: asyncpg.Pool,
    http: aiohttp.ClientSession,
    listening: socket.socket,
    stack: AsyncExitStack,
) -> PaymentProvider | None:
    """The sandbox takes no real money, so production has no use for it. Raises SettingsError."""
    if settings.stripe_secret_key is not None:
        return _stripe(settings, stack)
    if settings.production:
        return None
    host, port = listening.getsockname()[:2]
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    shown = f"[{reachable}]" if ":" in reachable else reachable
    url = f"http://{shown}:{port}/v1/webhooks/payments/sandbox"

    async def deliver(body: bytes, headers: dict[str, str]) -> bool:
        try:
            async with http.post(url, data=body, headers=headers) as response:
                return response.status // 100 == 2
        except (aiohttp.ClientError, TimeoutError):
            return False

    return Sandbox(SandboxBooks(pool), webhook_secret, deliver)


def _stripe(settings: Settings, stack: AsyncExitStack) -> PaymentProvider:
    try:
        from gateway.payments.stripe import Stripe  # an extra, and half a second
    except ImportError:
        raise SettingsError("payments by Stripe need the package: stampede[stripe]") from None
    assert settings.stripe_secret_key is not None
    assert settings.stripe_webhook_secrets is not None
    secrets = settings.stripe_webhook_secrets.split(",")
    stripe = Stripe(settings.stripe_secret_key, secrets, api_url=settings.stripe_api_url)
    stack.push_async_callback(stripe.close)
    return stripe
