"""What the facts of one sale add up to, and whether they may have happened at all.

Written from the contract's words and deliberately plain: nothing of the engine is used but the
facts themselves, and every sum is made anew from all orders after each of them. What can't be is an
AssertionError that names the fact.
"""

from dataclasses import dataclass, field

from engine import facts as f
from engine.commands import EventTerms, Gate, TierTerms
from engine.telling import Offline
from tests.engine.auditor_promos import PromoAudit, cost, places, places_taken, uses
from tests.engine.auditor_stays import Visit, Visits
from tests.engine.auditor_waiting import WaitlistAudit

DAY_MS = 24 * 60 * 60 * 1000
UNDO_WINDOW_MS = 15 * 60 * 1000


@dataclass
class AuditedTicket:
    tier_id: str
    price_minor: int
    tokens: list[bytes]
    alive: bool = True
    admission: tuple[str, str, int] | None = None  # device, nonce, when it was heard of
    offline_at_ms: int | None = None  # when it was, where its device told of it afterwards
    ended_at_ms: int | None = None
    received: bool = False
    visits: Visits = field(default_factory=Visits)


@dataclass
class AuditedOrder:
    placed: f.OrderPlaced
    holds: bool = True
    ended: f.CancelReason | None = None
    confirmed: bool = False
    payments: dict[str, int] = field(default_factory=dict)
    refunds: dict[str, int] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)  # refunds that are not done
    archived: bool = False
    returned: set[str] = field(default_factory=set)
    paid_by: str | None = None
    tickets: list[AuditedTicket] = field(default_factory=list)

    @property
    def total_minor(self) -> int:
        return sum(cost(item) for item in self.placed.items)


