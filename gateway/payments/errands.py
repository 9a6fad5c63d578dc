"""What is done about money without anybody asking: words are heeded, missing words asked for, money
is sent back until it is there."""

import os
from functools import partial

from engine import ids
from engine.commands import ConfirmOrder, DeclinePayment, SettleRefund
from engine.projection import DueLook, DueRefund
from engine.rejections import Reason, Rejection
from engine.replies import Reply
from engine.runtime.ports import Mailbox
from engine.ticket import TOKEN_SEED_BYTES
from gateway.bookings import Bookings
from gateway.payments.asking import Payments
from gateway.payments.provider import (
    Outcome,
    PaymentProvider,
    PaymentWord,
    RefundStanding,
    Standing,
)
from gateway.payments.side_by_side import some_at_once

LOOKS_MAX = 100
REFUNDS_MAX = 100


class Errands:
    def __init__(self, payments: Payments, mailbox: Mailbox, bookings: Bookings) -> None:
        self._payments = payments
        self._mailbox = mailbox
        self._bookings = bookings

    async def heed(self, word: PaymentWord) -> Reply:
        """Tell whoever the payment is for: an order's sale, or the desk of the bookings."""
        if ids.is_deposit(word.payment_id):
            return await self._of_deposit(word)
        order_id = ids.order_of_payment(word.payment_id)
        event_id = ids.event_of_order(order_id) if order_id else None
        if order_id is None or event_id is None:
            return Rejection(Reason.UNKNOWN_PAYMENT)
        return await self._mailbox.ask(event_id, _command(order_id, word))

    async def _of_deposit(self, word: PaymentWord) -> Rejection | None:
        match word.outcome:
            case Outcome.SUCCEEDED:
                told = await self._bookings.deposit_paid(word.payment_id, word.amount_minor)
            case Outcome.DECLINED:
                told = await self._bookings.deposit_declined(word.payment_id)
        return told if isinstance(told, Rejection) else None

    async def ask_for_words(self) -> None:
        """Of payments that no webhook has told of; what is of no use any more is cancelled."""
        provider = self._payments.provider
        if provider is None:
            return
        due = await self._payments.intents.due(provider.name, LOOKS_MAX)
        await some_at_once(partial(self._look, provider), due)

    async def _look(self, provider: PaymentProvider, due: DueLook) -> None:
        payment_id = due.asked.payment_id
        known = await provider.look(due.asked)
        if due.over and known.standing in (Standing.WAITING, Standing.DECLINED):
            known = await provider.cancel(due.asked)
        reply = None
        if known.standing is Standing.SUCCEEDED:
            word = PaymentWord(payment_id, Outcome.SUCCEEDED, known.amount_minor)
            reply = await self.heed(word)
        elif known.standing is not Standing.WAITING and not due.over:
            await self.heed(PaymentWord(payment_id, Outcome.DECLINED, 0))
        final = known.standing in (Standing.SUCCEEDED, Standing.CANCELLED)
        if final and not isinstance(reply, Rejection):  # money that nobody knows is not forgotten
            await self._payments.intents.close(payment_id)

    async def send_money_back(self) -> None:
        """All that is pending; the provider does each id once."""
        provider = self._payments.provider
        if provider is None:
            return
        due = await self._payments.refunds.due(provider.name, REFUNDS_MAX)
        await some_at_once(partial(self._send_back, provider), due)

    async def heed_refund(self, refund_id: str) -> None:
        """Something has happened to it at the provider."""
        provider = self._payments.needed()
        refund = await self._payments.refunds.find(provider.name, refund_id)
        if refund is not None:
            await self._send_back(provider, refund)

    async def _send_back(self, provider: PaymentProvider, refund: DueRefund) -> None:
        """As far as it goes now."""
        standing = await provider.refund(refund)
        if standing is RefundStanding.PENDING:
            return
        done = standing is RefundStanding.DONE
        order_id = refund.asked.paid_for
        event_id = ids.event_of_order(order_id)
        if event_id is None:
            await self._bookings.settle_refund(refund.refund_id, done)
        else:
            await self._mailbox.ask(event_id, SettleRefund(order_id, refund.refund_id, done))


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
