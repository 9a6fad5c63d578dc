"""A seed's whole world: nodes, clients and trouble; then healing, then the audit.

Safety: whatever goes wrong, no promise is broken. Liveness: once all is healed, every node serves
every sale again within seconds, every client gets a definite answer, and nothing stays held.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from random import Random

from engine import commands as c
from engine import facts as f
from engine import snapshot
from engine.replies import Replayed
from engine.runtime.faults import Fault
from engine.runtime.limits import Limits
from engine.runtime.ports import Batch
from engine.sale import apply
from engine.scan import ScanView
from engine.state import SaleView
from tests.runtime.desk import SECOND_MS, Desk, sale_in_shard
from tests.runtime.simulation.clients import HOLD_MS, SALES, Crowd, view
from tests.runtime.simulation.host import SHARDS, Host, Servers
from tests.runtime.simulation.ledger import Ledger, audit_shard, told_of
from tests.runtime.simulation.trouble import AHEAD_MS_MAX, Troublemaker
from tests.runtime.simulation.weather import Story, Swarm, Weather, draw
from tests.runtime.simulation.witness import Witness
from tests.runtime.virtual_time import VirtualLoop

COMMANDS = 200
FAULTS_MIN = 5
STEPS_MAX = 400
STRANGERS = tuple(sale_in_shard(shard_id, SHARDS, nth=9) for shard_id in range(SHARDS))
SERVES_WITHIN_S = 20.0  # after all is healed
ANSWERS_WITHIN_S = 40.0


def limits(swarm: Swarm) -> Limits:
    """So small that they are met, but where nothing at all may fail."""
    return Limits(
        mailbox_max=10_000 if swarm.calm else 40,
        sale_quota_max=10_000 if swarm.calm else 25,
        step_letters_max=3,
        turn_steps_max=2,
        sweep_orders_max=2,
        piece_max=5,
        facts_between_kept=30,
        finished_order_kept_ms=SECOND_MS // 2,
        letter_ttl_s=swarm.letter_ttl_s,
        idle_ms=5 * SECOND_MS,
        deaths_max=1_000,
        reload_ms=SECOND_MS,
        tick_s=0.25,
    )


class Simulation:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.story = Story()
        self.swarm = draw(self._random)
        self.failures: list[BaseException] = []
        self._epoch_by_shard: dict[int, int] = {}
        self._clients: asyncio.TaskGroup | None = None  # while something may go wrong
        self._over = False

    def run(self) -> None:
        """Raises AssertionError, or what else came of it, where a promise was broken."""
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.get_loop().set_exception_handler(self._escaped)
            with suppress(asyncio.CancelledError):
                runner.run(self._run())
        self._raise_failures()

    def _escaped(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and "callback" in str(context["message"]):
            self._fail(error)

    def _projector_ended(self, projecting: "asyncio.Task[None]") -> None:
        self._fail(None if projecting.cancelled() else projecting.exception())

    def _host_ended(self, error: BaseException | None) -> None:
        if not self._over:
            self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        """The world ends at once: where no node is left, clients would insist for ever."""
        if error is not None:
            self.failures.append(error)
            self._living.cancel()

    async def _run(self) -> None:
        living = asyncio.current_task()
        assert living is not None
        self._living = living
        weather = self._weather = Weather(self.swarm, self._random, self.story)
        witness = self._witness = Witness(self.story, SHARDS)
        servers = self.servers = Servers(weather)
        servers.database.on_taken = self._taken
        self.story.tell("world", repr(self.swarm))
        self._trouble = Troublemaker(self._make_host, servers, weather)
        self._hosts = self._trouble.hosts
        self._crowd = Crowd(
            hosts=self._hosts,
            random=self._random,
            desk=Desk(self._random.getrandbits(32)),
            witness=witness,
            story=self.story,
            patience_s=3 * self.swarm.letter_ttl_s + 4,
            calm=self.swarm.calm,
        )
        projecting = asyncio.create_task(servers.projector.run())
        projecting.add_done_callback(self._projector_ended)
        try:
            await self._live()
            self._audit()
        except BaseException as error:
            self.story.tell("world", f"the end: {error!r}")
            raise
        finally:
            self._over = True
            self._trouble.clear_up()

    def _make_host(self, name: str, incarnation: str) -> Host:
        return Host(
            name,
            incarnation,
            servers=self.servers,
            weather=self._weather,
            witness=self._witness,
            limits=limits(self.swarm),
            on_end=self._host_ended,
        )

    async def _live(self) -> None:
        self._trouble.start(self.swarm.nodes)
        async with asyncio.TaskGroup() as clients:
            self._trouble.on_suspect = lambda host: clients.create_task(self._crowd.look(host))
            self._clients = clients
            async with asyncio.timeout(60):
                await self._crowd.open_sales(self.swarm.quantity)
            await self._suffer(clients)
            self.story.tell("world", "all is healed")
            self._trouble.heal()
            self._trouble.on_suspect = self._clients = None
            await self._all_serve()
            await self._all_are_answered()
            # What was asked of a node that hung may be decided yet, though nobody listens.
            await asyncio.sleep(self.swarm.letter_ttl_s + AHEAD_MS_MAX / 1000)
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                await self._all_leave()
        await asyncio.sleep((HOLD_MS + AHEAD_MS_MAX) / 1000 + 2)
        await self._nothing_is_held()
        await self._the_first_success_is_told_again()

    def _taken(self, batch: Batch) -> None:
        """The journal has it. Right after an owner's first facts its predecessor is asked."""
        self._witness.taken(batch)
        known = self._epoch_by_shard.get(batch.shard_id)
        if batch.entries and batch.epoch != known:
            self._epoch_by_shard[batch.shard_id] = batch.epoch
            sale_ids = {entry.sale_id: None for entry in batch.entries}
            self._weather.later(0, partial(self._ask_everybody, sale_ids))

    async def _ask_everybody(self, sale_ids: Iterable[str]) -> None:
        if self._clients is not None:
            for host in self._hosts:
                self._clients.create_task(self._crowd.look(host, sale_ids))

    async def _suffer(self, clients: asyncio.TaskGroup) -> None:
        for step in range(STEPS_MAX):
            self._raise_failures()
            enough = len(self._crowd.seen) >= COMMANDS
            if enough and self._weather.struck.total() >= FAULTS_MIN:
                return
            self._trouble.step(sure=enough or step % 40 == 39)
            if not enough:
                for _ in range(self._random.randrange(8)):
                    clients.create_task(self._crowd.come())
            await asyncio.sleep(self._random.choice((0, 0.001, 0.05, 0.3, 1.5)))
        raise AssertionError("nothing goes wrong here")

    def _raise_failures(self) -> None:
        if self.failures:
            raise self.failures[0]

    async def _all_serve(self) -> None:
        """Every node that is there has an answer from the owner of every shard.

        For sales that do not exist: those that do must be looked after without being asked for.
        """
        try:
            async with asyncio.timeout(SERVES_WITHIN_S):
                for host in list(self._hosts):
                    for sale_id in STRANGERS:
                        await self._until_served(host, sale_id)
        except TimeoutError:
            raise AssertionError("healed, it does not serve again") from None

    async def _until_served(self, host: Host, sale_id: str) -> None:
        while host.serves or (not host.listening and not host.ended):
            try:
                await host.ask(sale_id, c.ReadSale())
            except (Fault, ConnectionError):
                self._raise_failures()
                await asyncio.sleep(0.2)
            else:
                return

    async def _all_are_answered(self) -> None:
        until_s = asyncio.get_running_loop().time() + ANSWERS_WITHIN_S
        while late := [seen for seen in self._crowd.seen if not seen.answered]:
            assert asyncio.get_running_loop().time() < until_s, f"without an answer: {late}"
            self._raise_failures()
            await asyncio.sleep(0.5)

    async def _all_leave(self) -> None:
        """Whoever waits; none of the lines goes on by itself."""
        ledger = Ledger(self.servers.database.all_entries(), self._witness)
        for sale_id in SALES:
            assert not ledger.to_be_offered(sale_id)
            for entry_id in ledger.lines(sale_id):
                await self._crowd.leave(sale_id, entry_id)

    async def _nothing_is_held(self) -> None:
        unsettled = self.servers.database.unsettled(range(SHARDS))
        assert unsettled == [], "held after quiet, though the hold has ended"
        for host in [host for host in self._hosts if host.serves]:
            for sale_id in SALES:
                found = await host.ask(sale_id, c.ReadSale())
                assert isinstance(found, SaleView)
                assert [tier.held for tier in found.tiers] == [0, 0], "held after quiet"

    async def _the_first_success_is_told_again(self) -> None:
        hosts = [host for host in self._hosts if host.serves]
        for seen in self._crowd.seen:
            first = view(seen.answer)
            if isinstance(first, f.OrderPlaced | ScanView):
                again = await self._random.choice(hosts).ask(seen.sale_id, seen.command)
                assert isinstance(again, Replayed), seen
                assert again.view == told_of(first), seen

    # The audit.

    def _audit(self) -> None:
        self._raise_failures()
        database = self.servers.database
        for shard_id in range(SHARDS):
            audit_shard(database.batches(shard_id))
        entries = database.all_entries()
        ledger = Ledger(entries, self._witness)
        for seen in self._crowd.seen:
            ledger.check(seen)
        for seen in self._crowd.looks:
            if seen.answered:
                ledger.check(seen)
        self._witness.audit()
        for sale_id in SALES:
            assert ledger.held(sale_id) == 0
            self._audit_snapshots(sale_id, entries)

    def _audit_snapshots(self, sale_id: str, entries: list[f.Entry]) -> None:
        snapshots = self.servers.snapshots
        fast, kept = snapshots.fast.get(sale_id), snapshots.kept(sale_id)
        if fast is not None and fast.whole:
            assert _recoded(fast.entities) == _replayed(sale_id, entries, fast.seq)
        if kept is not None:
            assert _recoded(kept.entities) == _replayed(sale_id, entries, kept.seq)


def _recoded(entities: dict[str, bytes]) -> dict[str, bytes]:
    state = snapshot.restore(entities)
    return dict(snapshot.encode(state, snapshot.names(state)))


def _replayed(sale_id: str, entries: list[f.Entry], to_seq: int) -> dict[str, bytes]:
    """The sale's entities by the journal alone."""
    state = snapshot.fresh(sale_id)
    for entry in entries:
        if entry.sale_id == sale_id and entry.seq <= to_seq:
            apply(state, entry)
    return dict(snapshot.encode(state, snapshot.names(state)))
