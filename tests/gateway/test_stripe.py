"""Stripe, by its own package against a Stripe of ours: asked, cancelled, refunded, believed."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import stripe
from msgspec.structs import replace

from engine.projection import Asked, DueRefund
from gateway.payments.provider import (
    BadSignature,
    Known,
    Outcome,
    PaymentWord,
    ProviderRefuses,
    ProviderUnavailable,
    RefundStanding,
    RefundWord,
    Standing,
)
from gateway.payments.stripe import API_VERSION, Stripe
from gateway.signatures import is_signed, signed
from tests.server import running
from tests.shop import Shop
from tests.stripe_server import StripeServer, stripe_server
from tests.waiting import until

KEY = "sk_test_0123456789"
NEW, OLD = "whsec_new0000000", "whsec_old0000000"
ASKED = Asked("pay_1", "ord_1", 2_500, "EUR")


@pytest_asyncio.fixture
async def bank() -> AsyncIterator[StripeServer]:
    async with stripe_server() as started:
        yield started


@pytest_asyncio.fixture
async def provider(bank: StripeServer) -> AsyncIterator[Stripe]:
    made = Stripe(KEY, [NEW, OLD], api_url=bank.url)
    yield made
    await made.close()


async def asked(provider: Stripe) -> Asked:
    return replace(ASKED, reference=(await provider.create(ASKED)).reference)


async def paid(provider: Stripe, bank: StripeServer) -> Asked:
    known = await asked(provider)
    bank.pay(known.reference or "")
    return known


async def test_asking_twice_makes_one_intent_under_our_key_and_version(
    provider: Stripe, bank: StripeServer
) -> None:
    first, second = await provider.create(ASKED), await provider.create(ASKED)
    assert first == second
    assert (first.intent.payment_id, first.intent.status) == ("pay_1", "requires_action")
    assert first.intent.client_secret == "pi_0_secret_x"
    (intent,) = bank.intents.values()
    assert (intent["amount"], intent["currency"]) == (2_500, "eur")
    assert intent["metadata"] == {"payment_id": "pay_1", "paid_for": "ord_1"}
    _, _, headers = bank.seen[0]
    assert headers["Idempotency-Key"] == "pay_1"
    assert headers["Stripe-Version"] == API_VERSION == stripe.api_version
    assert headers["Authorization"] == f"Bearer {KEY}"


async def test_an_intent_whose_answer_was_lost_is_found_by_its_key(
    provider: Stripe, bank: StripeServer
) -> None:
    bank.trouble = "lost"
    with pytest.raises(ProviderUnavailable):
        await provider.create(ASKED)
    bank.pay("pi_0")
    assert await provider.look(ASKED) == Known(Standing.SUCCEEDED, 2_500)
    assert len(bank.intents) == 1


@pytest.mark.parametrize("trouble", ["500", "429", "401", "silence", "lost", "half"])
async def test_no_answer_is_no_answer_whatever_it_looks_like(
    provider: Stripe, bank: StripeServer, trouble: str
) -> None:
    known = await paid(provider, bank)
    refund = DueRefund("ref_1", 0, 2_500, known)
    hasty = Stripe(KEY, [NEW], api_url=bank.url, timeout_s=1.0)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: hasty.create(ASKED),
        lambda: hasty.refund(refund),
    ]
    if trouble != "lost":
        calls.append(lambda: hasty.look(known))
    for call in calls:
        bank.trouble = trouble
        with pytest.raises(ProviderUnavailable):
            await call()
    await hasty.close()
    assert await provider.refund(refund) is RefundStanding.DONE
    assert len(bank.refunds) == 1


async def test_what_stripe_does_not_take_is_refused_for_good(provider: Stripe) -> None:
    with pytest.raises(ProviderRefuses):
        await provider.create(replace(ASKED, amount_minor=10))


async def test_a_declined_card_leaves_the_payment_declined_and_it_can_be_cancelled(
    provider: Stripe, bank: StripeServer
) -> None:
    known = await asked(provider)
    assert await provider.look(known) == Known(Standing.WAITING)
    bank.decline("pi_0")
    assert await provider.look(known) == Known(Standing.DECLINED)
    assert await provider.cancel(known) == Known(Standing.CANCELLED)
    assert await provider.cancel(known) == Known(Standing.CANCELLED), "twice is once"


async def test_what_was_paid_before_it_could_be_cancelled_is_told(
    provider: Stripe, bank: StripeServer
) -> None:
    known = await paid(provider, bank)
    assert await provider.cancel(known) == Known(Standing.SUCCEEDED, 2_500)


async def test_a_refund_is_sent_once_even_after_stripe_has_forgotten_its_key(
    provider: Stripe, bank: StripeServer
) -> None:
    refund = DueRefund("ref_1", 0, 1_000, await paid(provider, bank))
    bank.refunds_are = "pending"
    bank.trouble = None
    assert await provider.refund(refund) is RefundStanding.PENDING
    bank.forget_keys()
    assert await provider.refund(refund) is RefundStanding.PENDING
    bank.refunds["re_0"]["status"] = "succeeded"
    bank.forget_keys()
    assert await provider.refund(refund) is RefundStanding.DONE
    other = replace(refund, refund_id="ref_2")
    bank.refunds_are = "succeeded"
    assert await provider.refund(other) is RefundStanding.DONE
    assert [r["amount"] for r in bank.refunds.values()] == [1_000, 1_000]


async def test_a_refund_that_failed_is_sent_anew_only_as_another_attempt(
    provider: Stripe, bank: StripeServer
) -> None:
    refund = DueRefund("ref_1", 0, 2_500, await paid(provider, bank))
    bank.refunds_are = "failed"
    for _ in range(2):
        assert await provider.refund(refund) is RefundStanding.REFUSED
    assert len(bank.refunds) == 1
    bank.refunds_are = "succeeded"
    again = replace(refund, attempt=1)
    for _ in range(2):
        assert await provider.refund(again) is RefundStanding.DONE
    assert len(bank.refunds) == 2
    assert await provider.refund(replace(refund, attempt=2)) is RefundStanding.DONE
    assert len(bank.refunds) == 2, "what has arrived is not sent again, whoever asks"


async def test_more_than_was_paid_is_never_sent_back(provider: Stripe, bank: StripeServer) -> None:
    refund = DueRefund("ref_1", 0, 2_501, await paid(provider, bank))
    assert await provider.refund(refund) is RefundStanding.REFUSED


# Webhooks.


def event(kind: str, **subject: Any) -> bytes:
    shape = {"id": "evt_1", "object": "event", "type": kind, "data": {"object": subject}}
    return json.dumps(shape).encode()


def believed(provider: Stripe, body: bytes, header: str) -> bool:
    try:
        provider.word({"Stripe-Signature": header}, body)
    except BadSignature:
        return False
    return True


async def test_stripe_and_we_sign_alike_and_refuse_the_same(provider: Stripe) -> None:
    now, body = int(time.time()), event("payment_intent.succeeded")
    theirs = stripe.WebhookSignature.generate_signature_header
    text = body.decode()
    good = {theirs(text, NEW), theirs(text, OLD), theirs(text, NEW, now - 290)}
    bad = {
        theirs(text, "whsec_another000"),
        theirs(text, NEW, now - 310),
        theirs(text + " ", NEW),
        theirs(text, NEW).replace("v1=", "v0="),
        "t=,v1=",
        "t=x,v1=\u00e4",
        "",
    }
    assert all(believed(provider, body, header) for header in good)
    assert not any(believed(provider, body, header) for header in bad)
    for seconds, secret, fits in [(now, NEW, True), (now - 310, NEW, False), (now, "x", False)]:
        header = signed(secret.encode(), seconds, body)
        assert is_signed(header, body, [NEW.encode()], now) is fits
        try:
            stripe.Webhook.construct_event(body, header, NEW, 300, api_key=KEY)
        except stripe.SignatureVerificationError:
            assert not fits
        else:
            assert fits
    both = f"t={now},v1={'0' * 64},{theirs(text, NEW, now).partition(',')[2]}"
    assert believed(provider, body, both), "while a secret is changed there are two signatures"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (
            event("payment_intent.succeeded", metadata={"payment_id": "pay_1"}, amount_received=7),
            PaymentWord("pay_1", Outcome.SUCCEEDED, 7),
        ),
        (
            event("payment_intent.payment_failed", metadata={"payment_id": "pay_1"}),
            PaymentWord("pay_1", Outcome.DECLINED, 0),
        ),
        (
            event("payment_intent.canceled", metadata={"payment_id": "pay_1"}),
            PaymentWord("pay_1", Outcome.DECLINED, 0),
        ),
        (event("refund.failed", metadata={"refund_id": "ref_1"}), RefundWord("ref_1")),
        (event("refund.updated", metadata={"refund_id": "ref_1"}), RefundWord("ref_1")),
        (event("payment_intent.succeeded", metadata={}), None),
        (event("payment_intent.succeeded", metadata=None), None),
        (event("charge.succeeded", metadata={"payment_id": "pay_1"}), None),
        (b'{"type": "v2.core.event"}', None),
    ],
)
async def test_a_signed_webhook_says_what_matters_here_and_nothing_else(
    provider: Stripe, body: bytes, word: Any
) -> None:
    header = signed(NEW.encode(), int(time.time()), body)
    assert provider.word({"Stripe-Signature": header}, body) == word


async def test_an_order_is_paid_refunded_and_its_refund_fails_at_stripe(
    bank: StripeServer, tmp_path: Path
) -> None:
    settings = {
        "STAMPEDE_STRIPE_SECRET_KEY": KEY,
        "STAMPEDE_STRIPE_WEBHOOK_SECRETS": f"{NEW},{OLD}",
        "STAMPEDE_STRIPE_API_URL": bank.url,
    }
    async with (
        running(tmp_path / "data", settings) as server,
        aiohttp.ClientSession() as session,
    ):
        shop = Shop(server.url, session)

        async def told(kind: str, secret: str = OLD, **subject: Any) -> int:
            body = event(kind, **subject)
            headers = {"Stripe-Signature": signed(secret.encode(), int(time.time()), body)}
            url = f"{server.url}/v1/webhooks/payments/stripe"
            async with session.post(url, data=body, headers=headers) as response:
                return response.status

        event_id, (tier_id,) = await shop.on_sale()
        told_of, silent = [(await shop.order(event_id, tier_id)).body["order_id"] for _ in range(2)]
        for order_id in (told_of, silent):
            payment_id = (await shop.pay(order_id)).body["payment_id"]
            bank.pay(bank.reference(payment_id))
            if order_id == told_of:
                subject = bank.intents[bank.reference(payment_id)]
                assert await told("payment_intent.succeeded", "whsec_wrong", **subject) == 400
                assert await told("payment_intent.succeeded", **subject) == 200
                assert await told("payment_intent.succeeded", NEW, **subject) == 200
                assert (await shop.read(order_id))["status"] == "CONFIRMED"

        async def is_so(order_id: str, **wanted: Any) -> bool:
            order = await shop.read(order_id)
            return all(order.get(name) == value for name, value in wanted.items())

        await until(lambda: is_so(silent, status="CONFIRMED"), seconds=60)
        path, till = f"/v1/orders/{told_of}/refund", await shop.box_office()
        assert (await shop.call("POST", path, {}, token=till, key="r")).status == 200
        await until(lambda: is_so(told_of, refund={"status": "done"}), seconds=60)
        (refund,) = bank.refunds.values()
        assert refund["amount"] == 2_500
        refund["status"] = "failed"  # days later
        assert await told("refund.failed", **refund) == 200
        assert (await shop.read(told_of))["refund"] == {"status": "failed"}
        refund_id = refund["metadata"]["refund_id"]
        assert (await shop.call("POST", f"/v1/refunds/{refund_id}/retry", token=till)).status == 200
        await until(lambda: is_so(told_of, refund={"status": "done"}), seconds=60)
        assert [r["status"] for r in bank.refunds.values()] == ["failed", "succeeded"]
        assert KEY not in server.log.read_text()
        assert "whsec" not in server.log.read_text()
