"""Stock in Valkey: one EVALSHA an order; the rows come to Postgres behind the answer, in batches.

`InMemory` keeps what is not written yet in this process, as such shops do: quick, and lost with
it. `InList` has the same script append the order to a list in Valkey, which keeps it, with
`appendfsync always`, before it answers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import hiredis
import msgspec

from benchmarks.baselines.books import TIER_ID, Way, write_behind
from benchmarks.baselines.edge import Placed

STOCK, WAITING = f"stock:{TIER_ID}", "orders"
_TAKE = """
local left = redis.call('DECRBY', KEYS[1], ARGV[1])
if left >= 0 then return 1 end
redis.call('INCRBY', KEYS[1], ARGV[1])
return 0
"""
_TAKE_AND_KEEP = """
local left = redis.call('DECRBY', KEYS[1], ARGV[1])
if left >= 0 then
    redis.call('RPUSH', KEYS[2], ARGV[2])
    return 1
end
redis.call('INCRBY', KEYS[1], ARGV[1])
return 0
"""
_GATHER_S = 0.02
_BATCH_MAX = 1_000
_WAITING_MAX = 200_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Placed).decode


class Pipe(asyncio.Protocol):
    """A connection on which any number of calls are under way; answers come in order."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._loop = asyncio.get_running_loop()
        self._unsent: list[bytes] = []
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def call(self, *command: bytes | str | int) -> asyncio.Future[Any]:
        """Everything that is asked in one turn of the loop goes out together."""
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(hiredis.pack_command(cast(Any, command)))
        future = self._loop.create_future()
        self._waiting.append(future)
        return future

    def _send(self) -> None:
        self.transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            future = self._waiting.popleft()
            if future.cancelled():
                continue
            if isinstance(reply, hiredis.ReplyError):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in self._waiting:
            future.cancel()


class _InValkey(Way):
    script: str
    appendfsync: str

    def __init__(self, pipe: Pipe, digest: bytes) -> None:
        self._pipe = pipe
        self._digest = digest


class InMemory(_InValkey):
    script = _TAKE
    appendfsync = "everysec"

    def __init__(self, pipe: Pipe, digest: bytes) -> None:
        super().__init__(pipe, digest)
        self._behind: list[Placed] = []

    async def place(self, order: Placed) -> bool:
        if len(self._behind) > _WAITING_MAX:
            raise RuntimeError("the rows do not keep up")
        (item,) = order.items
        if not await self._pipe.call("EVALSHA", self._digest, 1, STOCK, item.quantity):
            return False
        self._behind.append(order)
        return True

    async def write(self, connection: asyncpg.Connection) -> bool:
        """A batch of what waits; whether there was any."""
        batch, self._behind = self._behind[:_BATCH_MAX], self._behind[_BATCH_MAX:]
        if batch:
            await write_behind(connection, batch)
        return bool(batch)


class InList(_InValkey):
    script = _TAKE_AND_KEEP
    appendfsync = "always"

    async def place(self, order: Placed) -> bool:
        (item,) = order.items
        keys = (2, STOCK, WAITING)
        call = self._pipe.call("EVALSHA", self._digest, *keys, item.quantity, _encode(order))
        return bool(await call)

    async def write(self, connection: asyncpg.Connection) -> bool:
        """What a crash has left in the list is written a second time, which changes nothing."""
        waiting = await self._pipe.call("LRANGE", WAITING, 0, _BATCH_MAX - 1)
        if waiting:
            await write_behind(connection, [_decode(blob) for blob in waiting])
            await self._pipe.call("LTRIM", WAITING, len(waiting), -1)
        return bool(waiting)


WAYS: dict[str, type[InMemory] | type[InList]] = {"lua": InMemory, "lua-always": InList}


@asynccontextmanager
async def opened(name: str, dsn: str, socket: str, places: int) -> AsyncIterator[InMemory | InList]:
    """A way of WAYS, its rows written behind until the end; the stock is set where it is not."""
    kind = WAYS[name]
    loop = asyncio.get_running_loop()
    transport, pipe = await loop.create_unix_connection(Pipe, socket)
    await pipe.call("CONFIG", "SET", "appendfsync", kind.appendfsync)
    digest = await pipe.call("SCRIPT", "LOAD", kind.script)
    await pipe.call("SET", STOCK, places, "NX")
    way = kind(pipe, digest)
    connection = await asyncpg.connect(dsn)
    while await way.write(connection):  # what a crash has left
        pass
    writing = asyncio.create_task(_write(way, connection))
    try:
        yield way
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        while await way.write(connection):
            pass
        await connection.close()
        transport.close()


async def _write(way: InMemory | InList, connection: asyncpg.Connection) -> None:
    while True:
        await way.write(connection)
        await asyncio.sleep(_GATHER_S)
