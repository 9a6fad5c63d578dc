"""What the edge asks of the catalogue, how its bodies are typed and its changes answered.

Every method answers a record or a Rejection; a creating one also `Stored`, where its idempotency
key has been used before. `changes` holds the fields of a record by name.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol, TypeVar, cast

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from engine.catalogue import Booking, Event, Once, PromoCode, Stored, Tier, Venue
from engine.commands import Caller, Gate, Key
from engine.lifecycle import Step
from engine.rejections import Rejection
from gateway.answers import REPLAYED_HEADER
from gateway.auth import Principal
from gateway.http import (
    Body,
    answer,
    decode_bytes,
    optional_idempotency_key,
    page,
)
from gateway.problems import refused

ID_RANDOM_BYTES = 10

_T = TypeVar("_T")

# Postgres takes no NUL in a text.
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Text = Annotated[str, Meta(max_length=10_000, pattern=r"^[^\x00]*$")]
Amount = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
Currency = Annotated[str, Meta(min_length=3, max_length=3, pattern="^[A-Z]{3}$")]
Hours = Annotated[float, Meta(ge=0, le=24 * 366)]


class Catalogue(Protocol):
    async def venue(self, venue_id: str) -> Venue | Rejection: ...

    async def venues(self, after: str | None, limit: int) -> list[Venue]:
        """Newest first, from the one after the venue `after`."""
        ...

    async def calendar(
        self,
        venue_id: str,
        window: tuple[datetime | None, datetime | None],
        after: str | None,
        limit: int,
    ) -> list[Booking]:
        """Live bookings that touch `window` (half-open), earliest first, from the one after."""
        ...

    async def add_venue(self, venue: Venue, once: Once | None) -> Venue | Stored | Rejection: ...

    async def change_venue(
        self, venue_id: str, changes: Mapping[str, object]
    ) -> Venue | Rejection: ...

    async def event(self, event_id: str) -> Event | Rejection: ...

    async def event_of_tier(self, tier_id: str) -> str | None: ...

    async def events(self, viewer: Caller | None, after: str | None, limit: int) -> list[Event]:
        """Newest first, from the one after `after`; drafts for those only who may change them."""
        ...

    async def own_events(self, organizer: str | None, after: str | None, limit: int) -> list[Event]:
        """Newest first, drafts too: of one organizer, or of all of them."""
        ...

    async def series(self, series_id: str) -> list[Event] | Rejection:
        """Its events by their start."""
        ...

    async def add_series(
        self, planned: Sequence[Event], once: Once | None
    ) -> list[Event] | Stored | Rejection:
        """All of these events with a booking each, or none of them."""
        ...

    async def add_event(self, event: Event, once: Once | None) -> Event | Stored | Rejection: ...

    async def change_event(
        self, caller: Caller, event_id: str, changes: Mapping[str, object]
    ) -> Event | Rejection: ...

    async def take_step(
        self, caller: Caller, event_id: str, step: Step, once: Once | None
    ) -> Event | Stored | Rejection: ...

    async def complete_ended(self, now: datetime, limit: int) -> int:
        """Complete events that are over by `now`; how many it were."""
        ...

    async def set_gates(
        self, caller: Caller, event_id: str, gates: tuple[Gate, ...]
    ) -> Event | Rejection: ...

    async def add_tier(
        self, caller: Caller, tier: Tier, once: Once | None
    ) -> Tier | Stored | Rejection: ...

    async def change_tier(
        self, caller: Caller, tier_id: str, changes: Mapping[str, object]
    ) -> Tier | Rejection: ...

    async def promo_codes(
        self, caller: Caller, event_id: str, after: str | None, limit: int
    ) -> list[PromoCode] | Rejection:
        """Newest first, from the one after `after`."""
        ...

    async def add_promo_code(
        self, caller: Caller, promo: PromoCode, once: Once | None
    ) -> PromoCode | Stored | Rejection: ...

    async def change_promo_code(
        self, caller: Caller, event_id: str, promo_code_id: str, changes: Mapping[str, object]
    ) -> PromoCode | Rejection: ...

    async def remove_promo_code(
        self, caller: Caller, event_id: str, promo_code_id: str
    ) -> Rejection | None: ...


class NoBody(Body, frozen=True):
    """The body of a request that says all in its path."""


def optional(body: type[Body]) -> type[Body]:
    """A PATCH body: any of the fields of `body`, none of them required."""
    fields = [(field.name, field.type | UnsetType, UNSET) for field in msgspec.structs.fields(body)]
    name = f"{body.__name__}Change"
    made = msgspec.defstruct(name, fields, bases=(Body,), frozen=True, kw_only=True)
    return cast(type[Body], made)


def given(body: Struct) -> dict[str, Any]:
    """The fields that a body names."""
    fields = msgspec.structs.asdict(body)
    return {name: value for name, value in fields.items() if value is not UNSET}


def new_id(prefix: str) -> str:
    return f"{prefix}_{os.urandom(ID_RANDOM_BYTES).hex()}"


def id_once(prefix: str, once: Once | None) -> str:
    """An id that the same request under the same key gets again."""
    if once is None:
        return new_id(prefix)
    seed = once.key.digest + once.key.fingerprint
    return f"{prefix}_{hashlib.blake2b(seed, digest_size=ID_RANDOM_BYTES).hexdigest()}"


def refuse_body(raw: bytes) -> None:
    """Raises Problem 400 on a body where there should be none; an empty object is none."""
    if raw:
        decode_bytes(raw, NoBody)


def once(
    request: web.Request,
    raw: bytes,
    principal: Principal,
    show: Callable[[Any], object],
    status: int = 200,
) -> Once | None:
    """The request's idempotency key, if it has one: of its event, or of the whole catalogue."""
    key = optional_idempotency_key(request, raw, principal)
    if key is None:
        return None
    scope = request.match_info.get("event_id", "").encode()
    digest = hashlib.blake2b(key.digest + scope, digest_size=16).digest()
    return Once(
        Key(digest, key.fingerprint), status, lambda record: msgspec.json.encode(show(record))
    )


def respond(outcome: object, show: Callable[[Any], object], status: int = 200) -> web.Response:
    match outcome:
        case Rejection():
            return refused(outcome)
        case Stored():
            return web.Response(
                body=outcome.body,
                status=outcome.status,
                headers={REPLAYED_HEADER: "true"},
                content_type="application/json",
            )
        case _:
            return answer(show(outcome), status)


def respond_page(
    found: Sequence[_T], limit: int, show: Callable[[_T], object], key: Callable[[_T], str]
) -> web.Response:
    """A page of at most `limit`, from a list that was asked for one more than that."""
    shown = found[:limit]
    last_key = key(shown[-1]) if len(found) > limit else None
    return page([show(record) for record in shown], last_key)
