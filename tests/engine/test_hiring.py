"""What a hall costs, when a deposit comes back, and the dates of a series."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.catalogue import Booking, BookingStatus
from engine.hiring import Addon, invoice
from engine.planning import refundable
from engine.recurring import OCCURRENCES_MAX, weekly

START = datetime(2031, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BOOKING = Booking(
    booking_id="bkg_1",
    venue_id="ven_1",
    event_id="evt_1",
    start_time=START,
    end_time=START + timedelta(hours=2),
    setup_hours_before=0,
    teardown_hours_after=0,
    status=BookingStatus.CONFIRMED,
    hire_amount=100_000,
    deposit_amount=20_000,
    deposit_refundable_days=14,
    deposit_paid=20_000,
    deposit_refunded=0,
    payment_id="dep_1",
    currency="EUR",
    expires_at=None,
    cancel_reason=None,
)
AMOUNT = st.integers(0, 10**12)


def addon(cost: int) -> Addon:
    return Addon("add_1", "bkg_1", "AV", "", cost)


@given(hire=AMOUNT, paid=AMOUNT, costs=st.lists(AMOUNT, max_size=5))
def test_an_invoice_adds_up(hire: int, paid: int, costs: list[int]) -> None:
    booking = replace(BOOKING, hire_amount=hire, deposit_amount=paid, deposit_paid=paid)
    found = invoice(booking, tuple(map(addon, costs)))
    assert (found.hire, found.deposit_paid) == (hire, paid)
    assert found.balance == hire + sum(costs) - paid


@given(paid=AMOUNT, part=st.floats(0, 1))
def test_of_a_cancelled_booking_nothing_is_owed_but_what_the_venue_keeps(
    paid: int, part: float
) -> None:
    refunded = int(paid * part)
    booking = replace(
        BOOKING,
        status=BookingStatus.CANCELLED,
        deposit_paid=paid,
        deposit_refunded=refunded,
    )
    found = invoice(booking, (addon(7),))
    assert (found.hire, found.deposit_paid, found.balance) == (paid - refunded, paid - refunded, 0)
    assert found.addons == ()


@pytest.mark.parametrize(
    ("now", "days", "back"),
    [
        (START - timedelta(days=14), 14, 20_000),
        (START - timedelta(days=14) + SECOND, 14, 0),
        (START, 0, 20_000),
        (START + SECOND, 0, 0),
    ],
)
def test_a_deposit_comes_back_until_so_many_days_before_the_start(
    now: datetime, days: int, back: int
) -> None:
    assert refundable(replace(BOOKING, deposit_refundable_days=days), now) == back


def test_what_has_gone_back_does_not_go_back_again() -> None:
    long_before = START - timedelta(days=400)
    assert refundable(replace(BOOKING, deposit_refunded=20_000), long_before) == 0


def test_weekly_dates_come_by_count_or_up_to_a_last_one() -> None:
    first = date(2031, 5, 1)
    fortnightly = [first, date(2031, 5, 15), date(2031, 5, 29)]
    assert weekly(first, 2, 3, None) == fortnightly
    assert weekly(first, 2, None, date(2031, 5, 29)) == fortnightly
    assert weekly(first, 2, None, date(2031, 6, 11)) == fortnightly
    assert weekly(first, 1, None, date(2031, 4, 30)) == []
    assert len(weekly(first, 1, None, date(2999, 1, 1))) == OCCURRENCES_MAX + 1
