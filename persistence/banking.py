"""The sandbox's own ledger against a sale's facts. Money of other providers is theirs to tell.

The bank writes first, the journal after it: what the bank has and no fact tells yet is a finding
only where nobody is going to tell of it any more.
"""

from collections import defaultdict

import asyncpg

from engine.purchase import PaymentStatus, RefundStatus
from persistence.recount import Recount

_REFUND_ID_LETTERS = 52  # what follows says which attempt it was

_PAYMENTS = """
SELECT s.payment_id, s.amount_minor, s.outcome = 'succeeded' AS taken,
    i.look_at IS NOT NULL OR EXISTS (SELECT FROM sandbox_webhooks w
        WHERE w.payment_id = s.payment_id) AS will_be_told
FROM sandbox_payments s LEFT JOIN intents i USING (payment_id)
WHERE s.order_id >= $1 AND s.order_id < $2 AND s.outcome IS NOT NULL
"""
_REFUNDS = """
SELECT r.refund_id, r.payment_id, r.amount_minor
FROM sandbox_refunds r JOIN sandbox_payments s USING (payment_id)
WHERE s.order_id >= $1 AND s.order_id < $2 AND r.status = 'done'
"""
_OURS = """
SELECT payment_id FROM intents WHERE paid_for >= $1 AND paid_for < $2 AND provider = 'sandbox'
"""


async def disagreements(
    connection: asyncpg.Connection, recount: Recount, bounds: tuple[str, ...]
) -> tuple[int, list[str]]:
    """How many payments the bank has decided, and what it tells otherwise. In one transaction."""
    known = {row["payment_id"]: row for row in await connection.fetch(_PAYMENTS, *bounds)}
    ours = {row[0] for row in await connection.fetch(_OURS, *bounds)} | known.keys()
    sent: defaultdict[str, list[int]] = defaultdict(list)
    for refund_id, _, amount_minor in await connection.fetch(_REFUNDS, *bounds):
        sent[refund_id[:_REFUND_ID_LETTERS]].append(amount_minor)
    wrong = []
    settled = (PaymentStatus.SUCCEEDED, PaymentStatus.RETURNED)
    for payment_id, payment in recount.payments.items():
        row = known.get(payment_id)
        taken = row["amount_minor"] if row is not None and row["taken"] else 0
        told = payment.taken_minor if payment.status in settled else 0
        waits = row is not None and row["will_be_told"] and not told
        if payment_id in ours and taken != told and not waits:
            wrong.append(f"{payment_id}: the bank took {taken}, the facts tell of {told}")
    unasked = known.keys() - recount.payments.keys()
    wrong += [f"{p}: the bank took it, and no fact asked for it" for p in unasked if known[p][2]]
    for refund_id, refund in recount.refunds.items():
        if refund.payment_id not in ours or not refund.amount_minor:
            continue
        amounts = sent.pop(refund_id, [])
        expected = [refund.amount_minor]
        if amounts != expected and (amounts or refund.status is RefundStatus.DONE):
            wrong.append(f"{refund_id}: the bank sent back {amounts}, the facts tell of {expected}")
    wrong += [f"{refund_id}: the bank sent it back, and no fact owes it" for refund_id in sent]
    return len(known), wrong
