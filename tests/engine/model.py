"""A naive sale, written from the contract's words: what must the answer to a command be?

`expect` tells it in one line (a refusal's code, "replayed", "unchanged", or what must have
happened) with the facts of the case, and `happened` takes what chance or the engine's freedom
decides: tokens, and which of several overdue holds a bounded sweep ended first. That orders leave
memory and come back makes no difference to any answer here.
"""

from engine import commands as c
from engine import facts as f
from tests.engine.auditor_promos import even
from tests.engine.model_books import ModelOrder, ModelTicket, digest_of
from tests.engine.model_promos import ModelPromos
from tests.engine.model_tickets import REPLAYED, UNCHANGED, ModelTickets
from tests.engine.model_waiting import Verdict

DAY_MS = 24 * 60 * 60 * 1000
KEPT_MS = 60 * 60 * 1000  # a finished order, by the sweeps of this room
GATHER_MS = 1000

Tidied = f.OrdersArchived | f.KeysForgotten | f.EntriesForgotten
Keyed = (
    c.PlaceOrder
    | c.RequestPayment
    | c.RefundOrder
    | c.ReissueTicket
    | c.TransferTicket
    | c.JoinWaitlist
)


class Model(ModelPromos, ModelTickets):
    # The verdict on a command, which is then taken to have been carried out.

    def expect(self, command: c.Command, now_ms: int) -> Verdict:
        match command:
            case (
                c.PlaceOrder()
                | c.RequestPayment()
                | c.RefundOrder()
                | c.ReissueTicket()
                | c.TransferTicket()
                | c.JoinWaitlist()
            ):
                return self._once(command, now_ms)
            case c.LeaveWaitlist():
                return self._leave(command, now_ms)
            case c.CancelOrder():
                return self._cancel(command, now_ms)
            case c.ConfirmOrder():
                return self._money_came(command, now_ms)
            case c.DeclinePayment():
                return self._decline(command)
            case c.SettleRefund():
                return self._settle(command, now_ms)
            case c.RetryRefund():
                return self._retry(command, now_ms)
            case c.NameAttendee():
                return self._refuse_ticket(command) or ("AttendeeNamed", {})
            case c.CheckIn():
                return self._check_in(command, now_ms)
            case c.UndoCheckIn():
                return self._undo(command, now_ms)
            case (
                c.ReadOrder()
                | c.ReadWaitlistEntry()
                | c.ReadTicket()
                | c.ReadDoors()
                | c.ReadSale()
                | c.Sweep()
                | c.RecallOrder()
            ):
                raise AssertionError("asked in another way")
            case c.SyncScans():
                raise AssertionError("asked in another way")
            case _:
                return self._configure(command)

    def happened(self, fact: f.Fact, now_ms: int) -> None:
        match fact:
            case f.OrderConfirmed():
                order = self.orders[fact.order_id]
                for ticket, token in zip(order.tickets, fact.tokens, strict=True):
                    ticket.digests = [digest_of(token)]
            case f.TicketReissued():
                ticket = self.orders[fact.order_id].tickets[fact.number]
                ticket.digests.append(digest_of(fact.token))
                ticket.replaced_at_ms.append(now_ms)
            case f.OrderRefunded():
                for number in fact.ticket_numbers:
                    self.orders[fact.order_id].tickets[number].ended_at_ms = now_ms
            case f.EventCancelled():
                self.cancelled_at_ms = now_ms
            case f.TicketTransferred():
                new = self.orders[fact.order_id].tickets[fact.new_number]
                new.digests = [digest_of(fact.token)]
            case f.OrdersArchived(order_ids):
                self.archived.update(order_ids)
            case f.OrderRecalled(found):
                self.archived.remove(found.order_id)
                self.orders[found.order_id].quiet_since_ms = now_ms
            case f.KeysForgotten(until_ms):
                self.forgotten_until_ms = until_ms
            case f.EntriesForgotten(entry_ids):
                for entry in self.entries:
                    entry.forgotten |= entry.entry_id in entry_ids
            case _:
                pass

    def swept(self, facts: list[f.Fact], orders_max: int, now_ms: int) -> None:
        """Holds that ran out and orders of a cancelled event, as many as were allowed; and what
        has been of no use for long enough.
        """
        self._tidied([fact for fact in facts if isinstance(fact, Tidied)], orders_max, now_ms)
        waiting: list[f.Fact] = [
            fact for fact in facts if isinstance(fact, f.OfferLapsed | f.WaitlistLeft)
        ]
        self.swept_waitlist(waiting, orders_max, now_ms)
        ended = [fact for fact in facts if not isinstance(fact, Tidied) and fact not in waiting]
        unwinding, overdue = self.to_unwind(), self.overdue(now_ms)
        due = unwinding or overdue
        assert len(ended) == min(orders_max, len(due)), facts
        for fact in ended:
            assert isinstance(fact, f.OrderCancelled | f.OrderRefunded), fact
            assert fact.order_id in due, fact
            due = due - {fact.order_id}
            order = self.orders[fact.order_id]
            if isinstance(fact, f.OrderCancelled):
                assert order.status == "PENDING", fact
                because = "expired" if order.order_id in overdue else "event_cancelled"
                assert fact.reason == because, fact
                order.status, order.cancelled_because = "CANCELLED", because
                order.quiet_since_ms = now_ms
            else:
                assert order.status == "CONFIRMED", fact
                numbers = [n for n, t in enumerate(order.tickets) if t.alive]
                assert list(fact.ticket_numbers) == numbers, fact
                self._refund_tickets(order, numbers, fact.refund_id)

    def _tidied(self, facts: list[f.Fact], most: int, now_ms: int) -> None:
        over = [at_ms for at_ms in self.kept_keys() if at_ms <= now_ms - DAY_MS]
        quiet = [o for o in self.may_leave() if o.quiet_since_ms <= now_ms - KEPT_MS]
        waited = [e for e in self.ended_entries() if e.ended_at_ms <= now_ms - DAY_MS]
        expected: list[f.Fact] = []
        if over and over[0] <= now_ms - DAY_MS - GATHER_MS:
            expected.append(f.KeysForgotten(over[:most][-1]))
        if quiet and quiet[0].quiet_since_ms <= now_ms - KEPT_MS - GATHER_MS:
            (archived,) = [fact for fact in facts if isinstance(fact, f.OrdersArchived)]
            since_ms = [self.orders[o].quiet_since_ms for o in archived.order_ids]
            assert since_ms == [order.quiet_since_ms for order in quiet[:most]], facts
            expected.append(archived)
        if waited and waited[0].ended_at_ms <= now_ms - DAY_MS - GATHER_MS:
            assert isinstance(facts[-1], f.EntriesForgotten), facts
            ended = {e.entry_id: e.ended_at_ms for e in waited}
            ended_ms = [ended[entry_id] for entry_id in facts[-1].entry_ids]
            assert ended_ms == [e.ended_at_ms for e in waited[:most]], facts
            expected.append(facts[-1])
        assert facts == expected

    # Idempotency.

    def _once(
        self,
        command: Keyed,
        now_ms: int,
    ) -> Verdict:
        used_at_ms, fingerprint = self.keys.get(command.key.digest, (-DAY_MS, b""))
        if now_ms < used_at_ms + DAY_MS:
            same = fingerprint == command.key.fingerprint
            return (REPLAYED if same else "idempotency_key_reused"), {}
        match command:
            case c.PlaceOrder():
                verdict = self._place(command, now_ms)
            case c.JoinWaitlist():
                verdict = self._join(command, now_ms)
            case c.RequestPayment():
                verdict = self._request(command, now_ms)
            case c.RefundOrder():
                verdict = self._refund(command, now_ms)
            case c.ReissueTicket():
                verdict = self._refuse_ticket(command) or ("TicketReissued", {})
            case c.TransferTicket():
                verdict = self._transfer(command, now_ms)
        if verdict[0][0].isupper():  # a refused request does not use its key up
            self.keys[command.key.digest] = (now_ms, command.key.fingerprint)
            joins = isinstance(command, c.JoinWaitlist)
            (self.joined_with.add if joins else self.joined_with.discard)(command.key.digest)
        return verdict

    # Buying.

    def _place(self, command: c.PlaceOrder, now_ms: int) -> Verdict:
        if self.stage == "unopened":
            return "unknown_event", {}
        if self.stage != "open":
            return "event_not_on_sale", {}
        wanted: dict[str, int] = {}
        for selection in command.selections:
            wanted.setdefault(selection.tier_id, 0)
            wanted[selection.tier_id] += selection.quantity
        offered = self.offer_for(command, wanted, now_ms)
        promo = self.asked_for(command.promo_code)
        for tier_id in wanted:
            by_offer = offered is not None and offered.tier_id == tier_id
            if tier_id not in self.tiers or (
                self.tiers[tier_id].hidden and not by_offer and not self.sells(promo, tier_id)
            ):
                return "unknown_tier", {"tier_id": tier_id}
        if command.offer_id is not None and offered is None:
            return "unknown_offer", {}
        if command.promo_code is not None and promo is None:
            return "unknown_promo_code", {}
        for tier_id in wanted:
            tier = self.tiers[tier_id]
            if now_ms < tier.sale_start_ms or now_ms >= tier.sale_end_ms:
                return "sale_not_active", {"tier_id": tier_id}
        if refused := self.refuse_window(promo, now_ms):
            return refused
        for tier_id, quantity in wanted.items():
            most = self.tiers[tier_id].per_order_max
            if quantity > most:
                return "max_per_order_exceeded", {"tier_id": tier_id, "max_per_order": most}
        for tier_id, quantity in wanted.items():
            too_many = self.too_many(tier_id, command.buyer_id, quantity)
            if too_many is not None:
                return "max_per_buyer_exceeded", too_many
        if refused := self.refuse_unfit(promo, wanted):
            return refused
        if command.attendees not in (None, sum(wanted.values())):
            return "attendees_mismatch", {}
        if self.used_up(promo):
            return "promo_code_used_up", {}
        for tier_id, quantity in wanted.items():
            free = self.public(tier_id)
            if offered is not None and offered.tier_id == tier_id:
                free += offered.quantity
            if quantity > free:
                case = {"tier_id": tier_id, "requested": quantity, "available": free}
                return "sold_out", dict(case)
        if offered is not None:
            self._ends(offered, "FULFILLED", now_ms)
            offered.order_id = command.order_id
        self.orders[command.order_id] = ModelOrder(
            command.order_id,
            command.buyer_id,
            {tier_id: (n, self.tiers[tier_id].price_minor) for tier_id, n in wanted.items()},
            now_ms + command.hold_ttl_ms,
            discounts=self.discounts(promo, wanted),
            promo_id=promo.promo_id if promo is not None else None,
        )
        return "OrderPlaced", {"order_id": command.order_id, "currency": self.terms.currency}

    def _cancel(self, command: c.CancelOrder, now_ms: int) -> Verdict:
        order = self._order(command.order_id, command.caller)
        if order is None:
            return "unknown_order", {}
        if order.cancelled_because == "buyer":
            return UNCHANGED, {}
        refused = self._refuse_unless_pending(order, now_ms)
        if refused:
            return refused
        order.status, order.cancelled_because = "CANCELLED", "buyer"
        order.quiet_since_ms = now_ms
        return "OrderCancelled", {"reason": "buyer"}

    def _refuse_unless_pending(self, order: ModelOrder, now_ms: int) -> Verdict | None:
        status, because = order.status_at(now_ms)
        if because == "expired":
            return "order_expired", {"expires_at_ms": order.expires_at_ms}
        if status != "PENDING":
            return "order_not_pending", {"status": status}
        return None

    # Money.

    def _request(self, command: c.RequestPayment, now_ms: int) -> Verdict:
        order = self._order(command.order_id, command.caller)
        if order is None:
            return "unknown_order", {}
        refused = self._refuse_unless_pending(order, now_ms)
        if refused:
            return refused
        if self.stage == "cancelled":
            return "order_not_pending", {}
        still_open = [p for p, status in order.payments.items() if status == "open"]
        if order.total_minor == 0:
            self._sell(order)
            return "OrderConfirmed", {"late": False, "payment_id": None}
        if still_open:
            return "PaymentAskedAgain", {"payment_id": still_open[0]}
        order.payments[command.payment_id] = "open"
        return "PaymentRequested", {"amount_minor": order.total_minor}

    def _money_came(self, command: c.ConfirmOrder, now_ms: int) -> Verdict:
        order = self.orders.get(command.order_id)
        if order is None or command.payment_id not in order.payments:
            return "unknown_payment", {}
        if order.payments[command.payment_id] in ("succeeded", "returned"):
            return UNCHANGED, {}
        self.bank[command.payment_id] = command.amount_minor
        late = self._is_late(order, now_ms)
        if command.amount_minor != order.total_minor or late is None:
            order.payments[command.payment_id] = "returned"
            order.refunds[command.refund_id] = "pending"
            case = {"amount_minor": command.amount_minor, "refund_id": command.refund_id}
            return "MoneyReturned", dict(case)
        order.payments[command.payment_id] = "succeeded"
        self._sell(order)
        return "OrderConfirmed", {"late": late, "payment_id": command.payment_id}

    def _is_late(self, order: ModelOrder, now_ms: int) -> bool | None:
        """Whether the order is confirmed in time or late; None: the money must go back."""
        if self.stage == "cancelled":
            return None
        status, because = order.status_at(now_ms)
        if status == "PENDING":
            return False
        if because != "expired" or self.stage == "completed":
            return None
        own = order.lines if order.status == "PENDING" else {}  # not swept: still its own places
        enough = [
            quantity <= self.free(tier_id) + own.get(tier_id, (0, 0))[0]
            and not self.line(tier_id)
            and (tier_id in own or self.too_many(tier_id, order.buyer_id, quantity) is None)
            for tier_id, (quantity, _) in order.lines.items()
        ]
        by_code = bool(own) or not self.used_up_for(order)
        return True if all(enough) and by_code else None

    def _sell(self, order: ModelOrder) -> None:
        order.status, order.cancelled_because = "CONFIRMED", None
        for tier_id, (quantity, price_minor) in order.lines.items():
            paid = quantity * price_minor - order.discounts.get(tier_id, 0)
            order.tickets += [ModelTicket(tier_id, p, []) for p in even(paid, quantity)]

    def _decline(self, command: c.DeclinePayment) -> Verdict:
        order = self.orders.get(command.order_id)
        if order is None or command.payment_id not in order.payments:
            return "unknown_payment", {}
        if order.payments[command.payment_id] != "open":
            return UNCHANGED, {}
        order.payments[command.payment_id] = "declined"
        return "PaymentDeclined", {}

    def _refund(self, command: c.RefundOrder, now_ms: int) -> Verdict:
        order = self._order(command.order_id, command.caller)
        if order is None:
            return "unknown_order", {}
        status, _ = order.status_at(now_ms)
        if status != "CONFIRMED":
            return "order_not_confirmed", {"status": status}
        left = [number for number, t in enumerate(order.tickets) if t.alive]
        for number in command.ticket_numbers or ():
            if number >= len(order.tickets):
                return "unknown_ticket", {}
            if number not in left:
                return "ticket_not_valid", {"status": order.tickets[number].status}
        numbers = left if command.ticket_numbers is None else sorted(set(command.ticket_numbers))
        if not command.force and any(order.tickets[n].status == "USED" for n in numbers):
            return "ticket_used", {}
        amount = sum(order.tickets[number].price_minor for number in numbers)
        self._refund_tickets(order, numbers, command.refund_id)
        return "OrderRefunded", {"amount_minor": amount, "ticket_numbers": tuple(numbers)}

    def _refund_tickets(self, order: ModelOrder, numbers: list[int], refund_id: str) -> None:
        for number in numbers:
            order.tickets[number].refunded = True
        amount = sum(order.tickets[number].price_minor for number in numbers)
        order.refunds[refund_id] = "pending" if amount else "done"
        if not any(ticket.alive for ticket in order.tickets):
            order.status = "REFUNDED"

    def _settle(self, command: c.SettleRefund, now_ms: int) -> Verdict:
        order = self.orders.get(command.order_id)
        if order is None or command.refund_id not in order.refunds:
            return ("unknown_order" if order is None else "unknown_refund"), {}
        after = "done" if command.done else "failed"
        if order.refunds[command.refund_id] == after:
            return UNCHANGED, {}
        order.refunds[command.refund_id] = after
        order.quiet_since_ms = now_ms
        return "RefundSettled", {"done": command.done}

    def _retry(self, command: c.RetryRefund, now_ms: int) -> Verdict:
        order = self._order(command.order_id, command.caller)
        if order is None or command.refund_id not in order.refunds:
            return ("unknown_order" if order is None else "unknown_refund"), {}
        if order.refunds[command.refund_id] != "failed":
            return UNCHANGED, {}
        order.refunds[command.refund_id] = "pending"
        order.quiet_since_ms = now_ms
        return "RefundRetried", {}

    # The catalogue.

    def _configure(
        self,
        command: c.OpenSale
        | c.ConfigureEvent
        | c.ConfigureTier
        | c.ConfigureGates
        | c.ConfigurePromo
        | c.RemovePromo
        | c.CloseSale
        | c.CancelEvent
        | c.CompleteEvent,
    ) -> Verdict:
        if command.version <= self.version:
            return UNCHANGED, {}
        tiers: tuple[c.TierTerms, ...] = ()
        if isinstance(command, c.OpenSale):
            tiers = command.tiers
        elif isinstance(command, c.ConfigureTier):
            tiers = (command.tier,)
        for tier in tiers:
            committed = self.held(tier.tier_id) + self.sold(tier.tier_id)
            if tier.quantity < committed:
                case = {"tier_id": tier.tier_id, "committed": committed}
                return "below_committed", dict(case)
        self.version = command.version
        self.tiers |= {tier.tier_id: tier for tier in tiers}
        match command:
            case c.OpenSale(terms=terms, gates=gates, promos=promos):
                self.promos |= {promo.promo_id: promo for promo in promos}
                self.stage, self.terms = "open", terms
                self.gates = {gate.name: gate.tier_ids for gate in gates}
                return "SaleOpened", {}
            case c.ConfigureEvent(terms=terms):
                self.terms = terms
                return "EventConfigured", {}
            case c.ConfigureTier():
                return "TierConfigured", {}
            case c.ConfigureGates(gates=gates):
                self.gates = {gate.name: gate.tier_ids for gate in gates}
                return "GatesConfigured", {}
            case c.ConfigurePromo(promo=promo):
                self.promos[promo.promo_id] = promo
                return "PromoConfigured", {}
            case c.RemovePromo(promo_id=promo_id):
                self.promos.pop(promo_id, None)
                return "PromoRemoved", {}
            case c.CloseSale():
                self.stage = "closed"
                return "SaleClosed", {}
            case c.CancelEvent():
                self.stage = "cancelled"
                return "EventCancelled", {}
            case c.CompleteEvent():
                self.stage = "completed"
                return "EventCompleted", {}
