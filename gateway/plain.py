"""Requests in their plainest form, read without a parser.

    POST path HTTP/1.1; headers of a name, ": " and printable ASCII, no space around it, each name
    once; a Content-Length, so many bytes, and nothing behind them

Whatever is sent otherwise, be it right or wrong, is left to aiohttp's parser. So nothing is lenient
here: where two readers understand a request differently, one can be smuggled in another.
"""

import re

from msgspec import Struct

HEAD_BYTES_MAX = 8_190  # aiohttp's own limit for a line
PART_BYTES_MAX = 16_384  # of a request that waits for its rest, and is read anew with each piece

_HEAD = re.compile(
    rb"POST (/v1/events/(evt_[0-9a-f]{16})/([a-z]+)) HTTP/1\.1"
    rb"((?:\r\n[A-Za-z0-9-]++: (?! )[ -~]*+(?<! ))++)\r\n\r\n"
)
_FRAMED_OTHERWISE = frozenset(
    ("transfer-encoding", "content-encoding", "expect", "upgrade", "trailer")
)


class Plain(Struct, gc=False):
    """`end`: of the path, behind the event's id. `headers` by their names in lower case. `body`
    None: the rest of it is still to come.
    """

    path: str
    event_id: str
    end: str
    headers: dict[str, str]
    body: bytes | None


def read(data: bytes) -> Plain | None:
    """What was sent since the end of the request before, if it begins like a plain one."""
    found = _HEAD.match(data)
    if found is None or found.end() > HEAD_BYTES_MAX:
        return None
    path, event_id, end, told = found.groups()
    lines = told.decode().split("\r\n")[1:]
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
    body = data[found.end() :]
    whole = _is_whole(body, headers.get("content-length", ""))
    if whole is None:
        return None
    names = path.decode(), event_id.decode(), end.decode()
    return Plain(*names, headers, body if whole else None)


def _is_whole(body: bytes, told: str) -> bool | None:
    """None: it is not what the Content-Length tells, or too much to be waited for here."""
    if told == str(len(body)):
        return True
    waited_for = 1 <= len(told) <= 5 and told.isdigit() and len(body) < int(told) < PART_BYTES_MAX
    return False if waited_for else None
