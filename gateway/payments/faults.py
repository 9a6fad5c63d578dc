"""What goes wrong at the sandbox: chosen for a payment, or drawn for a share of all.

What is drawn follows from the seed and the payment's id alone, so it survives any crash.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum


class Fault(StrEnum):
    DECLINE = "decline"  # whoever pays is declined
    SLOW = "slow"  # each call takes SLOW_S
    CREATE_LOST = "create_lost"  # opened, and the answer is lost
    CHARGE_LOST = "charge_lost"  # charged, and the answer is lost; the webhook comes a little later
    WEBHOOK_TWICE = "webhook_twice"
    WEBHOOK_LATE = "webhook_late"
    WEBHOOK_DISORDER = "webhook_disorder"  # an earlier decline is told after the success
    WEBHOOK_NEVER = "webhook_never"
    REFUND_REFUSED = "refund_refused"  # for good, until somebody sends it anew by hand
    REFUND_FAILS = "refund_fails"  # no answer and nothing done, twice
    REFUND_LOST = "refund_lost"  # done, and the answer is lost once
    REFUND_PENDING = "refund_pending"  # on its way for two calls


SLOW_S = 1.0
LATE_S = 4.0
LOST_S = 1.0
REFUND_FAILURES = 2
REFUND_PENDING_CALLS = 2


def drawn(seed: int, shares: Mapping[str, float], payment_id: str) -> list[Fault]:
    """Each fault by chance of its share, on its own."""
    return [fault for fault in Fault if _dice(seed, fault, payment_id) < shares.get(fault, 0.0)]


def _dice(seed: int, fault: Fault, payment_id: str) -> float:
    text = f"{seed}\n{fault}\n{payment_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / 2**64


def words(outcome: str, declined: str, faults: Iterable[Fault]) -> list[tuple[str, float]]:
    """What webhooks say of an outcome, and after how many seconds."""
    faults = set(faults)
    if Fault.WEBHOOK_NEVER in faults:
        return []
    delay_s = LATE_S if Fault.WEBHOOK_LATE in faults else 0.0
    delay_s += LOST_S if Fault.CHARGE_LOST in faults else 0.0
    told = [(outcome, delay_s)]
    if Fault.WEBHOOK_DISORDER in faults and outcome != declined:
        told.append((declined, delay_s))
    return told * (2 if Fault.WEBHOOK_TWICE in faults else 1)
