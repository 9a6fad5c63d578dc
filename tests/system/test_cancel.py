"""An event is cancelled while everything is killed with -9, again and again.

`./run bench cancel` is the same with five thousand orders.
"""

from benchmarks.cancelling import cancelled
from gateway.mail.transport import CONNECTIONS_MAX

ORDERS, KILLS = 120, 3


async def test_whoever_is_killed_each_order_is_refunded_and_each_holder_mailed_once() -> None:
    found = await cancelled(ORDERS, KILLS)
    assert found.given_back > 0
    assert found.mailed > ORDERS // 2
    assert not found.unpaid, "money that went back otherwise than once and whole"
    assert not found.unmailed
    assert not found.strangers
    assert not found.twice, "a letter that went again has the same Message-ID"
    assert found.mailed_again <= KILLS * CONNECTIONS_MAX
    assert not found.alive, "orders, entries or a booking that have not ended"
    assert not found.dead_mails
