"""Asks a sale and its model the same, and holds the answers against each other.

What the sale has archived is asked as the edge does it: of the tables, and of the sale again where
that is not enough. The model knows of no difference.
"""

from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant
from msgspec.structs import replace

from engine import commands as c
from engine import doors, sale, snapshot
from engine import facts as f
from engine.order import OrderView
from engine.purchase import ArchivedOrder
from engine.rejections import Rejection
from engine.replies import Decision, Replayed, Reply, View
from engine.scan import DoorsView, ScanView, SyncView, scan_key
from engine.state import GATHER_MS, HEADER, Archived, State
from engine.waiter import EntryView
from tests.engine.model import Keyed, Model
from tests.engine.model_books import ModelEntry, ModelOrder
from tests.engine.model_tickets import REPLAYED, UNCHANGED
from tests.engine.stage import DAY_MS, EVENT, HOLD_MS, KEPT_MS, OFFER_MS, Stage, a

ADMIN = c.Caller(c.Role.ADMIN, "admin")
_T = TypeVar("_T")


class SaleWitness(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(opened=False)
        self.model = Model()
        self.asked: list[c.Command] = []
        self.first_answer: dict[object, Reply] = {}
        self.saved: dict[str, bytes] = self.stage.entities()  # kept up by what was touched
        self.older: tuple[dict[str, bytes], int] = (dict(self.saved), 0)
        self.tokens: list[bytes] = []
        self.scans: list[tuple[str, str]] = []
        self.read: list[c.RecallOrder] = []  # in the tables, at some time
        self.steps = 0

    # One command, and all that must be true of its answer.

    def ask(self, command: c.Command) -> None:
        self.steps += 1
        self.asked.append(command)
        now_ms = self.stage.now_ms
        word, case = self.model.expect(command, now_ms)
        decided = self.decide(command)
        assert word_for(decided) == word, (command, decided)
        assert case.items() <= facts_of(decided).items(), (command, decided)
        if isinstance(decided, Replayed):
            self.check_replay(command, decided)
        elif not isinstance(decided, Rejection):
            self.first_answer.setdefault(self.name_of(command), self.answer(command, decided))

    def decide(self, command: c.Command) -> Decision:
        decided = self.stage.decide(command)
        assert self.stage.entities() == self.saved, "decide only reads"
        archived = decided.view if isinstance(decided, Replayed) else decided
        if not isinstance(archived, Archived):
            return decided
        assert archived.order_id not in self.stage.state.order_by_id
        file, now_ms = self.stage.tables.read(archived.order_id), self.stage.now_ms
        if isinstance(decided, Replayed):
            assert isinstance(command, c.PlaceOrder | c.RequestPayment)
            return sale.decide_again(a(ArchivedOrder, file.order), archived, command, now_ms)
        decided = sale.decide_archived(file.order, archived, command, now_ms)
        if not isinstance(decided, list):
            return decided
        self.recall(self.stage.recall(archived.order_id))
        return self.stage.decide(command)

    def recall(self, command: c.RecallOrder) -> None:
        """The auditor hears whether what comes back is what left."""
        order_id, here = command.order.order_id, self.stage.state.order_by_id
        decided = self.stage.decide(command)
        if order_id in here:
            assert a(OrderView, decided).order_id == order_id
        elif command.tables_seq >= self.stage.state.header.archived_seq:
            assert decided == [f.OrderRecalled(command.order)]
            self.write([f.OrderRecalled(command.order)])
        else:
            assert a(Archived, decided).order_id == order_id

    def answer(self, command: c.Command, decided: list[f.Fact] | View | None) -> Reply:
        if not isinstance(decided, list):
            return decided
        self.write(decided)
        self.follow()
        return sale.reply(self.stage.state, command, decided)

    def follow(self) -> None:
        offers = sale.follow(self.stage.state, self.stage.now_ms)
        self.model.followed(offers, self.stage.now_ms)
        self.write(offers)

    def write(self, facts: list[f.Fact]) -> None:
        self.stage.write(facts)
        for fact in facts:
            self.model.happened(fact, self.stage.now_ms)
            if isinstance(fact, f.OrderConfirmed):
                self.tokens += fact.tokens
            elif isinstance(fact, f.TicketReissued | f.TicketTransferred):
                self.tokens.append(fact.token)
        touched = self.stage.state.touched
        for name, entity in snapshot.changes(self.stage.state, touched):
            if entity is None:
                self.saved.pop(name, None)
            else:
                self.saved[name] = entity
        touched.clear()

    def name_of(self, command: c.Command) -> object:
        """What makes two requests the same one."""
        if isinstance(command, Keyed):
            used_at_ms, fingerprint = self.model.keys[command.key.digest]
            return command.key.digest, fingerprint, used_at_ms
        if isinstance(command, c.CheckIn):
            return command.device_id, command.nonce
        return object()

    def check_replay(self, command: c.Command, again: Replayed) -> None:
        first = self.first_answer[self.name_of(command)]
        if isinstance(command, c.RequestPayment) and a(OrderView, first).confirmed_at_ms is None:
            assert a(OrderView, again.view).payment_id == a(OrderView, first).payment_id
        elif isinstance(command, c.CheckIn):
            assert replace(a(ScanView, again.view), undone_at_ms=None) == first
            undone = self.model.scans[command.device_id, command.nonce].undone
            assert (a(ScanView, again.view).undone_at_ms is not None) == undone
        elif isinstance(command, c.PlaceOrder):  # its answer does not tell what it was bought by
            assert again.view == replace(a(f.OrderPlaced, first), offer=None)
        else:
            assert again.view == first

    def sweep_once(self, orders_max: int) -> None:
        decided = self.stage.decide(self.stage.sweep(orders_max))
        assert isinstance(decided, list)
        self.model.swept(decided, orders_max, self.stage.now_ms)
        self.write(decided)
        self.follow()

    def sync_scans(self, command: c.SyncScans) -> None:
        """Twice: the second time changes nothing."""
        self.steps += 1
        expected = self.model.sync(command, self.stage.now_ms)
        for time in (1, 2):
            decided = self.stage.decide(command)
            assert self.stage.entities() == self.saved, "decide only reads"
            assert time == 1 or decided == []
            told = a(SyncView, self.answer(command, a(list, decided)))
            assert [scan.outcome for scan in told.scans] == expected, command
        for device_id, nonce in self.model.scans.keys() - self.first_answer.keys():
            self.scans.append((device_id, nonce))
            scan = self.stage.state.scan_by_key[scan_key(device_id, nonce)]
            assert (scan.displaced or scan.fact.result != "ADMIT") == (
                self.model.scans[device_id, nonce].admitted is None
            )
            self.first_answer[device_id, nonce] = doors.scan_view(self.stage.state, scan)

    def restored(self) -> State:
        entities, length = self.older
        in_any_order = dict(sorted(entities.items(), key=lambda row: row[1]))
        state = snapshot.restore(in_any_order)
        for entry in self.stage.entries[length:]:
            sale.apply(state, entry)
        return state

    def replayed(self) -> State:
        state = snapshot.fresh(EVENT)
        for entry in self.stage.entries:
            sale.apply(state, entry)
        return state

    # What holds after every step.

    @invariant()
    def all_is_well(self) -> None:
        self.inventory_is_what_the_facts_and_the_commands_add_up_to()
        self.money_taken_is_money_of_confirmed_orders_and_refunds()
        self.every_order_reads_as_the_model_has_it()
        self.doors_count_the_admissions_that_stand()
        self.every_entry_reads_as_the_model_has_it()
        self.next_deadline_is_that_of_the_first_hold_or_offer()
        self.next_tidying_is_that_of_what_is_of_no_use_the_longest()
        assert not self.model.archived & self.stage.state.order_by_id.keys()

    def inventory_is_what_the_facts_and_the_commands_add_up_to(self) -> None:
        for tier_id, tier in self.stage.state.header.tiers.items():
            assert tier.held == self.model.held(tier_id) == self.stage.auditor.held(tier_id)
            assert tier.sold == self.model.sold(tier_id) == self.stage.auditor.sold(tier_id)
            waiting = sum(entry.quantity for entry in self.model.line(tier_id))
            assert tier.waiting == waiting == self.stage.auditor.waitlist.waiting(tier_id)
            assert tier.public == self.model.public(tier_id)
            self.buyers_have_what_the_limit_counts(tier_id)
        for promo_id, promo in self.stage.state.promo_by_id.items():
            assert promo.used == self.model.uses(promo_id)

    def buyers_have_what_the_limit_counts(self, tier_id: str) -> None:
        taken = self.stage.state.taken_by_tier.get(tier_id)
        limited = self.model.tiers[tier_id].per_buyer_max is not None
        assert (taken is not None) == limited
        buyers = {order.buyer_id for order in self.model.orders.values()}
        counted = {buyer: self.model.taken(tier_id, buyer) for buyer in buyers}
        assert taken is None or taken == {b: n for b, n in counted.items() if n}

    def money_taken_is_money_of_confirmed_orders_and_refunds(self) -> None:
        auditor = self.stage.auditor
        taken = sum(self.model.bank.values())
        assert taken == auditor.money_kept() + auditor.money_returned()

    def every_order_reads_as_the_model_has_it(self) -> None:
        for order in self.model.orders.values():
            seen = a(OrderView, self.decide(c.ReadOrder(order.order_id, ADMIN)))
            assert (seen.status, seen.cancel_reason) == order.status_at(self.stage.now_ms)
            assert [t.status for t in seen.tickets] == [t.status for t in order.tickets]
            if order.status in ("CONFIRMED", "REFUNDED"):
                refunded = sum(t.price_minor for t in order.tickets if t.refunded)
                assert seen.refunded_minor == refunded

    def doors_count_the_admissions_that_stand(self) -> None:
        if self.stage.state.opened:
            doors = a(DoorsView, self.stage.decide(c.ReadDoors()))
            admitted = (doors.admitted, doors.by_tier, doors.by_gate, doors.by_minute)
            exited = (doors.exited, doors.exited_by_tier, doors.exited_by_gate)
            seen = (*admitted, *exited, doors.exited_by_minute)
            assert seen == self.model.admitted()

    def every_entry_reads_as_the_model_has_it(self) -> None:
        model, now_ms = self.model, self.stage.now_ms
        for entry in model.entries:
            seen = self.decide(c.ReadWaitlistEntry(entry.entry_id, ADMIN))
            if entry.forgotten:
                assert a(Rejection, seen).reason == "unknown_entry"
                continue
            told = a(EntryView, seen)
            assert told.status == model.status_at(entry, now_ms)
            assert (told.quantity, told.order_id) == (entry.quantity, entry.order_id)
            assert (told.rest_entry_id, told.left_because) == (
                entry.rest_entry_id,
                entry.left_because,
            )
            line = [e.entry_id for e in model.line(entry.tier_id)]
            waits = told.status == "WAITING"
            assert told.position == (line.index(entry.entry_id) + 1 if waits else None)
            assert told.waits_for == (model.why_waits(entry, now_ms) if waits else None)
            if told.status == "OFFERED":
                assert told.expires_at_ms == model.ends_at_ms(entry)

    def next_deadline_is_that_of_the_first_hold_or_offer(self) -> None:
        pending = [o for o in self.model.orders.values() if o.status == "PENDING"]
        first = min((order.expires_at_ms for order in pending), default=None)
        holds_ms = 0 if self.model.to_unwind() else first
        assert self.stage.state.next_deadline_ms() == holds_ms
        due_ms = [holds_ms, self.model.next_offer_ms(self.stage.now_ms)]
        expected = min((ms for ms in due_ms if ms is not None), default=None)
        assert sale.next_deadline_ms(self.stage.state, self.stage.now_ms) == expected

    def next_tidying_is_that_of_what_is_of_no_use_the_longest(self) -> None:
        due_ms = [order.quiet_since_ms + KEPT_MS for order in self.model.may_leave()]
        due_ms += [at_ms + DAY_MS for at_ms in self.model.kept_keys()]
        due_ms += [entry.ended_at_ms + DAY_MS for entry in self.model.ended_entries()]
        expected = min(due_ms) + GATHER_MS if due_ms else None
        assert self.stage.state.next_tidying_ms(KEPT_MS) == expected

    def teardown(self) -> None:
        restored, replayed = self.restored(), self.replayed()
        assert encoded(restored) == encoded(replayed) == self.saved
        assert restored.taken_by_tier == replayed.taken_by_tier
        assert restored.promo_id_by_code == replayed.promo_id_by_code
        self.stage.pass_ms(HOLD_MS)
        self.end_all_offers_and_holds()
        held = [self.stage.auditor.held(tier_id) for tier_id in self.stage.auditor.tiers]
        assert not any(held), "after quiet, nothing is held"
        self.after_a_day_nothing_is_kept_but_what_lives()

    def end_all_offers_and_holds(self) -> None:
        while self.due() or any(e.status == "OFFERED" for e in self.model.entries):
            if not self.due():
                self.stage.pass_ms(OFFER_MS)
            self.sweep_once(100)

    def due(self) -> bool:
        due_ms = sale.next_deadline_ms(self.stage.state, self.stage.now_ms)
        return due_ms is not None and due_ms <= self.stage.now_ms

    def after_a_day_nothing_is_kept_but_what_lives(self) -> None:
        self.stage.pass_ms(DAY_MS + GATHER_MS)
        while self.stage.state.next_tidying_ms(KEPT_MS) is not None:
            self.sweep_once(100)
        alive = [o.order_id for o in self.model.orders.values() if not o.may_leave]
        scans = [scan_key(*scan) for scan in self.model.scans]
        waiting = [entry.entry_id for entry in self.model.live_entries()]
        assert self.saved.keys() == {HEADER, *alive, *scans, *waiting, *self.model.promos}
        assert not self.stage.state.keys
        assert not any(order.keys for order in self.stage.state.order_by_id.values())
        assert encoded(self.replayed()) == self.saved

    # What there is to choose from.

    @property
    def orders(self) -> dict[str, ModelOrder]:
        return self.model.orders

    @property
    def payments(self) -> list[tuple[str, str]]:
        return [(order.order_id, p) for order in self.orders.values() for p in order.payments]

    @property
    def refunds(self) -> list[tuple[str, str]]:
        return [(order.order_id, r) for order in self.orders.values() for r in order.refunds]

    @property
    def tickets(self) -> list[tuple[str, int]]:
        every = self.orders.values()
        return [(order.order_id, n) for order in every for n in range(len(order.tickets))]

    @property
    def entries(self) -> list[ModelEntry]:
        return self.model.entries

    @property
    def keyed(self) -> list[Keyed]:
        return [command for command in self.asked if isinstance(command, Keyed)]

    def order_id(self, i: int) -> str:
        return pick(list(self.orders), i)


def pick(choices: list[_T], i: int) -> _T:
    return choices[i % len(choices)]


def encoded(state: State) -> dict[str, bytes]:
    return dict(snapshot.encode(state, snapshot.names(state)))


def word_for(decided: Decision) -> str:
    """The decision in the model's words."""
    match decided:
        case Rejection():
            return decided.reason
        case Replayed():
            return REPLAYED
        case list():
            return type(decided[-1]).__name__
        case _:
            return UNCHANGED


def facts_of(decided: Decision) -> dict[str, object]:
    match decided:
        case Rejection():
            return decided.facts or {}
        case list():
            fact = decided[-1]
            return {name: getattr(fact, name) for name in fact.__struct_fields__}
        case _:
            return {}
