"""What happens to the world in a step: to a node, to a server, to a clock. And its healing."""

import asyncio
from collections.abc import Callable
from functools import partial

from tests.runtime.desk import SECOND_MS
from tests.runtime.memory_streams import CLOCK_MS
from tests.runtime.simulation.host import LEASE, Host, Servers
from tests.runtime.simulation.weather import Trouble, Weather
from tests.runtime.virtual_time import NOON_MS

AHEAD_MS_MAX = 4 * SECOND_MS  # how far a clock may be stepped
NODES_MAX = 4
_SKEW_MS = 300
_WAKES_WHEN_SUCCEEDED = 0.3


class Troublemaker:
    """`hosts`: the processes that are there, in the order of their coming."""

    def __init__(
        self, make: Callable[[str, str], Host], servers: Servers, weather: Weather
    ) -> None:
        self._make = make
        self._servers = servers
        self._weather = weather
        self._random = weather.random
        self._lives = 0
        self._all: list[Host] = []
        self._restarts: list[asyncio.TimerHandle] = []
        self._wakes: dict[Host, asyncio.TimerHandle] = {}
        self._sleeping: dict[str, Host] = {}  # by incarnation: until another has its name
        self.hosts: list[Host] = []
        self.on_suspect: Callable[[Host], object] | None = None  # it may not be the owner any more
        servers.database.on_succeeded = self._succeeded
        self._on_world: dict[Trouble, Callable[[], None]] = {
            Trouble.DATABASE_AWAY: self._database_goes,
            Trouble.REDIS_AWAY: self._redis_goes,
            Trouble.REDIS_EMPTIED: servers.streams.forget,
            Trouble.REDIS_OLDER: self._redis_comes_back_older,
            Trouble.SNAPSHOTS_AWAY: self._snapshots_go,
            Trouble.SNAPSHOTS_EMPTIED: self._snapshots_vanish,
            Trouble.JOIN: self._join,
        }
        self._on_host: dict[Trouble, Callable[[Host], None]] = {
            Trouble.CRASH: self._crash,
            Trouble.PAUSE: self._pause,
            Trouble.REPLACED: self._replace,
            Trouble.CLOCK: self._step_clock,
            Trouble.DATABASE_CUT: self._cut,
            Trouble.STOP: self._stop,
        }

    def start(self, nodes: int) -> None:
        for number in range(nodes):
            self._start(f"node{number}")

    def _start(self, name: str) -> None:
        self._lives += 1
        host = self._make(name, f"life{self._lives:02}")
        self.hosts.append(host)
        self._all.append(host)
        self._weather.story.tell(name, f"starts as {host.incarnation}")
        host.start()

    # A step.

    def step(self, *, sure: bool) -> None:
        """Whatever strikes; if nothing does and it must be `sure`, a node is stopped or joins."""
        before = self._weather.struck.total()
        self.hosts[:] = [host for host in self.hosts if not self._is_gone(host)]
        for trouble, befall in self._on_world.items():
            if self._weather.strikes(trouble, "world"):
                befall()
        for trouble, befall_host in self._on_host.items():
            target = self._random.choice(self.hosts) if self.hosts else None
            if target is not None and self._weather.strikes(trouble, target.name):
                befall_host(target)
        if sure and self._weather.struck.total() == before:
            self._weather.note(Trouble.JOIN, "world")
            self._join()

    def _is_gone(self, host: Host) -> bool:
        return host.life.killed or host.ended

    def _soon(self, seconds: float, work: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(seconds, work, *arguments)

    # Nodes.

    def _restart(self, name: str) -> None:
        seconds = self._random.choice((0.0, 0.5, 2.0, 7.0))
        if len(self.hosts) > 1 and self._random.random() < 0.3:
            return  # it stays away
        loop = asyncio.get_running_loop()
        self._restarts.append(loop.call_later(seconds, self._start_once, name))

    def _start_once(self, name: str) -> None:
        if all(host.name != name for host in self.hosts):
            self._start(name)

    def _crash(self, host: Host) -> None:
        host.kill()
        self.hosts.remove(host)
        self._restart(host.name)

    def _pause(self, host: Host) -> None:
        if host.life.paused:
            return
        host.pause()
        seconds = self._random.choice((0.3, LEASE.ttl_s + 0.5, LEASE.ttl_s + 2, LEASE.ttl_s + 5))
        loop = asyncio.get_running_loop()
        self._wakes[host] = loop.call_later(seconds, self._wake, host)

    def _wake(self, host: Host) -> None:
        if not host.life.killed:
            self._suspect(host)
            self._weather.story.tell(host.name, f"wakes as {host.incarnation}")
            host.life.wake()

    def _suspect(self, host: Host) -> None:
        if self.on_suspect is not None:
            self.on_suspect(host)

    def _replace(self, host: Host) -> None:
        """Another process is started under its name while it only sleeps. The new one has to wait
        for the lease, and has no name at all if this one wakes before. In between is the worst: it
        has the name, and not the shards yet."""
        if host.life.paused or host.stopping:
            return
        host.pause()
        host.stopping = True  # for the load balancer
        seconds = self._random.choice((1.0, LEASE.ttl_s - 0.1, LEASE.ttl_s + 3))
        self._wakes[host] = asyncio.get_running_loop().call_later(seconds, self._wake, host)
        if self._random.random() < _WAKES_WHEN_SUCCEEDED:
            self._sleeping[host.incarnation] = host
        self._start(host.name)

    def _succeeded(self, incarnation: str) -> None:
        host = self._sleeping.pop(incarnation, None)
        if host is not None and host.life.paused:
            self._wakes[host].cancel()
            self._weather.later(0, partial(self._wake_now, host))

    async def _wake_now(self, host: Host) -> None:
        self._wake(host)

    def _stop(self, host: Host) -> None:
        serving = [other for other in self.hosts if other.serves and other is not host]
        if serving and not host.stopping and host.listening:
            host.stop()
            if self._random.random() < 0.7:
                self._soon(self._random.choice((4.0, 8.0)), self._start_once_gone, host)

    def _start_once_gone(self, host: Host) -> None:
        if host.ended and len(self.hosts) <= NODES_MAX:
            self._start_once_gone_for_good(host)

    def _start_once_gone_for_good(self, host: Host) -> None:
        if host in self.hosts:
            self.hosts.remove(host)
        self._start_once(host.name)

    def _join(self) -> None:
        if len(self.hosts) < NODES_MAX:
            self._start(f"node{self._lives}")

    # Clocks and servers.

    def _step_clock(self, host: Host) -> None:
        host.clock.offset_ms += self._random.choice(
            (-AHEAD_MS_MAX, -1_500, 200, 1_500, AHEAD_MS_MAX)
        )
        self._limit(host)
        self._soon(self._random.choice((0.5, 3.0)), self._set_right, host)

    def _limit(self, host: Host) -> None:
        off_ms = host.clock.offset_ms - NOON_MS
        host.clock.offset_ms = NOON_MS + max(-AHEAD_MS_MAX, min(AHEAD_MS_MAX, off_ms))

    def _set_right(self, host: Host) -> None:
        host.clock.offset_ms = NOON_MS + self._random.randint(-_SKEW_MS, _SKEW_MS)

    def _some_s(self) -> float:
        return self._random.choice((0.2, 1.5, LEASE.ttl_s + 2))

    def _database_goes(self) -> None:
        until_s = asyncio.get_running_loop().time() + self._some_s()
        for host in self.hosts:
            host.to_database.cut_until_s = until_s

    def _cut(self, host: Host) -> None:
        host.to_database.cut_until_s = asyncio.get_running_loop().time() + self._some_s()
        for seconds in (LEASE.ttl_s + 0.5, LEASE.ttl_s + 1.5):
            self._soon(seconds, self._suspect, host)

    def _redis_goes(self) -> None:
        self._servers.streams.away = True
        self._soon(self._some_s(), self._redis_returns)

    def _redis_returns(self) -> None:
        self._servers.streams.away = False

    def _redis_comes_back_older(self) -> None:
        streams = self._servers.streams
        streams.clock_ms -= self._random.choice((0, SECOND_MS, 60 * SECOND_MS))
        streams.come_back()
        self._soon(self._some_s(), streams.remember)

    def _snapshots_go(self) -> None:
        self._servers.snapshots.away = True
        self._soon(self._some_s(), self._snapshots_return)

    def _snapshots_return(self) -> None:
        self._servers.snapshots.away = False

    def _snapshots_vanish(self) -> None:
        snapshots = self._servers.snapshots
        self._random.choice((snapshots.fast, snapshots.durable)).clear()

    # The end.

    def heal(self) -> None:
        """Nothing goes wrong any more; what was planned is still carried out."""
        self._weather.healed = True
        self._servers.streams.away = False
        self._servers.streams.clock_ms = CLOCK_MS
        self._servers.snapshots.away = False
        for restart in self._restarts:
            restart.cancel()
        for host in list(self.hosts):
            host.to_database.cut_until_s = host.to_redis.cut_until_s = 0.0
            self._set_right(host)
            if host.life.paused and not host.stopping:  # a replaced one wakes when it was to
                self._wakes[host].cancel()
                self._wake(host)
        if all(host.stopping or self._is_gone(host) for host in self.hosts):
            self._start(f"node{self._lives}")

    def clear_up(self) -> None:
        """The world is over: whoever is paused or dead unwinds."""
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        for host in self._all:
            host.life.wake()
