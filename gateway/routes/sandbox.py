"""The embedded payment provider as its payers and testers see it; only in development mode."""

from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from engine.projection import SandboxPayment, SandboxRefund
from engine.rejections import Reason, Rejection
from gateway.http import Body, answer, decode, page, page_cursor, page_limit
from gateway.payments.asking import unanswered
from gateway.payments.faults import Fault
from gateway.payments.provider import Outcome, ProviderUnavailable
from gateway.payments.sandbox import Sandbox
from gateway.problems import refused
from gateway.routing import ANYONE, Route, ports_of

Share = Annotated[float, Meta(ge=0, le=1)]


class PayerBody(Body, frozen=True):
    outcome: Literal["succeed", "decline"]
    faults: Annotated[list[Fault], Meta(max_length=len(Fault))] | None = None


class PayerAnswer(Struct, frozen=True):
    payment_id: str
    status: str | None


class MixBody(Body, frozen=True):
    """Of the payments to come, each share gets its fault."""

    shares: dict[Fault, Share]
    seed: Annotated[int, Meta(ge=0, le=2**53)] = 0


class LedgerRefund(Struct, frozen=True):
    refund_id: str
    amount: int
    status: str
    calls: int


class LedgerLine(Struct, frozen=True):
    payment_id: str
    paid_for: str
    amount: int
    currency: str
    outcome: str | None
    cancelled: bool
    faults: tuple[str, ...]
    refunds: list[LedgerRefund]


def _sandbox(request: web.Request) -> Sandbox:
    provider = ports_of(request).payments.provider
    if not isinstance(provider, Sandbox):
        raise web.HTTPNotFound
    return provider


async def act_as_payer(request: web.Request) -> web.Response:
    body = await decode(request, PayerBody)
    outcome = Outcome.SUCCEEDED if body.outcome == "succeed" else Outcome.DECLINED
    payment_id = request.match_info["payment_id"]
    try:
        payment = await _sandbox(request).decide(payment_id, outcome, body.faults or ())
    except ProviderUnavailable:
        raise unanswered() from None
    if payment is None:
        return refused(Rejection(Reason.UNKNOWN_PAYMENT))
    return answer(PayerAnswer(payment.payment_id, payment.outcome))


async def mix_faults(request: web.Request) -> web.Response:
    body = await decode(request, MixBody)
    await _sandbox(request).books.set_mix(body.seed, {f.value: s for f, s in body.shares.items()})
    return answer(body)


async def read_ledger(request: web.Request) -> web.Response:
    limit, books = page_limit(request), _sandbox(request).books
    found = await books.payments(page_cursor(request) or "", limit + 1)
    shown = found[:limit]
    refunds = await books.refunds([payment.payment_id for payment in shown])
    lines = [_line(payment, refunds) for payment in shown]
    return page(lines, shown[-1].payment_id if len(found) > limit else None)


def _line(payment: SandboxPayment, refunds: list[SandboxRefund]) -> LedgerLine:
    return LedgerLine(
        payment.payment_id,
        payment.order_id,
        payment.amount_minor,
        payment.currency,
        payment.outcome,
        payment.cancelled,
        payment.faults,
        [
            LedgerRefund(refund.refund_id, refund.amount_minor, refund.status, refund.calls)
            for refund in refunds
            if refund.payment_id == payment.payment_id
        ],
    )


ROUTES = [
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
    Route(
        "PUT",
        "/v1/sandbox/faults",
        mix_faults,
        ANYONE,
        "Let things go wrong with some of the payments to come",
        MixBody,
        development_only=True,
        answers={200: MixBody},
    ),
    Route(
        "GET",
        "/v1/sandbox/ledger",
        read_ledger,
        ANYONE,
        "What the sandbox has taken and given back",
        development_only=True,
        answers={200: list[LedgerLine]},
    ),
]
