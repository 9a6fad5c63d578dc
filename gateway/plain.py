"""Requests in their plainest form, read without a parser.

    POST path HTTP/1.1; headers of a name, ": " and printable ASCII, no space around it, each name
    once; a Content-Length, so many bytes, and nothing behind them

Whatever is sent otherwise, be it right or wrong, is left to aiohttp's parser. So nothing is lenient
here: where two readers understand a request differently, one can be smuggled in another.
"""

import re
from functools import lru_cache

from msgspec import Struct

HEAD_BYTES_MAX = 8_190  # aiohttp's own limit for a line
PART_BYTES_MAX = 16_384  # of a request that waits for its rest, and is read anew with each piece

_HEADS_KEPT = 1_024

_BEGINS = b"POST /v1/events/"
_KEY = re.compile(rb"\r\nIdempotency-Key: ([!-~]++)(?=\r\n|\Z)")
_HEAD = re.compile(
    rb"POST (/v1/events/(evt_[0-9a-f]{16})/([a-z]+)) HTTP/1\.1"
    rb"((?:\r\n[A-Za-z0-9-]++: (?! )[ -~]*+(?<! ))++)"
)
_FRAMED_OTHERWISE = frozenset(
    ("transfer-encoding", "content-encoding", "expect", "upgrade", "trailer")
)


class Head(Struct, frozen=True, gc=False):
    """`end`: of the path, behind the event's id. `headers` by their names in lower case."""

    path: str
    event_id: str
    end: str
    headers: dict[str, str]
    length: str


def read(data: bytes) -> tuple[Head, bytes | None] | None:
    """What was sent since the end of the request before, if it begins like a plain one: its head,
    and its body, or None where the rest of that is still to come.
    """
    at = data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX + 4) if data.startswith(_BEGINS) else -1
    if at < 0:
        return None
    head = _head(data[:at])
    if head is None:
        return None
    body = data[at + 4 :]
    if head.length == str(len(body)):
        return head, body
    return (head, None) if _is_waited_for(head.length, len(body)) else None


def _head(told: bytes) -> Head | None:
    """A client's heads differ in their keys, if at all: the rest is read once."""
    key = _KEY.search(told)
    if key is None:
        return _read(told)
    head = _read(told[: key.start()] + told[key.end() :])
    if head is None or "idempotency-key" in head.headers:
        return None
    headers = {**head.headers, "idempotency-key": key[1].decode()}
    return Head(head.path, head.event_id, head.end, headers, head.length)


@lru_cache(_HEADS_KEPT)
def _read(told: bytes) -> Head | None:
    found = _HEAD.fullmatch(told)
    if found is None:
        return None
    path, event_id, end, block = found.groups()
    lines = block.decode().split("\r\n")[1:]
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    if (
        len(headers) != len(lines)
        or "host" not in headers
        or not headers.keys().isdisjoint(_FRAMED_OTHERWISE)
        or headers.get("connection", "keep-alive").lower() != "keep-alive"
    ):
        return None
    length = headers.get("content-length", "")
    return Head(path.decode(), event_id.decode(), end.decode(), headers, length)


def _is_waited_for(length: str, come: int) -> bool:
    return 1 <= len(length) <= 5 and length.isdigit() and come < int(length) < PART_BYTES_MAX
