"""A sale comes back from any snapshot and the facts after it, byte for byte."""

import msgspec
import pytest

from engine import commands as c
from engine import facts as f
from engine import sale, snapshot
from engine.state import HEADER, State
from tests.engine.stage import BUYER, DAY_MS, EVENT, FLOOR, HOLD_MS, Stage, terms


def a_lived_in_sale() -> Stage:
    """A bit of everything has happened in it."""
    stage = Stage(terms(), terms("tier_free", price_minor=0), gates=(c.Gate("north", (FLOOR,)),))
    sold = stage.sell((FLOOR, 3))
    stage.scan(sold.tickets[0].token, "n")
    stage.scan(sold.tickets[1].token, "m")
    stage.ask(stage.undo_check_in("m"))
    stage.ask(stage.reissue_ticket(sold.order_id, 1))
    stage.ask(stage.name_attendee(sold.order_id, 1))
    stage.ask(stage.refund_order(sold.order_id, 2))
    free = stage.place(("tier_free", 1))
    stage.ask(stage.request_payment(free))
    stage.ask(c.CancelOrder(stage.place(), BUYER))
    expired = stage.place()
    payment_id = stage.request(expired)
    stage.pass_ms(HOLD_MS)
    stage.sweep_all()
    stage.ask(stage.confirm_order(expired, payment_id, 1))
    stage.request(stage.place())
    stage.ask(stage.place_order())
    return stage


def replayed(entries: list[f.Entry], state: State | None = None) -> State:
    state = state or snapshot.fresh(EVENT)
    for entry in entries:
        sale.apply(state, entry)
    return state


def encoded(state: State) -> dict[str, bytes]:
    return dict(snapshot.encode(state, snapshot.names(state)))


def test_restored_state_and_its_suffix_equal_the_replay_from_every_point() -> None:
    entries = a_lived_in_sale().entries
    whole = encoded(replayed(entries))
    for length in range(len(entries) + 1):
        state = snapshot.restore(encoded(replayed(entries[:length])))
        assert encoded(replayed(entries[length:], state)) == whole


def test_snapshot_is_the_same_in_whatever_order_its_entities_come() -> None:
    stage = a_lived_in_sale()
    entities = stage.entities()
    backwards = dict(reversed(entities.items()))
    assert encoded(snapshot.restore(backwards)) == entities


def test_entities_that_were_touched_are_all_that_changed() -> None:
    stage = Stage(opened=False)
    saved = stage.entities()
    for entry in a_lived_in_sale().entries:
        stage.state.touched.clear()
        sale.apply(stage.state, entry)
        for name, entity in snapshot.changes(stage.state, stage.state.touched):
            saved.pop(name, None)
            if entity is not None:
                saved[name] = entity
        assert saved == stage.entities(), entry


def test_restored_sale_remembers_keys_nonces_tokens_and_deadlines() -> None:
    stage = Stage(terms(quantity=3))
    order = stage.place_order((FLOOR, 2))
    placed = stage.ask(order)
    sold = stage.sell()
    scanned = stage.scan(sold.tickets[0].token, "n")
    deadline_ms = stage.state.next_deadline_ms()
    stage.state = snapshot.restore(stage.entities())
    assert stage.replay(order) == placed
    assert stage.replay(stage.check_in(sold.tickets[0].token, "n")) == scanned
    assert stage.state.next_deadline_ms() == deadline_ms == stage.now_ms + HOLD_MS
    stage.pass_ms(HOLD_MS)
    stage.sweep_all()
    assert stage.inventory() == (0, 1)


def test_restored_sale_knows_replaced_tokens() -> None:
    stage = Stage()
    order = stage.sell()
    stage.ask(stage.reissue_ticket(order.order_id))
    stage.state = snapshot.restore(stage.entities())
    assert stage.scan(order.tickets[0].token).fact.reason is f.InvalidReason.REISSUED


def test_restored_sale_remembers_the_later_use_of_a_key() -> None:
    stage = Stage(terms(sale_end_ms=Stage().now_ms + 9 * DAY_MS))
    key = stage.key()
    stage.ask(stage.place_order(key=key))
    stage.pass_ms(DAY_MS)
    later = stage.ask(stage.place_order(key=key))
    backwards = dict(reversed(stage.entities().items()))
    stage.state = snapshot.restore(backwards)
    assert stage.replay(stage.place_order(key=key)) == later


def test_cancelled_event_goes_on_unwinding_after_a_restore() -> None:
    stage = Stage()
    for _ in range(3):
        stage.sell()
        stage.place()
    stage.cancel_event()
    stage.ask(stage.sweep(2))
    stage.state = snapshot.restore(stage.entities())
    assert stage.state.next_deadline_ms() == 0
    stage.sweep_all()
    assert stage.inventory() == (0, 0)
    assert stage.auditor.money_returned() == 15_000


def test_scan_of_a_device_that_is_called_like_an_order_is_no_order() -> None:
    stage = Stage()
    token = stage.sell().tickets[0].token
    stage.ask(stage.check_in(token, "n", device_id="ord_device"))
    entities = stage.entities()
    assert encoded(snapshot.restore(entities)) == entities


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x93\x01\x02\x03"])
def test_damaged_entity_is_no_snapshot(damage: bytes) -> None:
    entities = a_lived_in_sale().entities()
    for name in (HEADER, next(name for name in entities if name != HEADER)):
        with pytest.raises(msgspec.DecodeError):
            snapshot.restore({**entities, name: damage})


def test_snapshot_without_its_header_is_none() -> None:
    entities = a_lived_in_sale().entities()
    del entities[HEADER]
    with pytest.raises(KeyError):
        snapshot.restore(entities)


def test_facts_are_applied_in_their_order_and_once() -> None:
    entries = a_lived_in_sale().entries
    state = replayed(entries[:3])
    for wrong in (entries[2], entries[4]):
        with pytest.raises(AssertionError):
            sale.apply(state, wrong)
