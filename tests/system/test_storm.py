"""A storm of payments with every fault and two kills: by the bank's ledger, money ends right."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.commands import SettleRefund
from engine.order import Order
from loadtests.bank import BankLine, BankRefund, disagreements
from loadtests.storm import FAULT_SHARES, HOLD_S, storm
from tests.engine.stage import FLOOR, Stage
from tests.server import running

ORDERS = 120
SEED = 20


async def test_after_a_storm_money_taken_is_places_or_has_gone_back_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    settings = {"STAMPEDE_ORDER_HOLD_SECONDS": str(HOLD_S)}
    async with running(folder, settings) as server:
        outcome = await storm(server, ORDERS, SEED, lambda line: None)
    assert outcome.wrong == []
    assert outcome.sent_back_minor > 0
    assert outcome.taken_minor > outcome.sent_back_minor
    assert len(outcome.faults) > len(FAULT_SHARES) / 2, "a few may not be drawn by so few"


# The checker itself: what is wrong, it finds.


def _booked() -> tuple[Order, BankLine]:
    """An order of two places, one of them given back, and the bank's line of it."""
    stage = Stage()
    order_id = stage.sell((FLOOR, 2)).order_id
    refund = stage.refund_order(order_id, 0)
    stage.ask(refund)
    stage.ask(SettleRefund(order_id, refund.refund_id, True))
    back = BankRefund(refund.refund_id, 5_000, "done")
    order = stage.state.order_by_id[order_id]
    assert order.paid_by is not None
    return order, BankLine(order.paid_by, order_id, 10_000, "succeeded", [back])


def _twice(line: BankLine) -> BankLine:
    again = replace(line.refunds[0], refund_id=f"{line.refunds[0].refund_id}-1")
    return replace(line, refunds=[*line.refunds, again])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_twice, "sent back twice"),
        (lambda line: replace(line, refunds=[]), "0 sent back"),
        (lambda line: replace(line, outcome="declined"), "the bank has no money"),
        (lambda line: replace(line, amount=10_001), "10001 taken"),
        (lambda line: replace(line, payment_id="pay_another"), "nobody has asked"),
    ],
)
def test_the_checker_finds_what_is_wrong(spoil: Callable[[BankLine], BankLine], told: str) -> None:
    order, line = _booked()
    assert disagreements([line], [order]) == []
    assert any(told in sentence for sentence in disagreements([spoil(line)], [order]))
