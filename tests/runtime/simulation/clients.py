"""Buyers, payers and scanners. They ask any node, and with the same key again until it is definite.

What each of them saw is kept: the answer, and between which two facts of the sale it was given.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from engine import commands as c
from engine import facts as f
from engine import ids
from engine.order import OrderView
from engine.replies import Replayed, Reply
from engine.runtime.faults import Fault
from engine.waiter import EntryStatus, EntryView
from tests.runtime.desk import ADMIN, BALCONY, FLOOR, HALF, SECOND_MS, Desk, sale_in_shard
from tests.runtime.simulation.host import SHARDS, Host
from tests.runtime.simulation.weather import Story
from tests.runtime.simulation.witness import Witness

SALES = tuple(sale_in_shard(n % SHARDS, SHARDS, nth=n // SHARDS) for n in range(SHARDS + 1))
HOLD_MS = 6 * SECOND_MS
OFFER_MS = 5 * SECOND_MS
_BUYERS = 12
_BALCONY_MAX = {BALCONY: 5}  # a buyer, over all orders
_LEAVES = 0.3
_TRIES_WHAT_HANGS = 0.1
_PAYS_LATE = 0.25  # the hold is over, the order perhaps archived


class Seen(Struct):
    """What a client asked, and the definite answer it had in the end.

    `after` and `before`: the sale's newest fact when the answered attempt began, and when the
    answer came.
    """

    sale_id: str
    command: c.Command
    answer: Reply = None
    answered: bool = False
    after: int = 0
    before: int = 0
    attempts: int = 0


class Crowd:
    """`hosts` is the world's own list of who is there."""

    def __init__(
        self,
        *,
        hosts: list[Host],
        random: Random,
        desk: Desk,
        witness: Witness,
        story: Story,
        patience_s: float,
        calm: bool,
    ) -> None:
        self._hosts = hosts
        self._random = random
        self.desk = desk
        self._witness = witness
        self._story = story
        self._patience_s = patience_s
        self._calm = calm
        self.seen: list[Seen] = []
        self.looks: list[Seen] = []
        self.tokens: list[tuple[str, bytes]] = []

    async def open_sales(self, quantity: int) -> None:
        opened = self.desk.open_sale(quantity, promos=(HALF,))
        tiers = [replace(t, per_buyer_max=_BALCONY_MAX.get(t.tier_id)) for t in opened.tiers]
        terms = replace(opened.terms, reentry=True)
        for sale_id in SALES:
            await self.insist(Seen(sale_id, replace(opened, terms=terms, tiers=tuple(tiers))))

    async def come(self) -> None:
        """One client's whole visit."""
        sale_id = self._random.choice(SALES)
        answer = await self.insist(Seen(sale_id, self._wish(sale_id)))
        if isinstance(answer, f.OrderPlaced) and self._random.random() < 0.6:
            await self._pay(sale_id, answer)
        elif isinstance(answer, f.WaitlistJoined):
            await self._wait(sale_id, answer)

    async def _wait(self, sale_id: str, joined: f.WaitlistJoined) -> None:
        """Look again after a while; take what is offered, or leave, or forget about it."""
        await asyncio.sleep(self._random.choice((0.1, 1, OFFER_MS / 1000)))
        read = c.ReadWaitlistEntry(joined.entry_id, ADMIN)
        found = await self.insist(Seen(sale_id, read))
        assert isinstance(found, EntryView), found
        if found.status is EntryStatus.OFFERED and self._random.random() < 0.7:
            bought = self.desk.place(
                sale_id,
                found.quantity,
                tier_id=found.tier_id,
                hold_ms=HOLD_MS,
                buyer_id=found.buyer_id,
                offer_id=ids.offer_id(found.entry_id),
            )
            placed = await self.insist(Seen(sale_id, bought))
            if isinstance(placed, f.OrderPlaced) and self._random.random() < 0.6:
                await self._pay(sale_id, placed)
        elif self._random.random() < 0.3:
            await self.leave(sale_id, joined.entry_id)

    async def leave(self, sale_id: str, entry_id: str) -> None:
        await self.insist(Seen(sale_id, c.LeaveWaitlist(entry_id, ADMIN)))

    async def _pay(self, sale_id: str, order: f.OrderPlaced) -> None:
        asked = await self.insist(Seen(sale_id, self.desk.request_payment(order.order_id)))
        if isinstance(asked, OrderView) and asked.payment_id is not None:
            if self._random.random() < _PAYS_LATE:
                await asyncio.sleep(self._random.choice((HOLD_MS, 3 * HOLD_MS)) / 1000)
            confirm = self.desk.confirm(asked)
            paid = await self.insist(Seen(sale_id, confirm))
            assert isinstance(paid, OrderView)
            self.tokens += [(sale_id, ticket.token) for ticket in paid.tickets]
            if paid.refund is not None:
                await self._return(sale_id, confirm)

    async def _return(self, sale_id: str, confirm: c.ConfirmOrder) -> None:
        """The provider says whether the money is back; now and then not at the first time."""
        order_id, refund_id = confirm.order_id, confirm.refund_id
        done = c.SettleRefund(order_id, refund_id, True)
        if self._random.random() < 0.3:
            await self.insist(Seen(sale_id, c.SettleRefund(order_id, refund_id, False)))
            await self.insist(Seen(sale_id, c.RetryRefund(order_id, refund_id, ADMIN)))
        await self.insist(Seen(sale_id, done))

    def _wish(self, sale_id: str) -> c.Command:
        random, desk = self._random, self.desk
        dice = random.random()
        if dice < 0.3:
            return c.ReadSale()
        tokens = [token for where, token in self.tokens if where == sale_id]
        if tokens and dice < 0.45:
            scan = desk.check_in(random.choice(tokens), device_id=random.choice("AB"))
            return replace(scan, leaving=random.random() < _LEAVES)
        orders = [
            seen.answer.order_id
            for seen in self.seen
            if seen.sale_id == sale_id and isinstance(seen.answer, f.OrderPlaced)
        ]
        if orders and dice < 0.55:
            return c.ReadOrder(random.choice(orders), ADMIN)
        if orders and dice < 0.65:
            return desk.cancel(random.choice(orders))
        tier_id = random.choice((FLOOR, BALCONY))
        if dice < 0.8:
            buyer_id = f"buyer-{random.randrange(_BUYERS)}"
            quantity = random.randint(1, 3)
            return desk.join(
                sale_id, quantity, tier_id=tier_id, buyer_id=buyer_id, offer_ms=OFFER_MS
            )
        quantity = random.randint(1, 4)
        return desk.place(
            sale_id,
            quantity,
            tier_id=tier_id,
            hold_ms=HOLD_MS,
            buyer_id=f"buyer-{random.randrange(_BUYERS)}",
            promo_code=HALF.code if quantity == 2 else None,
        )

    async def insist(self, seen: Seen) -> Reply:
        """Ask under the same key until there is a definite answer; how many faults, no matter."""
        self.seen.append(seen)
        number = len(self.seen)
        while True:
            host = self._any_host()
            if host is not None:
                try:
                    await self._attempt(number, seen, host)
                except (Fault, ConnectionError, TimeoutError) as fault:
                    self._story.tell(f"#{number}", f"hears {fault!r} from {host.name}")
                    if self._calm:
                        raise AssertionError(f"#{number}: nothing was wrong") from fault
                else:
                    return view(seen.answer)
            await asyncio.sleep(self._random.choice((0.1, 0.5)))
            seen.command = self._again(seen.command)

    def _any_host(self) -> Host | None:
        serving = [host for host in self._hosts if host.serves]
        hanging = [host for host in serving if host.life.paused]
        if hanging and self._random.random() < _TRIES_WHAT_HANGS:
            return self._random.choice(hanging)
        return self._random.choice(serving) if serving else None

    async def look(self, host: Host, sale_ids: Iterable[str] = SALES) -> None:
        """Ask one node for sales, and leave it at that if it has no answer."""
        async with asyncio.TaskGroup() as looks:
            for sale_id in sale_ids:
                looks.create_task(self._look(Seen(sale_id, c.ReadSale()), host))

    async def _look(self, seen: Seen, host: Host) -> None:
        self.looks.append(seen)
        with suppress(Fault, ConnectionError, TimeoutError):
            await self._attempt(-len(self.looks), seen, host)

    async def _attempt(self, number: int, seen: Seen, host: Host) -> None:
        seen.attempts += 1
        seen.after = self._witness.seq(seen.sale_id)
        undisturbed = None if host.life.paused else host.disturbed
        self._story.tell(f"#{number}", f"asks {host.name} {seen.sale_id[-4:]} {seen.command}")
        patience_s = self._patience_s
        if not self._calm:
            patience_s = self._random.choice((1.0, patience_s / 2, patience_s))
        try:
            async with asyncio.timeout(patience_s):
                seen.answer = await host.ask(seen.sale_id, seen.command)
        except TimeoutError:
            answered_by_now = patience_s == self._patience_s and host.disturbed == undisturbed
            assert not answered_by_now, f"{host.name} does not answer #{number}"
            raise
        seen.answered = True
        seen.before = self._witness.seq(seen.sale_id)
        self._story.tell(f"#{number}", f"hears {seen.answer} from {host.name}")

    def _again(self, command: c.Command) -> c.Command:
        """A retry has the key of the first try, and an id of its own."""
        if isinstance(command, c.JoinWaitlist):
            sale_id = ids.event_of_entry(command.entry_id)
            assert sale_id is not None
            random = self.desk.random(ids.ORDER_RANDOM_BYTES)
            return replace(command, entry_id=ids.entry_id(sale_id, random))
        if not isinstance(command, c.PlaceOrder):
            return command
        sale_id = ids.event_of_order(command.order_id)
        assert sale_id is not None
        random = self.desk.random(ids.ORDER_RANDOM_BYTES)
        return replace(command, order_id=ids.order_id(sale_id, random))


def view(answer: Reply) -> Reply:
    return answer.view if isinstance(answer, Replayed) else answer
