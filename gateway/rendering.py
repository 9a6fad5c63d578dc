"""Orders and tickets as the API shows them.

A ticket's token is shown to its holder, and to the box office that acts for the holder; an
organizer sees the ticket without it.
"""

from collections.abc import Mapping

from msgspec import UNSET, Struct, UnsetType

from engine import ids
from engine.commands import Caller, Role
from engine.facts import OrderPlaced
from engine.money import discount_minor, subtotal_minor, total_minor
from engine.order import OrderView
from engine.purchase import Item, PromoUsed
from engine.ticket import TicketView
from gateway.http import instant
from gateway.personal import Attendee, Buyer, unseal
from gateway.ports import Projections


class ItemAnswer(Struct, frozen=True, gc=False):
    item_id: str
    tier_id: str
    quantity: int
    unit_price: int
    subtotal: int
    discount: int | UnsetType = UNSET


class PlacedAnswer(Struct, frozen=True, gc=False):
    """The answer to a placed order, and the beginning of every order's answer. With a promo code,
    the subtotals are before its discount and the total is after it.
    """

    order_id: str
    event_id: str
    buyer_id: str
    status: str
    items: list[ItemAnswer]
    total_amount: int
    currency: str
    payment_id: str | None
    created_at: str
    expires_at: str
    promo_code: str | UnsetType = UNSET
    discount_amount: int | UnsetType = UNSET


class TicketAnswer(Struct, frozen=True, gc=False):
    ticket_id: str
    order_id: str
    event_id: str
    tier_id: str
    attendee_name: str | None
    attendee_email: str | None
    status: str
    issued_at: str
    checked_in_at: str | None
    token: str | UnsetType = UNSET
    transferred_from: str | UnsetType = UNSET


class RefundAnswer(Struct, frozen=True, gc=False):
    status: str


class OrderAnswer(PlacedAnswer, frozen=True, gc=False, kw_only=True):
    cancel_reason: str | None
    confirmed_at: str | None
    buyer_email: str | None
    refunded_amount: int
    tickets: list[TicketAnswer]
    refund: RefundAnswer | UnsetType = UNSET


def items(order_id: str, lines: tuple[Item, ...], promo: PromoUsed | None) -> list[ItemAnswer]:
    return [
        ItemAnswer(
            ids.item_id(order_id, position),
            item.tier_id,
            item.quantity,
            item.unit_price_minor,
            subtotal_minor(item),
            item.discount_minor if promo is not None else UNSET,
        )
        for position, item in enumerate(lines)
    ]


def placed(event_id: str, order: OrderPlaced) -> PlacedAnswer:
    return PlacedAnswer(
        order.order_id,
        event_id,
        order.buyer_id,
        "PENDING",
        items(order.order_id, order.items, order.promo),
        total_minor(order.items),
        order.currency,
        None,
        instant(order.placed_at_ms),
        instant(order.expires_at_ms),
        *_discount(order),
    )


def _discount(order: OrderPlaced | OrderView) -> tuple[str | UnsetType, int | UnsetType]:
    if order.promo is None:
        return UNSET, UNSET
    return order.promo.code, discount_minor(order.items)


async def order_answer(view: OrderView, caller: Caller, projections: Projections) -> OrderAnswer:
    keys = await keys_of(view, projections)
    buyer = unseal(view.sealed, keys, view.order_id, Buyer) or Buyer(None)
    event_id = ids.event_of_order(view.order_id)
    assert event_id is not None
    return OrderAnswer(
        view.order_id,
        event_id,
        view.buyer_id,
        view.status,
        items(view.order_id, view.items, view.promo),
        total_minor(view.items),
        view.currency,
        view.payment_id,
        instant(view.placed_at_ms),
        instant(view.expires_at_ms),
        *_discount(view),
        cancel_reason=view.cancel_reason,
        confirmed_at=instant(view.confirmed_at_ms) if view.confirmed_at_ms else None,
        buyer_email=buyer.email,
        refunded_amount=view.refunded_minor,
        tickets=[ticket(view, t, caller, keys, buyer) for t in view.tickets],
        refund=RefundAnswer(view.refund) if view.refund else UNSET,
    )


async def ticket_answer(
    view: OrderView, number: int, caller: Caller, projections: Projections
) -> TicketAnswer:
    keys = await keys_of(view, projections)
    buyer = unseal(view.sealed, keys, view.order_id, Buyer) or Buyer(None)
    return ticket(view, view.tickets[number], caller, keys, buyer)


def ticket(
    order: OrderView,
    view: TicketView,
    caller: Caller,
    keys: Mapping[bytes, bytes],
    buyer: Buyer,
) -> TicketAnswer:
    event_id = ids.event_of_order(order.order_id)
    assert event_id is not None
    attendee = attendee_of(order.order_id, view.number, view.sealed, keys, buyer)
    return TicketAnswer(
        ids.ticket_id(order.order_id, view.number),
        order.order_id,
        event_id,
        view.tier_id,
        attendee.name,
        attendee.email,
        view.status,
        instant(view.issued_at_ms),
        instant(view.checked_in_at_ms) if view.checked_in_at_ms else None,
        ids.token_text(view.token) if sees_token(order, view, caller) else UNSET,
        ids.ticket_id(order.order_id, view.transfer.from_number) if view.transfer else UNSET,
    )


def attendee_of(
    order_id: str,
    number: int,
    sealed: bytes | None,
    keys: Mapping[bytes, bytes],
    buyer: Buyer,
) -> Attendee:
    """Who was named for the ticket: afterwards, or else when it was bought."""
    named = unseal(sealed, keys, order_id, Attendee)
    if named is None and number < len(buyer.attendees):
        named = buyer.attendees[number]
    return named or Attendee(None, None)


def sees_token(order: OrderView, view: TicketView, caller: Caller) -> bool:
    """Who has given a ticket away, and the shop it was bought in, do not see the new one's."""
    if view.transfer is not None:
        return caller.role is Role.BUYER and caller.subject == view.transfer.holder_id
    if caller.role is Role.BUYER:
        return caller.subject == order.buyer_id
    return caller.role is Role.BOX_OFFICE


async def keys_of(view: OrderView, projections: Projections) -> dict[bytes, bytes]:
    """The keys of an order's personal data; an order without any costs no look-up."""
    if view.sealed is None and all(t.sealed is None for t in view.tickets):
        return {}
    return await projections.personal_keys([view.order_id])
