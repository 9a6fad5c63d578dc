"""Everything at once: whatever is asked, in any order and at any time, the sale answers as the
model does, its facts pass the audit, and it can be rebuilt from any snapshot, byte for byte.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from msgspec.structs import replace

from engine import commands as c
from engine import ids
from engine.state import GATHER_MS
from tests.engine import stage
from tests.engine.doors_machine import DoorsMachine, once_there_is, which
from tests.engine.sale_promo_rules import PROMOS, PromoRules
from tests.engine.sale_witness import ADMIN, pick
from tests.engine.stage import (
    BALCONY,
    BUYER,
    DAY_MS,
    FLOOR,
    GUEST,
    HOLD_MS,
    HOUR_MS,
    MINUTE_MS,
    NOON_MS,
    ORGANIZER,
    STRANGER,
    terms,
)

TIERS = (
    terms(FLOOR, quantity=6, per_order_max=4, sale_end_ms=NOON_MS + 90 * DAY_MS),
    terms(BALCONY, quantity=3, per_order_max=3, price_minor=9000, sale_start_ms=NOON_MS + 1),
    terms(
        GUEST,
        quantity=4,
        per_order_max=2,
        per_buyer_max=3,
        price_minor=0,
        sale_end_ms=NOON_MS + 90 * DAY_MS,
    ),
)
NORTH, VIP_ONLY = c.Gate("north", ()), c.Gate("vip", (BALCONY,))
STARTS_AT_MS = NOON_MS + 4 * HOUR_MS + 5 * MINUTE_MS  # the doors open at 12:05
CALLERS = (
    BUYER,
    STRANGER,
    ORGANIZER,
    c.Caller(c.Role.ORGANIZER, "organizer-2"),
    c.Caller(c.Role.BOX_OFFICE, "shop"),
    ADMIN,
    c.Caller(c.Role.SCANNER, "device-1"),
)

callers = st.sampled_from((ADMIN, BUYER, ADMIN, *CALLERS))
lines = st.tuples(st.sampled_from([FLOOR, FLOOR, BALCONY, GUEST]), st.sampled_from([1, 1, 2, 3]))
selections = st.lists(lines, min_size=1, max_size=2)


class SaleMachine(PromoRules, DoorsMachine):
    # Buyers.

    @initialize(reentry=st.booleans())
    def open(self, reentry: bool) -> None:
        self.ask(self.stage.place_order())
        event = stage.event_terms(STARTS_AT_MS, reentry=reentry)
        self.ask(c.OpenSale(self.stage.version(), event, TIERS, (NORTH, VIP_ONLY), PROMOS))

    @rule(wanted=selections, buyer=st.sampled_from([BUYER, STRANGER]), named=st.integers(-9, 6))
    def place(self, wanted: list[tuple[str, int]], buyer: c.Caller, named: int) -> None:
        attendees = named if named >= 0 else None
        order = self.stage.place_order(*wanted, buyer_id=buyer.subject, attendees=attendees)
        self.ask(order)

    @rule(before=st.booleans(), quantity=st.integers(1, 9))
    def place_with_an_unknown_tier(self, before: bool, quantity: int) -> None:
        lines = [(FLOOR, quantity), ("tier_nowhere", 1)]
        self.ask(self.stage.place_order(*(lines[::-1] if before else lines)))

    @rule(wanted=selections)
    def buy(self, wanted: list[tuple[str, int]]) -> None:
        if self.place_and_request(wanted):
            self.pay(-1, True)

    @rule(wanted=selections, declined=st.booleans(), swept=st.booleans(), rival=selections)
    def pay_late(
        self,
        wanted: list[tuple[str, int]],
        declined: bool,
        swept: bool,
        rival: list[tuple[str, int]],
    ) -> None:
        if self.place_and_request(wanted):
            if declined:
                self.decline(-1)
            self.stage.pass_ms(HOLD_MS)
            if swept:
                self.sweep(100)
                self.ask(self.stage.place_order(*rival))
            self.pay(-1, True)

    def place_and_request(self, wanted: list[tuple[str, int]]) -> bool:
        order = self.stage.place_order(*wanted)
        self.ask(order)
        if order.order_id in self.orders:
            self.ask(self.stage.request_payment(order.order_id))
        return bool(self.payments) and self.payments[-1][0] == order.order_id

    @once_there_is("orders")
    @rule(i=which, caller=callers)
    def give_up(self, i: int, caller: c.Caller) -> None:
        self.ask(c.CancelOrder(self.order_id(i), caller))

    @once_there_is("orders")
    @rule(i=which, caller=callers)
    def request_payment(self, i: int, caller: c.Caller) -> None:
        self.ask(self.stage.request_payment(self.order_id(i), caller))

    @once_there_is("payments")
    @rule(i=which, exact=st.sampled_from([True, True, True, False]))
    def pay(self, i: int, exact: bool) -> None:
        order_id, payment_id = pick(self.payments, i)
        amount_minor = self.model.orders[order_id].total_minor - (not exact)
        self.ask(self.stage.confirm_order(order_id, payment_id, amount_minor))

    @once_there_is("payments")
    @rule(i=which)
    def decline(self, i: int) -> None:
        self.ask(c.DeclinePayment(*pick(self.payments, i)))

    @once_there_is("orders")
    @rule(i=which)
    def ask_for_what_never_was(self, i: int) -> None:
        order_id = self.order_id(i)
        self.ask(self.stage.confirm_order(order_id, "pay_none"))
        self.ask(c.DeclinePayment(order_id, "pay_none"))
        self.ask(c.SettleRefund(order_id, "ref_none", True))
        self.ask(c.RetryRefund(order_id, "ref_none", ADMIN))
        self.ask(self.stage.undo_check_in("never"))

    @once_there_is("tickets")
    @rule(i=which, caller=callers, some=st.sets(st.integers(0, 2)), force=st.booleans())
    def refund(self, i: int, caller: c.Caller, some: set[int], force: bool) -> None:
        order_id, number = pick(self.tickets, i)
        numbers = [number, *some] if some else []
        self.ask(self.stage.refund_order(order_id, *numbers, caller=caller, force=force))

    @once_there_is("orders")
    @rule(i=which)
    def refund_whatever_it_is(self, i: int) -> None:
        self.ask(self.stage.refund_order(self.order_id(i)))

    @once_there_is("refunds")
    @rule(i=which, done=st.booleans())
    def settle(self, i: int, done: bool) -> None:
        self.ask(c.SettleRefund(*pick(self.refunds, i), done))

    @once_there_is("refunds")
    @rule(i=which, caller=callers)
    def send_refund_anew(self, i: int, caller: c.Caller) -> None:
        self.ask(c.RetryRefund(*pick(self.refunds, i), caller))

    @once_there_is("tickets")
    @rule(i=which, caller=callers)
    def reissue(self, i: int, caller: c.Caller) -> None:
        self.ask(self.stage.reissue_ticket(*pick(self.tickets, i), caller))

    @once_there_is("tickets")
    @rule(i=which, caller=callers, holder=st.sampled_from([None, STRANGER.subject, "buyer-9"]))
    def transfer(self, i: int, caller: c.Caller, holder: str | None) -> None:
        self.ask(self.stage.transfer_ticket(*pick(self.tickets, i), caller, holder))

    @once_there_is("tickets")
    @rule(i=which, caller=callers)
    def rename_by_anybody(self, i: int, caller: c.Caller) -> None:
        order_id, number = pick(self.tickets, i)
        self.ask(c.NameAttendee(order_id, number, caller, b"by %d" % self.steps, None))

    @once_there_is("tickets")
    @rule(i=which, further=st.sampled_from([0, 0, 0, 4]))
    def rename(self, i: int, further: int) -> None:
        order_id, number = pick(self.tickets, i)
        self.ask(self.stage.name_attendee(order_id, number + further, b"name %d" % self.steps))

    # What the edge does with orders that have left memory, at any time, late too.

    @once_there_is("orders")
    @rule(i=which)
    def read_in_the_tables(self, i: int) -> None:
        order_id = self.order_id(i)
        if self.stage.tables.read(order_id).order is not None:
            self.read.append(self.stage.recall(order_id))

    @once_there_is("read")
    @rule(i=which)
    def recall_what_was_read(self, i: int) -> None:
        self.recall(pick(self.read, i))

    @rule(wanted=selections, again=st.booleans())
    def pay_an_archived_order(self, wanted: list[tuple[str, int]], again: bool) -> None:
        if self.place_and_request(wanted):
            order_id, payment_id = self.payments[-1]
            read = [self.stage.recall(order_id)] if self.sweep_out(order_id) else []
            self.ask(self.stage.confirm_order(order_id, payment_id))
            if again:
                for refund_id in self.model.orders[order_id].refunds:
                    self.ask(c.SettleRefund(order_id, refund_id, True))
                self.sweep_out(order_id)
            self.read += read

    def sweep_out(self, order_id: str) -> bool:
        """Let time go by until nothing is left in memory that need not be; whether this is out."""
        for span_ms in (HOLD_MS, stage.KEPT_MS + GATHER_MS):
            self.stage.pass_ms(span_ms)
            for _ in range(len(self.orders)):
                self.sweep(100)
        return order_id in self.model.archived

    # Those who wait.

    @rule(
        tier_id=st.sampled_from([FLOOR, BALCONY]),
        quantity=st.sampled_from([1, 1, 2, 3, 5]),
        buyer=st.integers(1, 5),
    )
    def join(self, tier_id: str, quantity: int, buyer: int) -> None:
        self.ask(self.stage.join_waitlist(quantity, tier_id, buyer_id=f"buyer-{buyer}"))

    @rule(tier_id=st.sampled_from([FLOOR, BALCONY]), wanted=st.integers(1, 4))
    def sell_out_and_join(self, tier_id: str, wanted: int) -> None:
        while available := self.model.public(tier_id):
            most = min(available, self.model.tiers[tier_id].per_order_max)
            order = self.stage.place_order((tier_id, most))
            self.ask(order)
            if order.order_id not in self.orders:
                return
        for number in range(1, wanted + 1):
            self.join(tier_id, number, number)

    @rule(tier_id=st.sampled_from([FLOOR, BALCONY]), wanted=st.integers(1, 3), i=which)
    def wait_and_buy_what_comes_back(self, tier_id: str, wanted: int, i: int) -> None:
        self.sell_out_and_join(tier_id, wanted)
        orders = [o for o in self.orders.values() if tier_id in o.lines]
        pending = [o.order_id for o in orders if o.status == "PENDING"]
        if pending and self.entries:
            self.ask(c.CancelOrder(pick(pending, i), ADMIN))
            self.buy_by_offer(i, 0, (tier_id, 1), True)

    @once_there_is("entries")
    @rule(i=which, caller=callers)
    def leave(self, i: int, caller: c.Caller) -> None:
        self.ask(c.LeaveWaitlist(pick(self.entries, i).entry_id, caller))

    @once_there_is("entries")
    @rule(
        i=which, fewer=st.integers(-1, 2), further=lines, own=st.sampled_from([True] * 4 + [False])
    )
    def buy_by_offer(self, i: int, fewer: int, further: tuple[str, int], own: bool) -> None:
        offered = [entry for entry in self.entries if entry.status == "OFFERED"]
        entry = pick(offered or self.entries, i)
        wanted = [(entry.tier_id, max(1, entry.quantity - fewer)), further][: 1 + (i % 3 == 0)]
        buyer_id = entry.buyer_id if own else "buyer-9"
        offer_id = ids.offer_id(entry.entry_id)
        self.ask(self.stage.place_order(*wanted, buyer_id=buyer_id, offer_id=offer_id))

    # Clients that ask again.

    @rule(i=which)
    def retry(self, i: int) -> None:
        self.ask(self.retried(self.asked[-1 - i % len(self.asked)]))

    @once_there_is("keyed")
    @rule(i=which)
    def retry_with_a_key(self, i: int) -> None:
        self.ask(self.retried(pick(self.keyed, i)))

    def retried(self, command: c.Command) -> c.Command:
        """As a gateway makes it from the same request: what is drawn by chance is new."""
        match command:
            case c.PlaceOrder():
                return replace(command, order_id=self.stage.place_order().order_id)
            case c.RequestPayment():
                fresh = self.stage.request_payment(command.order_id)
                return replace(command, payment_id=fresh.payment_id, token_seed=fresh.token_seed)
            case c.RefundOrder():
                fresh_id = self.stage.refund_order(command.order_id).refund_id
                return replace(command, refund_id=fresh_id)
            case c.ConfirmOrder():
                fresh_id = self.stage.refund_order(command.order_id).refund_id
                return replace(command, refund_id=fresh_id, token_seed=self.stage.random(32))
            case c.JoinWaitlist():
                return replace(command, entry_id=self.stage.join_waitlist().entry_id)
            case c.ReissueTicket() | c.TransferTicket():
                return replace(command, token_seed=self.stage.random(32))
            case _:
                return command

    @once_there_is("keyed")
    @rule(i=which)
    def reuse_a_key_for_something_else(self, i: int) -> None:
        other = replace(pick(self.keyed, i).key, fingerprint=self.stage.random(16))
        self.ask(self.stage.place_order(key=other))

    # Time, and what the actor does by itself.

    @rule(span_ms=st.sampled_from([1, 10 * MINUTE_MS, HOLD_MS - 1, HOLD_MS, HOUR_MS, DAY_MS]))
    def time_passes(self, span_ms: int) -> None:
        self.stage.pass_ms(span_ms)

    @rule(orders_max=st.sampled_from([1, 2, 100]))
    def sweep(self, orders_max: int) -> None:
        self.sweep_once(orders_max)

    @rule()
    def take_a_snapshot(self) -> None:
        self.older = (self.stage.entities(), len(self.stage.entries))

    @rule(replay=st.booleans())
    def crash(self, replay: bool) -> None:
        self.stage.state = self.replayed() if replay else self.restored()
        self.stage.state.touched.clear()

    # The catalogue, which makes legal steps only.

    @rule(
        tier=st.sampled_from(TIERS),
        quantity=st.integers(0, 9),
        price=st.integers(0, 2),
        each=st.sampled_from([None, None, 1, 3]),
    )
    def configure_tier(
        self, tier: c.TierTerms, quantity: int, price: int, each: int | None
    ) -> None:
        name = f"{tier.name} {self.steps}"
        price_minor = tier.price_minor * price
        changed = replace(
            tier, name=name, quantity=quantity, price_minor=price_minor, per_buyer_max=each
        )
        self.ask(c.ConfigureTier(self.stage.version(), changed))

    @rule(
        starts_in_ms=st.sampled_from([0, 2 * HOUR_MS, 30 * DAY_MS]),
        gates=st.sampled_from([None, (), (NORTH, VIP_ONLY)]),
        reentry=st.booleans(),
    )
    def configure_doors(
        self, starts_in_ms: int, gates: tuple[c.Gate, ...] | None, reentry: bool
    ) -> None:
        version = self.stage.version()
        event = stage.event_terms(NOON_MS + starts_in_ms, reentry=reentry)
        change = c.ConfigureGates(version, gates) if gates else c.ConfigureEvent(version, event)
        self.ask(change)

    @precondition(lambda self: self.steps > 10 and self.model.stage in ("open", "closed"))
    @rule()
    def close_or_reopen(self) -> None:
        version = self.stage.version()
        if self.model.stage == "open":
            self.ask(c.CloseSale(version))
        else:
            event = stage.event_terms(STARTS_AT_MS)
            self.ask(c.OpenSale(version, event, TIERS, (NORTH, VIP_ONLY), PROMOS))

    @precondition(lambda self: self.steps > 20 and self.model.stage in ("open", "closed"))
    @rule(cancelled=st.booleans())
    def end(self, cancelled: bool) -> None:
        version = self.stage.version()
        self.ask(c.CancelEvent(version) if cancelled else c.CompleteEvent(version))


TestSale = SaleMachine.TestCase
TestSale.settings = settings(
    max_examples=300,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    print_blob=True,
)
