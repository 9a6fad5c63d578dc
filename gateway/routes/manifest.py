"""The manifest: what a device must know to judge tickets without a network.

It holds hashes of tokens, never a token. It is made in Postgres as of one fact of the sale, which
it names, and signed with the event's key. One is made at a time for each event, off the loop, and
serves all devices that ask until something has changed.
"""

import asyncio
import gzip
import json
from collections import OrderedDict
from hashlib import sha256

from aiohttp import web
from msgspec import Struct

from engine.catalogue import Event, to_ms
from engine.lifecycle import EventStatus
from engine.projection import TokenList
from engine.rejections import Rejection
from gateway.devices import Secrets
from gateway.http import instant
from gateway.problems import malformed, refused
from gateway.reached import reached
from gateway.routes.doors import may_work_here
from gateway.routing import DOORS, Route, ports_of, principal_of

MADE_MAX = 8  # manifests that are kept to be given again
CHANGES_MAX = 20_000  # rather all of it than more than that
_GZIP_LEVEL = 1
_HOUR_MS = 60 * 60 * 1000


class ManifestGate(Struct, frozen=True):
    """`tiers`: their indexes; none: all are admitted."""

    name: str
    tiers: list[int]


class ManifestDoors(Struct, frozen=True):
    opens_at: str
    cancelled: bool
    reentry: bool
    gates: list[ManifestGate]


class ManifestTier(Struct, frozen=True):
    tier_id: str
    name: str


class Manifest(Struct, frozen=True):
    """`tickets`: [SHA-256 of the token in hex, index of its tier, status]; OUT is a status, too: it
    was in, and may come back. `version`: the fact of the sale that it is as of. `full`: all that
    there is, and not only what has changed.

    `signature`: by the event's key over the RFC 8785 form of the rest, base64url.
    """

    event_id: str
    version: int
    cursor: str
    full: bool
    doors: ManifestDoors
    tiers: list[ManifestTier]
    tickets: list[tuple[str, int, str]]
    signature: str


class Made(Struct, frozen=True):
    """A manifest as it is sent."""

    etag: str
    body: bytes
    packed: bytes


