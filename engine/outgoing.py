"""What leaves the house: the words for mails and webhooks, and their rows. Data only.

A mail or webhook is known by (kind, subject, version): written twice, it is there once.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class MailKind(StrEnum):
    ORDER_CONFIRMED = "order_confirmed"
    ORDER_REFUNDED = "order_refunded"
    MONEY_RETURNED = "money_returned"  # it came for an order that can't have it
    TICKET_REISSUED = "ticket_reissued"
    TICKET_RECEIVED = "ticket_received"  # by transfer: to who holds it now
    TICKET_GIVEN = "ticket_given"  # the same, to who held it
    OFFER_MADE = "offer_made"
    OFFER_ENDING = "offer_ending"
    EVENT_CANCELLED = "event_cancelled"
    EVENT_CHANGED = "event_changed"
    EVENT_COMPLETED = "event_completed"


MASS = (MailKind.EVENT_CANCELLED, MailKind.EVENT_CHANGED, MailKind.EVENT_COMPLETED)


class MailDetail(Struct, frozen=True, omit_defaults=True):
    """What a mail says beyond its order and event.

    `numbers`: of the order's tickets, those that it is about. `quantity`, `until_ms`: of an offer.
    """

    amount_minor: int = 0
    numbers: tuple[int, ...] = ()
    quantity: int = 0
    until_ms: int = 0


class Mail(Struct, frozen=True):
    """One to send. `delivered`: how many of its messages have been taken already."""

    mail_id: int
    kind: MailKind
    subject: str
    version: int
    event_id: str
    order_id: str | None
    detail: MailDetail
    delivered: int
    attempts: int
    created_at: datetime


class DeadMail(Struct, frozen=True):
    """One that was given up: for whoever is on call."""

    mail_id: int
    kind: str
    subject: str
    event_id: str
    attempts: int
    error: str | None
    created_at: datetime


class WebhookType(StrEnum):
    ORDER_CONFIRMED = "order.confirmed"
    ORDER_REFUNDED = "order.refunded"
    TICKET_CHECKED_IN = "ticket.checked_in"
    EVENT_SOLD_OUT = "event.sold_out"


class Endpoint(Struct, frozen=True):
    """Where an organizer hears of its events."""

    endpoint_id: str
    organizer_id: str
    url: str
    events: tuple[WebhookType, ...]
    secret: str
    is_active: bool
    failing_since: datetime | None
    created_at: datetime


class Delivery(Struct, frozen=True):
    """One call of an endpoint, made or still to be made; `data` is a JSON object."""

    delivery_id: int
    endpoint_id: str
    type: str
    data: str
    state: str
    attempts: int
    status: int | None
    error: str | None
    due_at: datetime
    happened_at: datetime


class Call(Struct, frozen=True):
    """A delivery that is due, and where it goes."""

    delivery: Delivery
    url: str
    secret: str
