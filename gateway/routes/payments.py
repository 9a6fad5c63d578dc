"""The payment provider's word."""

from aiohttp import web

from engine.rejections import Rejection
from gateway.http import answer
from gateway.payments.asking import unanswered
from gateway.payments.errands import Errands
from gateway.payments.provider import (
    BadSignature,
    PaymentWord,
    ProviderRefuses,
    ProviderUnavailable,
    RefundWord,
)
from gateway.problems import Problem, refused
from gateway.routing import ANYONE, Route, ports_of


async def webhook(request: web.Request) -> web.Response:
    ports = ports_of(request)
    provider = ports.payments.provider
    if provider is None or provider.name != request.match_info["provider"]:
        raise Problem(404, "unknown_provider", "there is no such payment provider here")
    try:
        word = provider.word(request.headers, await request.read())
    except BadSignature:
        raise Problem(400, "bad_signature", "not signed by the provider, or too old") from None
    reply = None
    errands = Errands(ports.payments, ports.mailbox, ports.bookings)
    match word:
        case PaymentWord():
            reply = await errands.heed(word)
        case RefundWord(refund_id):
            try:
                await errands.heed_refund(refund_id)
            except (ProviderUnavailable, ProviderRefuses):
                raise unanswered() from None
        case None:
            pass
    return refused(reply) if isinstance(reply, Rejection) else answer({"received": True})


ROUTES = [
    Route(
        "POST",
        "/v1/webhooks/payments/{provider}",
        webhook,
        ANYONE,
        "A provider's word",
        answers={200: dict[str, bool]},
    ),
]
