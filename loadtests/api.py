"""The calls that the demo's people make: who they are, and how patient with a server they are.

A request that changes something always carries a key, so it may be sent again when no answer came
or the server was too busy.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec import Struct

from loadtests.client import Answer, Client, NoAnswer

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
_BUSY = (429, 503)
_TIMER_GRAIN_S = 0.005  # a loop's timer may fire a little early

_T = TypeVar("_T")


class Caller(Struct, frozen=True):
    """`headers`: the credential as a header line."""

    role: str
    subject: str
    headers: bytes

    def with_key(self, key: str) -> bytes:
        return b"%bIdempotency-Key: %b\r\n" % (self.headers, key.encode())


class UnexpectedAnswer(Exception):
    """The server said what it should not have to; the demo can't go on."""


class _Refusal(Struct, frozen=True):
    code: str = ""


class _Credential(Struct, frozen=True):
    token: str


async def sign_in(client: Client, role: str, subject: str, event_id: str | None = None) -> Caller:
    asked = {"role": role, "subject": subject, "event_id": event_id}
    answer = await patiently(
        lambda: client.request("POST", "/v1/dev/token", msgspec.json.encode(asked), kind="sign in")
    )
    token = expect(answer, 200, _Credential).token
    return Caller(role, subject, b"Authorization: Bearer %b\r\n" % token.encode())


async def patiently(attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """Try until there is a definite answer. Raises NoAnswer where patience runs out."""
    reason = ""
    for pause_s in PAUSES_S:
        try:
            answer = await attempt()
        except NoAnswer as error:
            reason = str(error)
        else:
            if answer.status not in _BUSY:
                return answer
            reason = f"status {answer.status}"
        await asyncio.sleep(pause_s)
    raise NoAnswer(f"none in {len(PAUSES_S)} attempts, the last: {reason}")


def expect(answer: Answer, status: int, wanted: type[_T]) -> _T:
    """Raises UnexpectedAnswer."""
    if answer.status != status:
        raise UnexpectedAnswer(f"{answer.status} {code(answer)} instead of {status}")
    return msgspec.json.decode(answer.body, type=wanted)


def code(answer: Answer) -> str:
    """What a refusal is called; empty for an answer that is none."""
    try:
        return msgspec.json.decode(answer.body, type=_Refusal).code
    except msgspec.DecodeError:
        return ""


async def sleep_until(instant: str, more_s: float = 0.0) -> None:
    """`instant`: RFC 3339, by the clock that we share with the server. Never returns before it."""
    await asyncio.sleep(max(0.0, left_s(instant) + more_s) + _TIMER_GRAIN_S)


def left_s(instant: str) -> float:
    """Seconds until then; negative afterwards."""
    return datetime.fromisoformat(instant).timestamp() - time.time()
