"""What the facts of one sale add up to, counted anew without the engine's rules.

Rules of this file:

- It knows facts and nothing else: neither `sale.apply` nor the projector has a say in it, so that a
  mistake of theirs shows up as a difference.
- It never raises. What facts can't say together is collected as sentences, and the count goes on.
- The facts are given in order; at any time it is what they add up to so far.
"""

from itertools import pairwise
from typing import assert_never

from msgspec import Struct

from engine import facts as f
from engine.order import OrderStatus
from engine.purchase import PaymentStatus, RefundStatus
from engine.scan import scan_key
from engine.state import KEY_KEPT_MS
from engine.ticket import TicketStatus, token_digest
from persistence.recount_promos import Promos
from persistence.recount_scans import Scan, admissions, stay_of, totals
from persistence.recount_waiting import Waiters


class Ticket(Struct, gc=False):
    tier_id: str
    price_minor: int
    digest: bytes
    issued_at_ms: int
    status: TicketStatus = TicketStatus.VALID
    used: bool = False
    checked_in_at_ms: int | None = None
    admitted_by: Scan | None = None
    visits: list[Scan] = []
    transferred_from: int | None = None
    holder_id: str | None = None

    @property
    def shown(self) -> TicketStatus:
        return TicketStatus.USED if self.used and self.status is TicketStatus.VALID else self.status


class Order(Struct):
    placed: f.OrderPlaced
    status: OrderStatus = OrderStatus.PENDING
    cancel_reason: f.CancelReason | None = None
    confirmed_at_ms: int | None = None
    paid_by: str | None = None
    refunded_minor: int = 0
    tickets: list[Ticket] = []

    @property
    def total_minor(self) -> int:
        return sum(_cost(item) for item in self.placed.items)


class Payment(Struct, gc=False):
    order_id: str
    method: str
    amount_minor: int
    seq: int
    status: PaymentStatus = PaymentStatus.OPEN
    taken_minor: int = 0
    taken_at_ms: int | None = None


class Refund(Struct, gc=False):
    order_id: str
    payment_id: str | None
    amount_minor: int
    seq: int
    status: RefundStatus
    owed_at_ms: int
    settled_at_ms: int | None = None
    attempt: int = 0


class Places(Struct, gc=False):
    """Of one tier."""

    quantity: int
    held: int = 0
    sold: int = 0

    @property
    def sound(self) -> bool:
        return self.held >= 0 and self.sold >= 0 and self.held + self.sold <= self.quantity


