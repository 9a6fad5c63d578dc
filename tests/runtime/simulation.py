"""Buyers, scanners and a hostile world, all from one seed; then an audit of the journal.

Clients send the same key again as long as they hear of faults only, as real ones do. What they saw
is compared with what the journal has. The seed is the whole scenario: the same one goes the same
way again.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from engine import commands as c
from engine import facts as f
from engine import ids, snapshot
from engine.order import OrderView
from engine.rejections import Rejection
from engine.replies import Replayed, Reply
from engine.runtime.faults import Fault
from engine.runtime.limits import Limits
from engine.runtime.ports import Grant
from engine.scan import ScanView
from engine.state import SaleView
from tests.engine.auditor import Auditor
from tests.runtime.desk import BALCONY, FLOOR, SECOND_MS, Desk
from tests.runtime.memory import MemoryJournal, Mishap
from tests.runtime.world import NEIGHBOUR, SALE, SHARDS, STRANGER, Node, World

SALES = (SALE, NEIGHBOUR, STRANGER)
STEPS = 24
HOLD_MS = 20 * SECOND_MS
ANSWER_WITHIN_S = 4.0  # and be it a fault
PATIENCE_S = 300.0  # healed, it must serve again
LIMITS = Limits(
    mailbox_max=60,
    sale_quota_max=40,
    turn_letters_max=7,
    sweep_orders_max=2,
    letter_ttl_s=2,
    idle_ms=5 * SECOND_MS,
    deaths_max=50,
    reload_ms=SECOND_MS,
    tick_s=0.25,
)


class Seen(Struct):
    """What a client asked, and the definite answer it had in the end."""

    sale_id: str
    command: c.Command
    answer: Reply = None


class _Deposed:
    """The journal for a node whose lease has run out: it may not take its shards back."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.append = journal.append
        self.landed = journal.landed
        self.suffix = journal.suffix
        self.unsettled = journal.unsettled

    async def acquire(self, shard_ids: Sequence[int]) -> list[Grant]:
        return []

    async def reacquire(self, grants: Sequence[Grant]) -> list[Grant]:
        return []

    async def release(self, grant: Grant, successor: str | None) -> None:
        pass