class Auditor:
    def __init__(self) -> None:
        self.seq = 0
        self.at_ms = 0
        self.stage = "unopened"
        self.terms = EventTerms("", "", 0, 0)
        self.gates: tuple[Gate, ...] = ()
        self.tiers: dict[str, TierTerms] = {}
        self.orders: dict[str, AuditedOrder] = {}
        self.scans: dict[tuple[str, str], f.TicketScanned] = {}
        self.heard_at_ms: dict[tuple[str, str], int] = {}
        self.undone: set[tuple[str, str]] = set()
        self.key_used_at_ms: dict[bytes, int] = {}
        self.tokens: set[bytes] = set()
        self.waitlist = WaitlistAudit()
        self.promos = PromoAudit()

    # Sums.

    def held(self, tier_id: str) -> int:
        lines = [i for o in self.orders.values() if o.holds for i in o.placed.items]
        ordered = sum(item.quantity for item in lines if item.tier_id == tier_id)
        return ordered + self.waitlist.offered(tier_id)

    def free(self, tier_id: str) -> int:
        return self.tiers[tier_id].quantity - self.held(tier_id) - self.sold(tier_id)

    def public(self, tier_id: str) -> int:
        """What anybody may take."""
        return 0 if self.waitlist.waiting(tier_id) else self.free(tier_id)

    def to_be_offered(self, at_ms: int) -> list[str]:
        """Tiers with free places that should be held for those who wait by now."""
        now_on_sale = [
            t
            for t in self.tiers.values()
            if t.sale_start_ms <= at_ms < min(t.sale_end_ms, self.terms.ends_at_ms)
        ]
        waited_for = [t.tier_id for t in now_on_sale if self.waitlist.waiting(t.tier_id)]
        return [t for t in waited_for if self.stage == "open" and self.free(t)]

    def sold(self, tier_id: str) -> int:
        return sum(t.alive and t.tier_id == tier_id for t in self.tickets())

    def tickets(self) -> list[AuditedTicket]:
        return [ticket for order in self.orders.values() for ticket in order.tickets]

    def money_kept(self) -> int:
        """What the orders that stand have cost their buyers."""
        paid = [o for o in self.orders.values() if o.paid_by]
        return sum(t.price_minor for o in paid for t in o.tickets if t.alive)

    def money_returned(self) -> int:
        return sum(sum(order.refunds.values()) for order in self.orders.values())

    def _may_have(self, buyer_id: str, items: tuple[f.Item, ...], entry: f.Entry) -> None:
        for item in items:
            most, before = self.tiers[item.tier_id].per_buyer_max, self.orders.values()
            taken = places_taken(before, item.tier_id, buyer_id)
            assert most is None or taken + item.quantity <= most, entry

    # Facts.

    def hear(self, entry: f.Entry) -> None:
        assert entry.seq == self.seq + 1, entry
        assert entry.at_ms >= self.at_ms, entry
        if isinstance(entry.fact, f.OrderPlaced | f.WaitlistJoined):  # nobody gets in between
            assert not self.to_be_offered(self.at_ms), entry
        self.seq, self.at_ms = entry.seq, entry.at_ms
        self._hear(entry.fact, entry)
        for tier_id, tier in self.tiers.items():
            held, sold = self.held(tier_id), self.sold(tier_id)
            assert held >= 0, entry
            assert sold >= 0, entry
            assert held + sold <= tier.quantity, entry

    def _hear(self, fact: f.Fact, entry: f.Entry) -> None:
        match fact:
            case f.SaleOpened(_, terms, tiers, gates, promos):
                self.promos.configured(*promos)
                self.stage, self.terms, self.gates = "open", terms, gates
                self.tiers |= {tier.tier_id: tier for tier in tiers}
            case f.EventConfigured(_, terms):
                self.terms = terms
            case f.TierConfigured(_, tier):
                self.tiers[tier.tier_id] = tier
            case f.GatesConfigured(_, gates):
                self.gates = gates
            case f.PromoConfigured(_, promo):
                self.promos.configured(promo)
            case f.PromoRemoved(_, promo_id):
                self.promos.by_id.pop(promo_id, None)
            case f.SaleClosed():
                self.stage = "closed"
            case f.EventCancelled():
                self.stage = "cancelled"
            case f.EventCompleted():
                self.stage = "completed"
            case f.OrderPlaced():
                self._placed(fact, entry)
            case f.OrderCancelled():
                self._cancelled(self._order(fact.order_id, entry), fact, entry)
            case f.PaymentRequested():
                self._requested(self._order(fact.order_id, entry), fact, entry)
            case f.PaymentAskedAgain():
                order = self._order(fact.order_id, entry)
                assert order.holds, entry
                assert fact.payment_id in order.payments, entry
                self._uses(fact.key.digest, entry)
            case f.PaymentDeclined():
                order = self._order(fact.order_id, entry)
                assert fact.payment_id in order.payments, entry
                assert fact.payment_id not in {order.paid_by, *order.returned}, entry
            case f.OrderConfirmed():
                self._confirmed(self._order(fact.order_id, entry), fact, entry)
            case f.MoneyReturned():
                order = self._order(fact.order_id, entry)
                assert fact.payment_id in order.payments, entry
                assert fact.payment_id not in {order.paid_by, *order.returned}, entry
                order.returned.add(fact.payment_id)
                self._pays_back(order, fact.refund_id, fact.amount_minor, entry)
            case f.OrderRefunded():
                self._refunded(self._order(fact.order_id, entry), fact, entry)
            case f.RefundSettled():
                order = self._order(fact.order_id, entry)
                assert fact.refund_id in order.refunds, entry
                (order.owed.discard if fact.done else order.owed.add)(fact.refund_id)
            case f.RefundRetried():
                order = self._order(fact.order_id, entry)
                assert fact.refund_id in order.owed, entry
            case f.OrdersArchived():
                self._archived(fact, entry)
            case f.OrderRecalled():
                self._recalled(fact, entry)
            case f.KeysForgotten():
                assert fact.until_ms <= entry.at_ms - DAY_MS, entry
            case f.TicketReissued():
                ticket = self._order(fact.order_id, entry).tickets[fact.number]
                assert ticket.alive, entry
                assert ticket.admission is None, entry
                self._minted(fact.token, entry)
                self._uses(fact.key.digest, entry)
                ticket.tokens.append(fact.token)
            case f.TicketTransferred():
                self._transferred(self._order(fact.order_id, entry), fact, entry)
            case f.AttendeeNamed():
                assert self._order(fact.order_id, entry).tickets[fact.number].alive, entry
            case f.WaitlistJoined():
                assert self.stage == "open", entry
                tier, free = self.tiers[fact.tier_id], self.free(fact.tier_id)
                self.waitlist.joined(fact, tier, free, entry)
                self._uses(fact.key.digest, entry)
            case f.OfferMade():
                assert self.stage == "open", entry
                tier, free = self.tiers[fact.tier_id], self.free(fact.tier_id)
                self.waitlist.made(fact, tier, self.terms, free, entry)
            case f.OfferLapsed():
                self.waitlist.lapsed(fact, self.tiers[fact.tier_id], self.terms, entry)
            case f.WaitlistLeft():
                self.waitlist.left(fact, self.stage, entry)
            case f.EntriesForgotten():
                self.waitlist.forgotten(fact, DAY_MS, entry)
            case f.TicketScanned():
                self._scanned(fact, entry)
            case f.AdmissionUndone():
                ticket = self._order(fact.order_id, entry).tickets[fact.number]
                assert ticket.admission is not None, entry
                device_id, nonce, at_ms = ticket.admission
                assert (device_id, nonce) == (fact.device_id, fact.nonce), entry
                assert entry.at_ms < at_ms + UNDO_WINDOW_MS, entry
                self.undone.add((device_id, nonce))
                ticket.admission = None
                ticket.visits.take_back()
                assert fact.used == any(not visit.leaving for visit in ticket.visits.told), entry

    def _placed(self, fact: f.OrderPlaced, entry: f.Entry) -> None:
        assert self.stage == "open", entry
        assert fact.order_id not in self.orders, entry
        assert fact.placed_at_ms == entry.at_ms < fact.expires_at_ms, entry
        assert len({item.tier_id for item in fact.items}) == len(fact.items) > 0, entry
        for item in fact.items:
            tier = self.tiers[item.tier_id]
            assert tier.sale_start_ms <= entry.at_ms < tier.sale_end_ms, entry
            assert 1 <= item.quantity <= tier.per_order_max, entry
            assert item.unit_price_minor == tier.price_minor, entry
        if fact.offer is not None:
            self.waitlist.taken(fact, self.tiers[fact.offer.tier_id], self.terms, entry)
        for item in fact.items:
            offered = fact.offer is not None and fact.offer.tier_id == item.tier_id
            own = fact.offer.quantity if fact.offer is not None and offered else 0
            waited_for = self.waitlist.waiting(item.tier_id)
            assert item.quantity <= own or not waited_for, entry
        self._may_have(fact.buyer_id, fact.items, entry)
        self.promos.placed(fact, self.tiers, uses(self.orders.values(), fact), entry)
        self._uses(fact.key.digest, entry)
        self.orders[fact.order_id] = AuditedOrder(fact)

    def _cancelled(self, order: AuditedOrder, fact: f.OrderCancelled, entry: f.Entry) -> None:
        assert order.holds, entry
        due = entry.at_ms >= order.placed.expires_at_ms
        assert due == (fact.reason is f.CancelReason.EXPIRED), entry
        if fact.reason is f.CancelReason.EVENT_CANCELLED:
            assert self.stage == "cancelled", entry
        order.holds = False
        order.ended = fact.reason

    def _requested(self, order: AuditedOrder, fact: f.PaymentRequested, entry: f.Entry) -> None:
        assert order.holds, entry
        assert self.stage != "cancelled", entry
        assert entry.at_ms < order.placed.expires_at_ms, entry
        assert fact.amount_minor == order.total_minor > 0, entry
        assert fact.payment_id not in order.payments, entry
        self._uses(fact.key.digest, entry)
        order.payments[fact.payment_id] = fact.amount_minor

    def _confirmed(self, order: AuditedOrder, fact: f.OrderConfirmed, entry: f.Entry) -> None:
        assert self.stage != "cancelled", entry
        if fact.late:
            assert not order.holds, entry
            assert order.ended is f.CancelReason.EXPIRED, entry
            tiers = [item.tier_id for item in order.placed.items]
            assert not any(self.waitlist.waiting(tier_id) for tier_id in tiers), entry
            self._may_have(order.placed.buyer_id, order.placed.items, entry)
            before = uses(self.orders.values(), order.placed)
            self.promos.used_once_more(order.placed, before, entry)
        else:
            assert order.holds, entry
            assert entry.at_ms < order.placed.expires_at_ms, entry
        assert not order.confirmed, entry
        if fact.payment_id is None:
            assert order.total_minor == 0, entry
        else:
            assert order.payments[fact.payment_id] == order.total_minor, entry
            assert fact.payment_id not in order.returned, entry
        if fact.key is not None:
            self._uses(fact.key.digest, entry)
        for place, token in zip(places(order.placed.items), fact.tokens, strict=True):
            self._minted(token, entry)
            order.tickets.append(AuditedTicket(*place, [token]))
        order.holds, order.ended, order.confirmed = False, None, True
        order.paid_by = fact.payment_id

    def _refunded(self, order: AuditedOrder, fact: f.OrderRefunded, entry: f.Entry) -> None:
        assert order.confirmed, entry
        assert fact.ticket_numbers, entry
        assert len(set(fact.ticket_numbers)) == len(fact.ticket_numbers), entry
        tickets = [order.tickets[number] for number in fact.ticket_numbers]
        assert all(ticket.alive for ticket in tickets), entry
        assert fact.amount_minor == sum(ticket.price_minor for ticket in tickets), entry
        assert fact.payment_id == order.paid_by, entry
        if fact.key is not None:
            self._uses(fact.key.digest, entry)
        for ticket in tickets:
            ticket.alive = False
            ticket.ended_at_ms = entry.at_ms
        self._pays_back(order, fact.refund_id, fact.amount_minor, entry)

    def _transferred(self, order: AuditedOrder, fact: f.TicketTransferred, entry: f.Entry) -> None:
        old = order.tickets[fact.number]
        assert old.alive, entry
        assert old.admission is None, entry
        assert not old.received, entry
        assert fact.new_number == len(order.tickets), entry
        assert fact.tier_id == old.tier_id, entry
        assert self.stage in ("open", "closed"), entry
        assert entry.at_ms < self.terms.starts_at_ms, entry
        self._minted(fact.token, entry)
        self._uses(fact.key.digest, entry)
        old.alive, old.ended_at_ms = False, entry.at_ms
        new = AuditedTicket(old.tier_id, old.price_minor, [fact.token], received=True)
        order.tickets.append(new)

    def _scanned(self, fact: f.TicketScanned, entry: f.Entry) -> None:
        scan = (fact.device_id, fact.nonce)
        assert scan not in self.scans, entry
        self.scans[scan] = fact
        self.heard_at_ms[scan] = entry.at_ms
        if fact.result is not f.ScanResult.ADMIT and not fact.visit:
            return
        assert fact.order_id is not None, entry
        assert fact.number is not None, entry
        ticket = self._order(fact.order_id, entry).tickets[fact.number]
        if fact.visit:
            self._visited(ticket, fact, entry)
            if fact.offline is not None or fact.leaving:
                return
        if fact.offline is not None:
            self._told(ticket, fact.offline, entry)
        assert ticket.admission is None, entry
        if fact.override_reason is None and fact.offline is None:
            assert self.stage != "cancelled", entry
            assert ticket.alive, entry
            shut = [g for g in self.gates if g.name == fact.gate and g.tier_ids]
            assert all(ticket.tier_id in gate.tier_ids for gate in shut), entry
        ticket.admission = (*scan, entry.at_ms)
        ticket.offline_at_ms = fact.offline.at_ms if fact.offline else None

    def _told(self, ticket: AuditedTicket, offline: Offline, entry: f.Entry) -> None:
        """An admission told of afterwards: of a ticket that was good then, and the earliest."""
        assert offline.told == "ADMIT", entry
        assert offline.outcome == "recorded", entry
        assert offline.at_ms <= entry.at_ms, entry
        assert ticket.ended_at_ms is None or offline.at_ms < ticket.ended_at_ms, entry
        if ticket.admission is None:
            assert offline.displaced is None, entry
            return
        device_id, nonce, _ = ticket.admission
        assert offline.displaced == f"{device_id}\n{nonce}", entry
        assert ticket.offline_at_ms is not None, entry
        assert offline.at_ms < ticket.offline_at_ms, entry
        ticket.admission = None

    def _visited(self, ticket: AuditedTicket, fact: f.TicketScanned, entry: f.Entry) -> None:
        """A scan of a ticket that may come back: by the facts, is it in?"""
        visits, admission, offline = ticket.visits, ticket.admission, fact.offline
        assert self.terms.reentry or visits.told or not fact.leaving, entry
        if not visits.told and admission is not None:
            at_ms = ticket.offline_at_ms
            when = admission[2] if at_ms is None else at_ms
            name = f"{admission[0]}\n{admission[1]}"
            visits.told.append(Visit(name, when, leaving=False, online=at_ms is None))
        name, online = f"{fact.device_id}\n{fact.nonce}", offline is None
        at_ms = offline.at_ms if offline is not None else entry.at_ms
        assert at_ms <= entry.at_ms, entry
        if offline is None:
            assert (visits.now_in() is not None) == fact.leaving or fact.leaving, entry
            assert self.terms.reentry or not fact.leaving, entry
        visits.hear(Visit(name, at_ms, fact.leaving, online), fact, entry)
        if offline is None and not fact.leaving:
            return
        if offline is not None and not fact.leaving:
            assert offline.told == "ADMIT", entry
            assert ticket.ended_at_ms is None or at_ms < ticket.ended_at_ms, entry
        now_in = visits.now_in()
        ticket.admission = ticket.offline_at_ms = None
        if now_in is not None:
            device_id, _, nonce = now_in.name.partition("\n")
            heard_at_ms = self.heard_at_ms[device_id, nonce]
            ticket.admission = (device_id, nonce, heard_at_ms)
            ticket.offline_at_ms = None if now_in.online else now_in.at_ms

    def _pays_back(
        self, order: AuditedOrder, refund_id: str, amount_minor: int, entry: f.Entry
    ) -> None:
        assert refund_id not in order.refunds, entry
        order.refunds[refund_id] = amount_minor
        if amount_minor:
            order.owed.add(refund_id)

    def _order(self, order_id: str, entry: f.Entry) -> AuditedOrder:
        """An order that something happens to, so it must be in memory."""
        order = self.orders[order_id]
        assert not order.archived, entry
        return order

    def _archived(self, fact: f.OrdersArchived, entry: f.Entry) -> None:
        assert fact.order_ids, entry
        for order_id in fact.order_ids:
            order = self._order(order_id, entry)
            assert order.ended is not None, entry
            assert not (order.holds or order.tickets or order.owed), entry
            order.archived = True

    def _recalled(self, fact: f.OrderRecalled, entry: f.Entry) -> None:
        told = fact.order
        order = self.orders[told.order_id]
        assert order.archived, entry
        order.archived = False
        placed = order.placed
        assert (told.buyer_id, told.items) == (placed.buyer_id, placed.items), entry
        assert (told.currency, told.sealed) == (placed.currency, placed.sealed), entry
        assert told.placed_at_ms == placed.placed_at_ms, entry
        assert told.expires_at_ms == placed.expires_at_ms, entry
        assert told.reason is order.ended, entry
        assert {p.payment_id: p.amount_minor for p in told.payments} == order.payments, entry
        returned = {p.payment_id for p in told.payments if p.status == "returned"}
        assert returned == order.returned, entry
        assert {r.refund_id: r.amount_minor for r in told.refunds} == order.refunds, entry
        assert all(r.status == "done" for r in told.refunds), entry

    def _uses(self, digest: bytes, entry: f.Entry) -> None:
        used_at_ms = self.key_used_at_ms.get(digest)
        assert used_at_ms is None or entry.at_ms >= used_at_ms + DAY_MS, entry
        self.key_used_at_ms[digest] = entry.at_ms

    def _minted(self, token: bytes, entry: f.Entry) -> None:
        assert len(token) == 16, entry
        assert token not in self.tokens, entry
        self.tokens.add(token)
