"""What every route needs to read a request and to write an answer.

Bodies are decoded straight into Structs that forbid unknown fields; what does not fit is a 400
that names the path of the field.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from engine.commands import Key
from engine.rejections import Reason, Rejection
from gateway.answers import REPLAYED_HEADER, Answer
from gateway.auth import Principal
from gateway.problems import Problem, malformed, refused

BODY_BYTES_MAX = 256 * 1024
KEY_HEADER = "Idempotency-Key"
PAGE_DEFAULT = 50
PAGE_MAX = 200

_T = TypeVar("_T")
_encoder = msgspec.json.Encoder()
_decoder_by_type: dict[Any, msgspec.json.Decoder[Any]] = {}


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """What a request's JSON body is decoded into."""


async def decode(request: web.Request, wanted: type[_T]) -> _T:
    """Raises Problem 400 `malformed_request` where the body is not one of `wanted`."""
    return decode_bytes(await request.read(), wanted)


def decode_bytes(body: bytes, wanted: type[_T]) -> _T:
    decoder = _decoder_by_type.get(wanted)
    if decoder is None:
        decoder = _decoder_by_type[wanted] = msgspec.json.Decoder(wanted)
    try:
        decoded: _T = decoder.decode(body)
    except msgspec.DecodeError as error:
        raise malformed(str(error)) from None
    except (RecursionError, UnicodeDecodeError):
        raise malformed("the body is nested too deep or is not UTF-8") from None
    return decoded


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=_encoder.encode(value),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def replayed(value: object, status: int = 200) -> web.Response:
    return answer(value, status, {REPLAYED_HEADER: "true"})


def encoded(value: object, status: int = 200, *, replayed: bool = False) -> Answer:
    return Answer(status, _encoder.encode(value), replayed=replayed)


class Asked(Protocol):
    """What an idempotency key is made of, beside body and caller.

    `headers` are found by their names in lower case.
    """

    @property
    def path(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


def idempotency_key(request: Asked, body: bytes, principal: Principal) -> Key:
    """Raises Problem 400 `idempotency_key_required` without the header, `malformed_request` on
    one that is not 1-128 visible ASCII characters."""
    key = optional_idempotency_key(request, body, principal)
    if key is None:
        raise Problem(
            400, "idempotency_key_required", f"this request needs the header {KEY_HEADER}"
        )
    return key


def optional_idempotency_key(request: Asked, body: bytes, principal: Principal) -> Key | None:
    text = request.headers.get("idempotency-key")
    if text is None:
        return None
    if not (1 <= len(text) <= 128 and text.isascii() and text.isprintable() and " " not in text):
        raise malformed(f"{KEY_HEADER}: 1 to 128 visible ASCII characters")
    caller = f"{principal.digest}\0{text}".encode()
    what = b"%b\0%b" % (request.path.encode(), body)
    return Key(blake2b(caller, digest_size=16).digest(), blake2b(what, digest_size=16).digest())


def page_limit(request: web.Request) -> int:
    text = request.query.get("limit", str(PAGE_DEFAULT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= PAGE_MAX):
        raise malformed(f"limit: a whole number from 1 to {PAGE_MAX}")
    return int(text)


def page_cursor(request: web.Request) -> str | None:
    """The last key of the page before, or None for the first page."""
    text = request.query.get("cursor")
    if text is None:
        return None
    try:
        return base64.urlsafe_b64decode(text.encode()).decode()
    except ValueError:
        raise malformed("cursor: take it from next_cursor as it is") from None


def page(items: list[Any], last_key: str | None) -> web.Response:
    """A list's answer; `last_key` is the key of the last item where there are more to come."""
    cursor = base64.urlsafe_b64encode(last_key.encode()).decode() if last_key else None
    return answer({"items": items, "next_cursor": cursor})


@lru_cache(maxsize=4096)
def instant(ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond. All that is decided in one turn has the same ones."""
    return f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def unknown(noun: str) -> web.Response:
    return refused(Rejection(Reason(f"unknown_{noun}")))
