"""The payment provider's word, and the embedded provider's payer."""

import os
from typing import Literal

from aiohttp import web
from msgspec import Struct

from engine import ids
from engine.commands import ConfirmOrder, DeclinePayment
from engine.rejections import Reason, Rejection
from engine.ticket import TOKEN_SEED_BYTES
from gateway.http import Body, answer, decode, unknown
from gateway.payments.provider import BadSignature, Outcome, PaymentWord
from gateway.payments.sandbox import Sandbox
from gateway.problems import Problem, refused
from gateway.routing import ANYONE, Route, ports_of


class PayerBody(Body, frozen=True):
    outcome: Literal["succeed", "decline"]


class PayerAnswer(Struct, frozen=True):
    payment_id: str
    status: str | None


async def webhook(request: web.Request) -> web.Response:
    provider = ports_of(request).payments
    if provider is None or provider.name != request.match_info["provider"]:
        raise Problem(404, "unknown_provider", "there is no such payment provider here")
    try:
        word = provider.word(request.headers, await request.read())
    except BadSignature:
        raise Problem(400, "bad_signature", "not signed by the provider, or too old") from None
    if ids.is_deposit(word.payment_id):
        return await _of_deposit(request, word)
    order_id = ids.order_of_payment(word.payment_id)
    event_id = ids.event_of_order(order_id) if order_id else None
    if order_id is None or event_id is None:
        return unknown("payment")
    reply = await ports_of(request).mailbox.ask(event_id, _command(order_id, word))
    return refused(reply) if isinstance(reply, Rejection) else answer({"received": True})


async def _of_deposit(request: web.Request, word: PaymentWord) -> web.Response:
    bookings = ports_of(request).bookings
    match word.outcome:
        case Outcome.SUCCEEDED:
            told = await bookings.deposit_paid(word.payment_id, word.amount_minor)
        case Outcome.DECLINED:
            told = await bookings.deposit_declined(word.payment_id)
    return refused(told) if isinstance(told, Rejection) else answer({"received": True})


def _command(order_id: str, word: PaymentWord) -> ConfirmOrder | DeclinePayment:
    match word.outcome:
        case Outcome.SUCCEEDED:
            return ConfirmOrder(
                order_id,
                word.payment_id,
                word.amount_minor,
                os.urandom(TOKEN_SEED_BYTES),
                ids.refund_id(order_id, os.urandom(ids.PAYMENT_RANDOM_BYTES)),
            )
        case Outcome.DECLINED:
            return DeclinePayment(order_id, word.payment_id)


async def act_as_payer(request: web.Request) -> web.Response:
    body = await decode(request, PayerBody)
    sandbox = ports_of(request).payments
    assert isinstance(sandbox, Sandbox)
    outcome = Outcome.SUCCEEDED if body.outcome == "succeed" else Outcome.DECLINED
    payment = await sandbox.decide(request.match_info["payment_id"], outcome)
    if payment is None:
        return refused(Rejection(Reason.UNKNOWN_PAYMENT))
    return answer(PayerAnswer(payment.payment_id, payment.outcome))


ROUTES = [
    Route(
        "POST",
        "/v1/webhooks/payments/{provider}",
        webhook,
        ANYONE,
        "A provider's word",
        answers={200: dict[str, bool]},
    ),
    Route(
        "POST",
        "/v1/sandbox/payments/{payment_id}",
        act_as_payer,
        ANYONE,
        "Pay or decline, as the payer would",
        PayerBody,
        development_only=True,
        answers={200: PayerAnswer},
    ),
]
