"""One process: the engine and the gateway of a node, joined as `gateway/parts` joins them.

It lives in a `Life` of the loop, so it can be paused and killed at any of its steps. Clients reach
it as by HTTP: from outside nothing of it is called, only left at its door.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from engine.commands import Command
from engine.replies import Reply
from engine.runtime.faults import Fault
from engine.runtime.limits import Limits
from engine.runtime.mailbox import NearestMailbox
from engine.runtime.ownership import Lease, Ownership
from engine.runtime.ports import Mailbox
from engine.runtime.remote import RemoteMailbox
from engine.runtime.supervisor import Supervisor
from gateway.archive import Archive
from tests.runtime.database import Database
from tests.runtime.memory import MemoryJournal, MemoryMembership, MemorySnapshots
from tests.runtime.memory_streams import MemoryStreams
from tests.runtime.simulation.links import (
    JournalLink,
    MembershipLink,
    SnapshotsLink,
    StreamsLink,
    Wire,
)
from tests.runtime.simulation.tables import FilesLink, Projector
from tests.runtime.simulation.weather import Story, Weather
from tests.runtime.simulation.witness import Witness
from tests.runtime.virtual_time import NOON_MS, Life, VirtualClock, VirtualLoop

SHARDS = 4
LEASE = Lease()
HAND_OVER_S = 4.0
CLOSE_S = 2.0


class Servers:
    """What outlives every node."""

    def __init__(self, weather: Weather, *, fence: bool = True) -> None:
        self.database = Database(fence=fence)
        self.projector = Projector(self.database, weather)
        self.streams = MemoryStreams()
        self.snapshots = MemorySnapshots()


class _Teller:
    """An Observer that tells the story."""

    def __init__(self, story: Story, node: str) -> None:
        self._tell = partial(story.tell, node)

    def turn_committed(self, letters: int, facts: int, seconds: float) -> None:
        pass

    def letter_refused(self, reason: str) -> None:
        pass

    def sale_loaded(self, sale_id: str, seconds: float, facts_replayed: int) -> None:
        self._tell(f"loads {sale_id[-4:]}, {facts_replayed} facts by replay")

    def sale_died(self, sale_id: str, error: BaseException) -> None:
        self._tell(f"buries {sale_id[-4:]}: {error!r}")

    def shard_taken(self, shard_id: int) -> None:
        self._tell(f"takes shard {shard_id}")

    def shard_handed_over(self, shard_id: int, successor: str) -> None:
        self._tell(f"hands shard {shard_id} over to {successor}")

    def shard_lost(self, shard_id: int) -> None:
        self._tell(f"drops shard {shard_id}")

    def lease_failed(self, error: BaseException) -> None:
        self._tell(f"membership: {error!r}")

    def streams_failed(self, error: BaseException) -> None:
        self._tell(f"streams: {error!r}")

    def journal_failed(self, error: BaseException) -> None:
        self._tell(f"journal: {error!r}")

    def snapshot_failed(self, error: BaseException) -> None:
        self._tell(f"snapshots: {error!r}")


class Host:
    """`on_end`: told how the process ended, unless it was killed."""

    def __init__(
        self,
        name: str,
        incarnation: str,
        *,
        servers: Servers,
        weather: Weather,
        witness: Witness,
        limits: Limits,
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.name = name
        self.incarnation = incarnation
        self.life = Life(loop)
        self.clock = VirtualClock(NOON_MS + weather.random.randint(-300, 300))
        self.listening = False
        self.stopping = False
        self.ended = False
        self.disturbed = 0  # how often it was paused or killed
        self.to_database = Wire(weather, name)
        self.to_redis = Wire(weather, name)
        self._on_end = on_end
        self._dead = servers.database.dead
        self._open: dict[asyncio.Future[Reply], None] = {}  # requests without a response
        observer = _Teller(weather.story, name)
        self._files = FilesLink(servers.projector, self.to_database)
        journal = JournalLink(MemoryJournal(servers.database, name, incarnation), self.to_database)
        membership = MemoryMembership(servers.database, name, incarnation, LEASE.ttl_s)
        streams = StreamsLink(servers.streams, self.to_redis, witness)
        self._supervisor = Supervisor(
            journal=journal,
            snapshots=SnapshotsLink(servers.snapshots, self.to_redis),
            clock=self.clock,
            observer=observer,
            shards=SHARDS,
            limits=limits,
            random=weather.random.randbytes,
        )
        self._ownership = Ownership(
            node=name,
            membership=MembershipLink(membership, self.to_database),
            journal=journal,
            streams=streams,
            supervisor=self._supervisor,
            clock=self.clock,
            observer=observer,
            shards=SHARDS,
            lease=LEASE,
        )
        self._remote = RemoteMailbox(
            streams=streams,
            clock=self.clock,
            observer=observer,
            gateway=f"{name}/{incarnation}",
            shards=SHARDS,
            letter_ttl_s=limits.letter_ttl_s,
        )
        self._stop = asyncio.Event()

    @property
    def alive(self) -> bool:
        return not self.life.killed

    @property
    def serves(self) -> bool:
        """As far as a load balancer knows."""
        return self.listening and not (self.stopping or self.ended or self.life.killed)

    # From outside.

    def start(self) -> None:
        self.life.begin(self._begin)

    def stop(self) -> None:
        """SIGTERM."""
        self.stopping = True
        self.life.begin(self._stop.set)

    def kill(self) -> None:
        self.disturbed += 1
        self.life.kill()
        self._dead.add(self.incarnation)
        for response in list(self._open):
            _settle(response, ConnectionResetError())

    def pause(self) -> None:
        self.disturbed += 1
        self.life.pause()

    def ask(self, sale_id: str, command: Command) -> "asyncio.Future[Reply]":
        """A request; ConnectionError where nobody is there or the process dies over it."""
        response: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self.listening and self.alive:
            self._open[response] = None
            response.add_done_callback(lambda done: self._open.pop(done, None))
            self.life.begin(self._serve, response, sale_id, command)
        else:
            response.set_exception(ConnectionRefusedError())
        return response

    # Inside.

    def _begin(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self._run())
        self._running.add_done_callback(self._ended)

    def _ended(self, running: "asyncio.Task[None]") -> None:
        self.ended = True
        self._dead.add(self.incarnation)
        self._on_end(None if running.cancelled() else running.exception())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            owning = tasks.create_task(self._ownership.run())
            deciding = tasks.create_task(self._supervisor.run())
            await self._ownership.begun.wait()
            remote = tasks.create_task(self._remote.run())
            nearest = NearestMailbox(self._supervisor, self._remote)
            mailbox: Mailbox = Archive(nearest, self._files, self.clock)
            self._mailbox = mailbox
            self.listening = True
            await self._stop.wait()
            resigning = tasks.create_task(self._ownership.resign())
            await asyncio.wait([resigning], timeout=HAND_OVER_S)
            resigning.cancel()
            self.listening = False
            if self._open:
                await asyncio.wait(list(self._open), timeout=CLOSE_S)
            remote.cancel()
            self._supervisor.stop()
            await deciding
            owning.cancel()
            await asyncio.wait([owning])
            await self._ownership.leave()
        for response in list(self._open):
            _settle(response, ConnectionResetError())

    def _serve(self, response: "asyncio.Future[Reply]", sale_id: str, command: Command) -> None:
        if not self.listening:
            _settle(response, ConnectionResetError())
            return
        try:
            asked = asyncio.ensure_future(self._mailbox.ask(sale_id, command))
        except Fault as fault:
            _settle(response, fault)
        else:
            asked.add_done_callback(partial(_pass_on, response))


def _settle(response: "asyncio.Future[Reply]", error: Exception) -> None:
    if not response.done():
        response.set_exception(error)


def _pass_on(response: "asyncio.Future[Reply]", asked: "asyncio.Future[Reply]") -> None:
    if asked.cancelled():
        return
    error = asked.exception()
    if response.done():
        return
    if error is not None:
        response.set_exception(error)
    else:
        response.set_result(asked.result())
