"""Calls and answers between processes, as Redis streams and lists.

A shard's calls are one stream, named with the shard as hash tag; a gateway's answers are one list,
named after that life of it. Nothing crosses slots of a cluster. A stream is bounded: what is not
decided is never trimmed, a call that finds it full is refused instead.

The ids of a stream's entries grow by Redis's clock. An owner that finds its stream behind its own
place in it (Redis came back empty, or older, with its clock set back) lifts it by XSETID to that
place, so that what comes next is read, and what was decided once is not read again.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError, ResponseError

from engine.replies import Reply
from engine.runtime.faults import Fault, MailboxFull, MailboxUnavailable, OutcomeUnknown
from engine.runtime.ports import Parcel
from persistence.transactions import heed_cancellation

PARCELS_MAX = 20_000  # in a stream
READ_MAX = 200
BLOCK_MS = 500
SOCKET_TIMEOUT_S = 1.5  # well above what a blocking read takes
ANSWERS_KEPT_MS = 15_000
CONNECTIONS_MAX = 4_000  # the reader of each shard holds one

_SEND = """
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end
return redis.call('XADD', KEYS[1], '*', 'p', ARGV[2])
"""

# The newest id that the stream has given, as two numbers to compare by.
_LIFT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then
    local ms, n = string.match(info[i + 1], '(%d+)-(%d+)')
    local my_ms, my_n = string.match(ARGV[1], '(%d+)-(%d+)')
    ms, n, my_ms, my_n = tonumber(ms), tonumber(n), tonumber(my_ms), tonumber(my_n)
    if ms < my_ms or (ms == my_ms and n < my_n) then
      redis.call('XSETID', KEYS[1], ARGV[1])
      return 1
    end
  end
end
return 0
"""


class _Answer(msgspec.Struct, array_like=True, gc=False):
    number: int
    reply: Reply
    fault: str | None


_FAULTS = {kind.__name__: kind for kind in Fault.__subclasses__()}
_encode = msgspec.msgpack.Encoder().encode
_decode_parcel = msgspec.msgpack.Decoder(Parcel).decode
_decode_answers = msgspec.msgpack.Decoder(list[_Answer]).decode


def connect(url: str) -> Redis:
    """A client that hears within seconds that Redis is away, and never sends anything twice."""
    return Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        max_connections=CONNECTIONS_MAX,
        retry=Retry(NoBackoff(), 0),
    )


def stream_key(shard_id: int) -> str:
    return f"stampede:{{{shard_id}}}:calls"


def answers_key(gateway: str) -> str:
    return f"stampede:answers:{{{gateway}}}"


class RedisStreams:
    def __init__(self, redis: Redis, parcels_max: int = PARCELS_MAX) -> None:
        self._redis = redis
        self._parcels_max = parcels_max
        self._lift = redis.register_script(_LIFT)
        self._log = structlog.get_logger("streams")

    async def send(self, shard_id: int, parcel: Parcel) -> None:
        """On a connection that was seen to stand: else it is known that nothing was sent."""
        sending = "EVAL", _SEND, 1, stream_key(shard_id), self._parcels_max, _encode(parcel)
        pool: Any = self._redis.connection_pool  # it has no types
        try:
            connection = await pool.get_connection()
        except (RedisError, OSError) as error:
            raise MailboxUnavailable from error
        try:
            await connection.send_command(*sending)
            entry_id = await connection.read_response()
        except (ResponseError, BusyLoadingError) as error:
            raise MailboxUnavailable from error
        except (RedisError, OSError) as error:
            raise OutcomeUnknown from error
        finally:
            await pool.release(connection)
        if entry_id is None:
            raise MailboxFull

    async def read(self, shard_id: int, after: str) -> list[Parcel]:
        key = stream_key(shard_id)
        try:
            found: Any = await self._redis.xread({key: after}, count=READ_MAX, block=BLOCK_MS)
            if not found and await self._lift(keys=[key], args=[after]):
                self._log.warning("stream was behind and has been lifted", shard_id=shard_id)
        except (RedisError, OSError) as error:
            heed_cancellation(error)
            raise MailboxUnavailable from error
        heed_cancellation()  # as in `answers`
        return [self._parcel(entry_id, fields) for _, rows in found for entry_id, fields in rows]

    def _parcel(self, entry_id: bytes, fields: dict[bytes, bytes]) -> Parcel:
        """What can't be read holds no calls: who sent it hears nothing, and asks again."""
        try:
            parcel = _decode_parcel(fields[b"p"])
        except (KeyError, msgspec.DecodeError) as error:
            self._log.error("entry can't be read", entry_id=entry_id, error=repr(error))
            return Parcel(entry_id.decode(), "", 0, ())
        return msgspec.structs.replace(parcel, entry_id=entry_id.decode())

    async def trim(self, shard_id: int, up_to: str) -> None:
        ms, _, number = up_to.partition("-")
        try:
            await self._redis.xtrim(
                stream_key(shard_id), minid=f"{ms}-{int(number) + 1}", approximate=False
            )
        except (RedisError, OSError) as error:
            heed_cancellation(error)
            raise MailboxUnavailable from error

    async def answer(self, gateway: str, answers: Sequence[tuple[int, Reply | Fault]]) -> None:
        key = answers_key(gateway)
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.rpush(key, _encode([_answer(*answer) for answer in answers]))
                pipeline.pexpire(key, ANSWERS_KEPT_MS)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            heed_cancellation(error)
            raise MailboxUnavailable from error

    async def answers(self, gateway: str) -> list[tuple[int, Reply | Fault]]:
        try:
            found: Any = await self._redis.blmpop(
                BLOCK_MS / 1000, 1, answers_key(gateway), direction="LEFT", count=READ_MAX
            )
        except (RedisError, OSError) as error:
            heed_cancellation(error)
            raise MailboxUnavailable from error
        heed_cancellation()  # the client has been seen to swallow it
        messages = found[1] if found else []
        return [told for message in messages for told in self._told(message)]

    def _told(self, message: bytes) -> list[tuple[int, Reply | Fault]]:
        try:
            answers = _decode_answers(message)
        except msgspec.DecodeError as error:  # a gateway that dies of it would lose all others
            self._log.error("answers can't be read", error=repr(error))
            return []
        return [_outcome(answer) for answer in answers]


def _answer(number: int, outcome: Reply | Fault) -> _Answer:
    if isinstance(outcome, Fault):
        return _Answer(number, None, type(outcome).__name__)
    return _Answer(number, outcome, None)


def _outcome(answer: _Answer) -> tuple[int, Reply | Fault]:
    if answer.fault is not None:
        return answer.number, _FAULTS.get(answer.fault, OutcomeUnknown)()
    return answer.number, answer.reply
