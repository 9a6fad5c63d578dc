"""What hiring a hall costs: its deposit, what is ordered beside it, and the invoice.

Amounts are integers in minor units of the booking's currency.
"""

from enum import StrEnum

from msgspec import Struct

from engine.catalogue import Booking, BookingStatus

ADDONS_MAX = 100


class DepositStatus(StrEnum):
    OPEN = "open"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    RETURNED = "returned"


class Deposit(Struct, frozen=True):
    """A payment of a booking's deposit, as the provider is asked for it."""

    payment_id: str
    booking_id: str
    amount_minor: int
    currency: str
    method: str
    status: DepositStatus = DepositStatus.OPEN


class Addon(Struct, frozen=True):
    """`type`: CATERING, AV, or whatever else a venue has to offer."""

    addon_id: str
    booking_id: str
    type: str
    description: str
    cost: int


class Invoice(Struct, frozen=True):
    """`balance` = `hire` + the add-ons' costs - `deposit_paid`."""

    booking_id: str
    currency: str
    hire: int
    addons: tuple[Addon, ...]
    deposit_paid: int
    balance: int


def invoice(booking: Booking, addons: tuple[Addon, ...]) -> Invoice:
    """What is to be paid as things stand.

    Of a cancelled booking that is what the venue keeps, and it has been paid: the deposit's rest.
    """
    paid = booking.deposit_paid - booking.deposit_refunded
    cancelled = booking.status is BookingStatus.CANCELLED
    hire = paid if cancelled else booking.hire_amount
    owed = () if cancelled else addons
    balance = hire + sum(addon.cost for addon in owed) - paid
    return Invoice(booking.booking_id, booking.currency, hire, owed, paid, balance)
