"""Ids carry their route and can't be forged into another's."""

import pytest

from engine import ids

EVENT = ids.event_id(bytes(range(8)))
ORDER = ids.order_id(EVENT, bytes(range(10)))


def test_id_of_an_order_names_its_event() -> None:
    assert ids.event_of_order(ORDER) == EVENT


def test_id_of_a_ticket_names_its_order_and_number() -> None:
    for number in (0, 7, 4_999):
        ticket = ids.ticket_id(ORDER, number)
        assert ids.order_and_number_of_ticket(ticket) == (ORDER, number)


def test_id_of_a_payment_or_a_refund_names_its_order() -> None:
    assert ids.order_of_payment(ids.payment_id(ORDER, bytes(6))) == ORDER
    assert ids.order_of_payment(ids.refund_id(ORDER, bytes(6))) == ORDER


def test_event_id_is_told_from_other_text() -> None:
    assert ids.is_event(EVENT)
    assert not ids.is_event(ORDER)
    assert not ids.is_event(EVENT + "\n")
    assert not ids.is_event(EVENT.upper())


@pytest.mark.parametrize(
    "text",
    [
        "",
        EVENT,
        ORDER[:-1],
        ORDER + "0",
        ORDER + "\n",
        " " + ORDER,
        ORDER.upper(),
        ORDER.replace("ord_", "tkt_"),
        ORDER[:-1] + "g",
        ORDER[:-1] + "\N{ARABIC-INDIC DIGIT ONE}",
    ],
)
def test_what_is_no_order_id_has_no_route(text: str) -> None:
    assert ids.event_of_order(text) is None


@pytest.mark.parametrize(
    "number", ["", "-1", "01", "1.0", "1\n", "x", "9" * 7, "\N{SUPERSCRIPT TWO}"]
)
def test_what_is_no_ticket_id_has_no_route(number: str) -> None:
    assert ids.order_and_number_of_ticket(f"tkt_{ORDER[4:]}-{number}") is None


@pytest.mark.parametrize("text", [ORDER, f"pay_{ORDER[4:]}", f"pay_{ORDER[4:]}{'0' * 11}g"])
def test_what_is_no_payment_id_has_no_route(text: str) -> None:
    assert ids.order_of_payment(text) is None


def test_order_has_80_random_bits_of_its_own() -> None:
    assert ids.ORDER_RANDOM_BYTES * 8 == 80
    assert bytes(range(10)).hex() in ORDER


def test_token_is_shown_as_a_lowercase_uuid_of_36_characters() -> None:
    shown = ids.token_text(bytes.fromhex("ABCDEF0123454789ABCDEF0123456789"))
    assert shown == "abcdef01-2345-4789-abcd-ef0123456789"


def test_shard_of_an_event_is_the_same_for_ever() -> None:
    """Every installation has these numbers in its tables: a change would lose its sales."""
    shards = [ids.shard_of(ids.event_id(n.to_bytes(8)), 16) for n in range(8)]
    assert shards == [9, 15, 5, 3, 0, 6, 12, 10]


def test_events_spread_over_all_shards() -> None:
    shards = [ids.shard_of(ids.event_id(n.to_bytes(8)), 16) for n in range(1600)]
    assert set(shards) == set(range(16))
    assert max(map(shards.count, range(16))) < 200