class Manifests:
    """Those that were made, the latest of each event."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, Made] = OrderedDict()
        self._making: dict[str, asyncio.Lock] = {}

    def kept(self, event_id: str, etag: str) -> Made | None:
        made = self._made.get(event_id)
        return made if made is not None and made.etag == etag else None

    def keep(self, event_id: str, made: Made) -> None:
        self._made[event_id] = made
        self._made.move_to_end(event_id)
        if len(self._made) > MADE_MAX:
            self._made.popitem(last=False)

    def one_at_a_time(self, event_id: str) -> asyncio.Lock:
        if len(self._making) > MADE_MAX:
            self._making = {e: lock for e, lock in self._making.items() if lock.locked()}
        return self._making.setdefault(event_id, asyncio.Lock())


MANIFESTS: web.AppKey[Manifests] = web.AppKey("manifests", Manifests)


async def manifest(request: web.Request) -> web.Response:
    principal, event_id = principal_of(request), request.match_info["event_id"]
    await may_work_here(request, principal, event_id)
    event = await ports_of(request).catalogue.event(event_id)
    if isinstance(event, Rejection):
        return refused(event)
    await reached(request, event_id)  # if they have not, it is right to the fact that it names
    cursor = request.query.get("cursor")
    if cursor is not None:
        made = await _changes(request, event, cursor)
        if made is not None:
            return _sent(request, made)
    return await _whole(request, event)


async def _changes(request: web.Request, event: Event, cursor: str) -> Made | None:
    """None where the cursor is too old, or of another life of the tables."""
    life, _, change = cursor.partition("-")
    if not (life.isalnum() and change.isascii() and change.isdigit() and len(change) <= 18):
        raise malformed("cursor: take it from the manifest before as it is")
    ports = ports_of(request)
    found = await ports.tokens.changed(
        event.event_id, _tier_ids(event), life, int(change), CHANGES_MAX
    )
    return None if found is None else await _made(request, event, found, full=False)


async def _whole(request: web.Request, event: Event) -> web.Response:
    ports, manifests = ports_of(request), request.app[MANIFESTS]
    async with manifests.one_at_a_time(event.event_id):
        latest = await ports.tokens.latest(event.event_id)
        etag = _etag(event, _doors(request, event), latest)
        if _known(request, etag):
            return web.Response(status=304, headers=_headers(etag))
        made = manifests.kept(event.event_id, etag)
        if made is None:
            found = await ports.tokens.all(event.event_id, _tier_ids(event))
            made = await _made(request, event, found, full=True)
            manifests.keep(event.event_id, made)
    return _sent(request, made)


async def _made(request: web.Request, event: Event, found: TokenList, *, full: bool) -> Made:
    doors = _doors(request, event)
    before = {"cursor": found.cursor, "doors": doors, "event_id": event.event_id, "full": full}
    tiers = [{"name": tier.name, "tier_id": tier.tier_id} for tier in event.tiers]
    after = {"tiers": tiers, "version": found.seq}
    etag = _etag(event, doors, found.cursor)
    secrets = ports_of(request).fleet.secrets
    parts = (_canonical(before), found.tickets, _canonical(after))
    return await asyncio.to_thread(signed, secrets, event.event_id, etag, parts)


def signed(secrets: Secrets, event_id: str, etag: str, parts: tuple[bytes, bytes, bytes]) -> Made:
    """In a thread: signing and packing a large one takes long, and lets others run meanwhile."""
    before, tickets, after = parts
    plain = b'%s,"tickets":%s,%s' % (before[:-1], tickets, after[1:])
    signature = secrets.sign(event_id, plain).encode()
    body = b'%s,"signature":"%s","tickets":%s,%s' % (before[:-1], signature, tickets, after[1:])
    return Made(etag, body, gzip.compress(body, _GZIP_LEVEL, mtime=0))


def _canonical(value: object) -> bytes:
    """RFC 8785, for values without floats: keys in order, no spaces, text as it is."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _doors(request: web.Request, event: Event) -> dict[str, object]:
    places = {tier_id: place for place, tier_id in enumerate(_tier_ids(event))}
    opens_before_ms = int(ports_of(request).settings.doors_open_hours * _HOUR_MS)
    return {
        "cancelled": event.status is EventStatus.CANCELLED,
        "gates": [
            {"name": gate.name, "tiers": [places[t] for t in gate.tier_ids if t in places]}
            for gate in event.gates
        ],
        "opens_at": instant(max(to_ms(event.start_time) - opens_before_ms, 0)),
        "reentry": event.reentry,
    }


def _tier_ids(event: Event) -> list[str]:
    return [tier.tier_id for tier in event.tiers]


def _etag(event: Event, doors: dict[str, object], cursor: str) -> str:
    tiers = [[tier.tier_id, tier.name] for tier in event.tiers]
    digest = sha256(_canonical([event.event_id, cursor, doors, tiers])).hexdigest()
    return f'W/"{digest[:32]}"'


def _known(request: web.Request, etag: str) -> bool:
    asked = request.headers.get("If-None-Match", "")
    opaque = etag.removeprefix("W/")
    known = [tag.strip().removeprefix("W/") for tag in asked.split(",")]
    return opaque in known or "*" in known


def _headers(etag: str) -> dict[str, str]:
    return {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}


def _sent(request: web.Request, made: Made) -> web.Response:
    headers = _headers(made.etag)
    if _known(request, made.etag):
        return web.Response(status=304, headers=headers)
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=made.body, headers=headers, content_type="application/json")
    headers["Content-Encoding"] = "gzip"
    return web.Response(body=made.packed, headers=headers, content_type="application/json")


ROUTES = [
    Route(
        "GET",
        "/v1/events/{event_id}/manifest",
        manifest,
        DOORS,
        "What a device must know to work without a network, or what of it has changed",
        answers={200: Manifest},
        query={"cursor": str},
    ),
]