class Simulation:
    def __init__(self, seed: int, *, fence: bool = True) -> None:
        self.random = Random(seed)
        self.world = World(fence=fence)
        self.world.desk = Desk(seed)
        self.seen: list[Seen] = []
        self.tokens: list[tuple[str, bytes]] = []
        self.node: Node
        self.zombies: list[Node] = []

    async def run(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._run()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            await self._start_node()
            keeping = clients.create_task(self._keep_a_node())
            for sale_id in SALES:
                await self._insist(Seen(sale_id, self.world.desk.open_sale(quantity=12)))
            for _ in range(STEPS):
                self._something_goes_wrong()
                for _ in range(self.random.randrange(8)):
                    clients.create_task(self._client())
                await asyncio.sleep(self.random.choice((0, 0.001, 0.3, 3)))
            self._heal()
            await asyncio.sleep(HOLD_MS / 1000 + 10)
            keeping.cancel()
        await self._end()

    # What happens.

    async def _start_node(self) -> None:
        while True:
            node = Node(self.world, LIMITS)
            try:
                await node.start()
            except Fault:
                await asyncio.sleep(0.2)
            else:
                self.node = node
                return

    async def _keep_a_node(self) -> None:
        """What an orchestrator does."""
        while True:
            await asyncio.sleep(0.3)
            if len(self.node.supervisor.shards_owned) < SHARDS:
                await self.node.kill()
            if self.node.running.done() or self.node in self.zombies:
                await self._start_node()

    def _something_goes_wrong(self) -> None:
        world, chance = self.world, self.random.random
        journal, snapshots = world.journal, world.snapshots
        if chance() < 0.3:
            journal.mishaps.append(self.random.choice(list(Mishap)))
        for gate in (journal.appends, journal.reads, snapshots.gate):
            if chance() < 0.1:
                gate.shut()
            elif chance() < 0.5:
                gate.open()
        journal.away = chance() < 0.1
        snapshots.away = chance() < 0.1
        snapshots.answers_lost = int(chance() < 0.1)
        if chance() < 0.1:
            snapshots.fast.clear()
        if chance() < 0.1:
            snapshots.durable.clear()
        if chance() < 0.1:
            world.clock.offset_ms += self.random.randrange(-500, 15_000)
        if chance() < 0.1:
            self.node.running.cancel()
        elif chance() < 0.1 and self.node not in self.zombies:
            self.zombies.append(self.node)  # it goes on as if nothing were
            self.node.supervisor._journal = _Deposed(journal)
        if chance() < 0.1:
            with suppress(Fault):
                self.node.supervisor.post(SALE, world.desk.deadly(SALE), lambda _: None)

    def _heal(self) -> None:
        journal, snapshots = self.world.journal, self.world.snapshots
        journal.mishaps.clear()
        snapshots.answers_lost = 0
        journal.away = snapshots.away = False
        for gate in (journal.appends, journal.reads, snapshots.gate):
            gate.open()
        for zombie in self.zombies:
            zombie.running.cancel()

    async def _end(self) -> None:
        """All is quiet: nothing is held any more, and every success is told again to its key."""
        for sale_id in SALES:
            view = await self.node.ask(c.ReadSale(), sale_id)
            assert isinstance(view, SaleView)
            assert [tier.held for tier in view.tiers] == [0, 0]
        for seen in self.seen:
            first = _view(seen.answer)
            if isinstance(first, f.OrderPlaced | ScanView):
                again = await self.node.ask(seen.command, seen.sale_id)
                assert again == Replayed(first), seen
        await self.node.stop()

    # Clients.

    async def _client(self) -> None:
        sale_id = self.random.choice(SALES)
        answer = await self._insist(Seen(sale_id, self._wish(sale_id)))
        if isinstance(answer, f.OrderPlaced) and self.random.random() < 0.7:
            await self._pay(sale_id, answer)

    async def _pay(self, sale_id: str, order: f.OrderPlaced) -> None:
        desk = self.world.desk
        asked = await self._insist(Seen(sale_id, desk.request_payment(order.order_id)))
        if isinstance(asked, OrderView) and asked.payment_id is not None:
            paid = await self._insist(Seen(sale_id, desk.confirm(asked)))
            assert isinstance(paid, OrderView)
            self.tokens += [(sale_id, ticket.token) for ticket in paid.tickets]

    def _wish(self, sale_id: str) -> c.Command:
        desk = self.world.desk
        dice = self.random.random()
        tokens = [token for where, token in self.tokens if where == sale_id]
        if tokens and dice < 0.3:
            return desk.check_in(self.random.choice(tokens), device_id=self.random.choice("AB"))
        answers = [_view(seen.answer) for seen in self.seen if seen.sale_id == sale_id]
        orders = [answer for answer in answers if isinstance(answer, f.OrderPlaced)]
        if orders and dice < 0.4:
            return desk.cancel(self.random.choice(orders).order_id)
        tier_id = self.random.choice((FLOOR, BALCONY))
        return desk.place(sale_id, self.random.randint(1, 4), tier_id=tier_id, hold_ms=HOLD_MS)

    async def _insist(self, seen: Seen) -> Reply:
        """Ask under the same key until there is a definite answer; how many faults, no matter."""
        self.seen.append(seen)
        while True:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    answer = await self.node.ask(seen.command, seen.sale_id)
            except Fault:
                await asyncio.sleep(self.random.choice((0.1, 0.5)))
                seen.command = self._again(seen.command)
            else:
                seen.answer = answer
                return _view(answer)

    def _again(self, command: c.Command) -> c.Command:
        """A retry has the key of the first try, and an order id of its own."""
        if not isinstance(command, c.PlaceOrder):
            return command
        sale_id = ids.event_of_order(command.order_id)
        assert sale_id is not None
        random = self.world.desk.random(ids.ORDER_RANDOM_BYTES)
        return replace(command, order_id=ids.order_id(sale_id, random))

    # The audit.

    def audit(self) -> None:
        """Raises AssertionError where a promise was broken."""
        self.audit_journal()
        ledger = _Ledger(self.world.journal.all_entries())
        for seen in self.seen:
            ledger.check(seen.command, _view(seen.answer))
        for sale_id in SALES:
            self._audit_snapshots(sale_id)

    def audit_journal(self) -> None:
        self.world.audit()
        auditors = {sale_id: Auditor() for sale_id in SALES}
        for entry in self.world.journal.all_entries():
            auditors[entry.sale_id].hear(entry)

    def _audit_snapshots(self, sale_id: str) -> None:
        fast = self.world.snapshots.fast.get(sale_id)
        kept = self.world.snapshots.kept(sale_id)
        if fast is not None and fast.whole:
            assert _recoded(fast.entities) == self.world.replayed(sale_id, fast.seq)
        if kept is not None:
            assert _recoded(kept.entities) == self.world.replayed(sale_id, kept.seq)


class _Ledger:
    """The facts by what an answer tells of them."""

    def __init__(self, entries: list[f.Entry]) -> None:
        self.orders: defaultdict[bytes, list[f.Fact]] = defaultdict(list)  # by key
        self.scans: defaultdict[tuple[str, str], list[f.Fact]] = defaultdict(list)
        self.money: defaultdict[str | None, list[f.Fact]] = defaultdict(list)  # by payment
        self.given_up: Counter[str] = Counter()  # by order
        for entry in entries:
            match entry.fact:
                case f.OrderPlaced() as fact:
                    self.orders[fact.key.digest].append(fact)
                case f.TicketScanned() as fact:
                    self.scans[fact.device_id, fact.nonce].append(fact)
                case f.OrderConfirmed() | f.MoneyReturned() as fact:
                    self.money[fact.payment_id].append(fact)
                case f.OrderCancelled(order_id, f.CancelReason.BUYER):
                    self.given_up[order_id] += 1

    def check(self, command: c.Command, told: Reply) -> None:
        """A success is in the journal once, with that content; a definite refusal is not."""
        match command:
            case c.PlaceOrder():
                expected = [] if isinstance(told, Rejection) else [told]
                assert self.orders[command.key.digest] == expected, command
            case c.CheckIn():
                assert isinstance(told, ScanView), command
                assert self.scans[command.device_id, command.nonce] == [told.fact], command
            case c.ConfirmOrder():
                assert isinstance(told, OrderView), command
                (fact,) = self.money[command.payment_id]
                if isinstance(fact, f.OrderConfirmed):
                    assert fact.tokens == tuple(t.token for t in told.tickets), command
            case c.CancelOrder():
                times = 0 if isinstance(told, Rejection) else 1
                assert self.given_up[command.order_id] == times, command


def _recoded(entities: dict[str, bytes]) -> dict[str, bytes]:
    state = snapshot.restore(entities)
    return dict(snapshot.encode(state, snapshot.names(state)))


def _view(answer: Reply) -> Reply:
    return answer.view if isinstance(answer, Replayed) else answer