class Recount:
    def __init__(self, sale_id: str) -> None:
        self.sale_id = sale_id
        self.seq = 0
        self.wrong: list[str] = []
        self.orders: dict[str, Order] = {}
        self.payments: dict[str, Payment] = {}
        self.refunds: dict[str, Refund] = {}
        self.scans: dict[tuple[str, str], Scan] = {}
        self.tiers: dict[str, Places] = {}
        self.waiters = Waiters()
        self.promos = Promos()
        self.admitted = 0
        self.exited = 0
        self.sealed: set[str] = set()  # orders with personal data
        self._unsound: set[str] = set()  # tiers, each told of once
        self._digests: set[bytes] = set()
        self._placed_by_key: dict[bytes, int] = {}  # when the key placed its order

    @property
    def kept_minor(self) -> int:
        paid = [order for order in self.orders.values() if order.paid_by is not None]
        return sum(order.total_minor - order.refunded_minor for order in paid)

    @property
    def returned_minor(self) -> int:
        return sum(refund.amount_minor for refund in self.refunds.values())

    # Facts.

    def take(self, entry: f.Entry) -> None:
        self.seq = entry.seq
        try:
            self._take(entry)
        except LookupError as unknown:
            self._say(f"it speaks of {unknown}, which no fact before it has made", entry)
        for tier_id, places in self.tiers.items():
            if not places.sound and tier_id not in self._unsound:
                self._unsound.add(tier_id)
                taken = f"{places.held} held and {places.sold} sold"
                self._say(f"{taken} of {places.quantity} places of {tier_id}", entry)

    def _say(self, what: str, entry: f.Entry) -> None:
        self.wrong.append(f"fact {entry.seq} ({type(entry.fact).__name__}): {what}")

    def _complain(self, what: str | None, entry: f.Entry) -> None:
        if what is not None:
            self._say(what, entry)

    def _take(self, entry: f.Entry) -> None:
        fact = entry.fact
        match fact:
            case f.OrderPlaced():
                self._placed(fact, entry)
            case f.OrderCancelled():
                self._cancelled(fact, entry)
            case f.OrderConfirmed():
                self._confirmed(fact, entry)
            case f.PaymentRequested():
                self.payments[fact.payment_id] = Payment(
                    fact.order_id, fact.method, fact.amount_minor, entry.seq
                )
            case f.PaymentDeclined():
                self.payments[fact.payment_id].status = PaymentStatus.DECLINED
            case f.MoneyReturned():
                self._returned(fact, entry)
            case f.OrderRefunded():
                self._refunded(fact, entry)
            case f.RefundSettled():
                settled = RefundStatus.DONE if fact.done else RefundStatus.FAILED
                refund = self.refunds[fact.refund_id]
                refund.status, refund.settled_at_ms = settled, entry.at_ms
            case f.RefundRetried():
                refund = self.refunds[fact.refund_id]
                refund.status, refund.settled_at_ms = RefundStatus.PENDING, None
                refund.attempt += 1
            case f.TicketReissued():
                digest = self._minted(fact.token, entry)
                self.orders[fact.order_id].tickets[fact.number].digest = digest
            case f.TicketTransferred():
                self._transferred(fact, entry)
            case f.AttendeeNamed():
                self.sealed.add(fact.order_id)
            case f.WaitlistJoined():
                self.waiters.join(fact, entry.at_ms)
            case f.OfferMade():
                self._complain(self.waiters.offer(fact), entry)
                self.tiers[fact.tier_id].held += fact.quantity
            case f.OfferLapsed():
                self.waiters.by_id[fact.entry_id].end("LAPSED", entry.at_ms)
                self.tiers[fact.tier_id].held -= fact.quantity
            case f.WaitlistLeft():
                self.waiters.leave(fact, entry.at_ms)
                self.tiers[fact.tier_id].held -= fact.quantity if fact.offered else 0
            case f.TicketScanned():
                self._scanned(fact, entry)
            case f.AdmissionUndone():
                self._undone(fact, entry)
            case f.PromoConfigured():
                self.promos.configure([fact.promo])
            case f.PromoRemoved():
                self.promos.remove(fact.promo_id)
            case f.SaleOpened():
                self.promos.configure(fact.promos)
                for tier in fact.tiers:
                    self._places(tier.tier_id).quantity = tier.quantity
            case f.TierConfigured():
                self._places(fact.tier.tier_id).quantity = fact.tier.quantity
            case (
                f.PaymentAskedAgain()
                | f.OrdersArchived()
                | f.OrderRecalled()
                | f.KeysForgotten()
                | f.EntriesForgotten()
                | f.EventConfigured()
                | f.GatesConfigured()
                | f.PromoConfigured()
                | f.PromoRemoved()
                | f.SaleClosed()
                | f.EventCancelled()
                | f.EventCompleted()
            ):
                pass  # nothing to count
            case _:
                assert_never(fact)

    def _places(self, tier_id: str) -> Places:
        return self.tiers.setdefault(tier_id, Places(0))

    def _placed(self, fact: f.OrderPlaced, entry: f.Entry) -> None:
        if fact.order_id in self.orders:
            self._say(f"{fact.order_id} is placed a second time", entry)
        used_at_ms = self._placed_by_key.get(fact.key.digest)
        if used_at_ms is not None and entry.at_ms < used_at_ms + KEY_KEPT_MS:
            self._say(f"the key of {fact.order_id} has placed an order before", entry)
        self._placed_by_key[fact.key.digest] = entry.at_ms
        self.orders[fact.order_id] = Order(fact)
        self._complain(self.waiters.take(fact, entry.at_ms), entry)
        self._complain(self.promos.use(fact.promo), entry)
        if fact.offer is not None:
            self.tiers[fact.offer.tier_id].held -= fact.offer.quantity
        for item in fact.items:
            self.tiers[item.tier_id].held += item.quantity
        if fact.sealed is not None:
            self.sealed.add(fact.order_id)

    def _cancelled(self, fact: f.OrderCancelled, entry: f.Entry) -> None:
        order = self.orders[fact.order_id]
        if order.status is not OrderStatus.PENDING:
            self._say(f"{fact.order_id} is {order.status.value}", entry)
        order.status, order.cancel_reason = OrderStatus.CANCELLED, fact.reason
        self.promos.give_back(order.placed.promo)
        for item in order.placed.items:
            self.tiers[item.tier_id].held -= item.quantity

    def _confirmed(self, fact: f.OrderConfirmed, entry: f.Entry) -> None:
        order = self.orders[fact.order_id]
        expected = OrderStatus.CANCELLED if fact.late else OrderStatus.PENDING
        if order.status is not expected:
            self._say(f"{fact.order_id} is {order.status.value}", entry)
        if fact.payment_id is not None:
            payment = self.payments[fact.payment_id]
            payment.status = PaymentStatus.SUCCEEDED
            payment.taken_minor, payment.taken_at_ms = payment.amount_minor, entry.at_ms
            if payment.amount_minor != order.total_minor:
                self._say(f"{payment.amount_minor} were paid for {order.total_minor}", entry)
        elif order.total_minor:
            self._say(f"nobody has paid the {order.total_minor} of {fact.order_id}", entry)
        if fact.late:
            self._complain(self.promos.use(order.placed.promo), entry)
        order.status, order.cancel_reason = OrderStatus.CONFIRMED, None
        order.confirmed_at_ms, order.paid_by = entry.at_ms, fact.payment_id
        for item in order.placed.items:
            self.tiers[item.tier_id].held -= 0 if fact.late else item.quantity
            self.tiers[item.tier_id].sold += item.quantity
        places = [place for item in order.placed.items for place in _places_of(item)]
        if len(places) != len(fact.tokens):
            self._say(f"{len(fact.tokens)} tickets for {len(places)} places", entry)
        order.tickets = [
            Ticket(*place, self._minted(token, entry), entry.at_ms)
            for place, token in zip(places, fact.tokens, strict=False)
        ]

    def _minted(self, token: bytes, entry: f.Entry) -> bytes:
        digest = token_digest(token)
        if digest in self._digests:
            self._say("a token is issued twice", entry)
        self._digests.add(digest)
        return digest

    def _returned(self, fact: f.MoneyReturned, entry: f.Entry) -> None:
        payment = self.payments[fact.payment_id]
        if payment.status in (PaymentStatus.SUCCEEDED, PaymentStatus.RETURNED):
            self._say(f"the money of {fact.payment_id} is {payment.status.value}", entry)
        payment.status = PaymentStatus.RETURNED
        payment.taken_minor, payment.taken_at_ms = fact.amount_minor, entry.at_ms
        self._owe(fact, entry)

    def _refunded(self, fact: f.OrderRefunded, entry: f.Entry) -> None:
        order = self.orders[fact.order_id]
        tickets = [order.tickets[number] for number in fact.ticket_numbers]
        gone = (TicketStatus.CANCELLED, TicketStatus.TRANSFERRED)
        if any(ticket.status in gone for ticket in tickets):
            self._say(f"a ticket of {fact.order_id} is taken back that is worth nothing", entry)
        if fact.amount_minor != sum(ticket.price_minor for ticket in tickets):
            self._say(f"{fact.amount_minor} is not what the tickets have cost", entry)
        for ticket in tickets:
            ticket.status = TicketStatus.CANCELLED
            self.tiers[ticket.tier_id].sold -= 1
        order.refunded_minor += fact.amount_minor
        dead = (TicketStatus.CANCELLED, TicketStatus.TRANSFERRED)
        if all(ticket.status in dead for ticket in order.tickets):
            order.status = OrderStatus.REFUNDED
        self._owe(fact, entry)

    def _transferred(self, fact: f.TicketTransferred, entry: f.Entry) -> None:
        tickets = self.orders[fact.order_id].tickets
        old = tickets[fact.number]
        if old.shown is not TicketStatus.VALID or old.transferred_from is not None:
            self._say(f"ticket {fact.number} of {fact.order_id} can't be transferred", entry)
        if len(tickets) != fact.new_number:
            self._say(f"{fact.order_id} has {len(tickets)} tickets before it", entry)
        old.status = TicketStatus.TRANSFERRED
        new = Ticket(old.tier_id, old.price_minor, self._minted(fact.token, entry), entry.at_ms)
        new.transferred_from, new.holder_id = fact.number, fact.holder_id
        tickets.append(new)
        self.sealed.add(fact.order_id)

    def _owe(self, fact: f.MoneyReturned | f.OrderRefunded, entry: f.Entry) -> None:
        if fact.refund_id in self.refunds:
            self._say(f"{fact.refund_id} is made a second time", entry)
        owed = RefundStatus.PENDING if fact.amount_minor else RefundStatus.DONE
        self.refunds[fact.refund_id] = Refund(
            fact.order_id, fact.payment_id, fact.amount_minor, entry.seq, owed, entry.at_ms
        )

    def _scanned(self, fact: f.TicketScanned, entry: f.Entry) -> None:
        if (fact.device_id, fact.nonce) in self.scans:
            self._say(f"{fact.device_id} has used the nonce {fact.nonce} before", entry)
        scan = self.scans[fact.device_id, fact.nonce] = Scan(entry.seq, entry.at_ms, fact)
        if fact.visit:
            ticket = self._ticket(fact.order_id, fact.number)
            if not ticket.visits and ticket.admitted_by is not None:
                ticket.visits.append(ticket.admitted_by)
            ticket.visits.append(scan)
            if fact.offline is not None or fact.leaving:
                self._settle(ticket)
                return
        if fact.result is not f.ScanResult.ADMIT:
            return
        ticket = self._ticket(fact.order_id, fact.number)
        in_by = ticket.admitted_by
        if in_by is not None and not _comes_before(fact, in_by):
            self._say(f"ticket {fact.number} of {fact.order_id} is in already", entry)
        if in_by is not None:
            in_by.displaced = True
        self.admitted += in_by is None
        ticket.admitted_by = scan
        ticket.checked_in_at_ms = fact.offline.at_ms if fact.offline else entry.at_ms
        ticket.used = True

    def _undone(self, fact: f.AdmissionUndone, entry: f.Entry) -> None:
        self.scans[fact.device_id, fact.nonce].undone = (entry.at_ms, fact.undone_by)
        ticket = self._ticket(fact.order_id, fact.number)
        if ticket.checked_in_at_ms is None:
            self._say(f"ticket {fact.number} of {fact.order_id} was not in", entry)
        self.admitted -= 1
        if ticket.visits:
            last = stay_of(self.scans[fact.device_id, fact.nonce], ticket.visits)
            ticket.visits = [
                v for v in ticket.visits if v.fact.leaving or stay_of(v, ticket.visits) < last
            ]
        ticket.checked_in_at_ms = ticket.admitted_by = None
        ticket.used = any(not visit.fact.leaving for visit in ticket.visits)

    def _settle(self, ticket: Ticket) -> None:
        """One more visit of a ticket that may come back: all of them anew."""
        before, after = totals(ticket.visits[:-1]), totals(ticket.visits)
        self.admitted += after[0] - before[0]
        self.exited += after[1] - before[1]
        standing = admissions(ticket.visits)
        for visit in ticket.visits:
            stands = visit in standing.values()
            visit.displaced = visit.fact.result is f.ScanResult.ADMIT and not stands
            visit.resolved = visit.fact.result is f.ScanResult.ALREADY_ADMITTED and stands
        now_in = standing.get(sum(visit.fact.leaving for visit in ticket.visits))
        ticket.admitted_by = now_in
        ticket.checked_in_at_ms = now_in.place[0] if now_in is not None else None
        ticket.used = ticket.used or bool(standing)

    def _ticket(self, order_id: str | None, number: int | None) -> Ticket:
        if order_id is None or number is None:
            raise LookupError("no ticket")
        return self.orders[order_id].tickets[number]


def _cost(item: f.Item) -> int:
    return item.quantity * item.unit_price_minor - item.discount_minor


def _places_of(item: f.Item) -> list[tuple[str, int]]:
    """Tier and cost of each place: the whole cost in steps that are as even as units allow."""
    reached = [_cost(item) * n // item.quantity for n in range(item.quantity + 1)]
    return [(item.tier_id, high - low) for low, high in pairwise(reached)]


def _comes_before(fact: f.TicketScanned, in_by: Scan) -> bool:
    """Told afterwards, both of them, and the one told last was the first to happen."""
    before = in_by.fact.offline
    return (
        fact.offline is not None
        and before is not None
        and fact.offline.displaced == scan_key(in_by.fact.device_id, in_by.fact.nonce)
        and fact.offline.at_ms < before.at_ms
    )
