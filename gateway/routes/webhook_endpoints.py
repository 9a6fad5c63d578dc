"""Where organizers hear of their events: endpoints, what they were told, and telling it again."""

import hmac
import re
from typing import Annotated

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from engine.catalogue import from_ms
from engine.commands import Role
from engine.outgoing import Delivery, Endpoint, WebhookType
from gateway.catalogue import new_id
from gateway.http import (
    Body,
    answer,
    decode,
    decode_bytes,
    instant,
    optional_idempotency_key,
    page,
    page_cursor,
    page_limit,
    replayed,
)
from gateway.problems import Problem, malformed, unprocessable
from gateway.routing import ORGANIZERS, Route, ports_of, principal_of
from gateway.webhooks.addresses import URL_LENGTH_MAX, refuse_url

ENDPOINTS_MAX = 20  # an organizer
_DELIVERY_ID = re.compile(r"whd_([1-9][0-9]{0,17})")


class EndpointBody(Body, frozen=True):
    url: Annotated[str, Meta(min_length=1, max_length=URL_LENGTH_MAX)]
    events: Annotated[list[WebhookType], Meta(min_length=1, max_length=20)]


class EndpointPatch(Body, frozen=True):
    is_active: bool


class EndpointAnswer(Struct, frozen=True):
    """`secret`: shown when it is made, never again. `failing_since`: null while all is well."""

    endpoint_id: str
    url: str
    events: list[WebhookType]
    is_active: bool
    failing_since: str | None
    created_at: str
    secret: str | UnsetType = UNSET


class DeliveryAnswer(Struct, frozen=True):
    """`status_code`: of the latest answer. `next_attempt_at`: while it waits."""

    delivery_id: str
    type: str
    state: str
    attempts: int
    status_code: int | None
    error: str | None
    happened_at: str
    next_attempt_at: str | None


async def add(request: web.Request) -> web.Response:
    raw, principal, ports = await request.read(), principal_of(request), ports_of(request)
    body = decode_bytes(raw, EndpointBody)
    key = optional_idempotency_key(request, raw, principal)
    refusal = refuse_url(body.url, localhost=ports.settings.webhooks_reach_localhost)
    if refusal is not None:
        raise unprocessable("forbidden_url", f"url: {refusal}")
    endpoint_id = f"whk_{key.digest.hex()[:20]}" if key is not None else new_id("whk")
    assert ports.settings.token_secret is not None
    secret = hmac.digest(ports.settings.token_secret.encode(), endpoint_id.encode(), "sha256")
    endpoint = Endpoint(
        endpoint_id,
        principal.subject,
        body.url,
        tuple(dict.fromkeys(body.events)),
        f"whsec_{secret.hex()}",
        is_active=True,
        failing_since=None,
        created_at=from_ms(ports.clock.now_ms()),
    )
    known = await ports.outgoing.webhooks.find(principal.subject, endpoint_id)
    if known is not None:
        return _replayed(endpoint, known)
    if not await ports.outgoing.webhooks.add(endpoint, ENDPOINTS_MAX):
        raise Problem(409, "too_many_endpoints", f"at most {ENDPOINTS_MAX} for an organizer")
    return answer(_shown(endpoint, secret=endpoint.secret), 201)


def _replayed(endpoint: Endpoint, known: Endpoint) -> web.Response:
    if (known.url, known.events) != (endpoint.url, endpoint.events):
        raise unprocessable("idempotency_key_reused", "the same key with another body")
    first = replace(endpoint, created_at=known.created_at)
    return replayed(_shown(first, secret=known.secret), 201)


async def read_all(request: web.Request) -> web.Response:
    limit, after = page_limit(request), page_cursor(request) or ""
    found = await ports_of(request).outgoing.webhooks.of(_whose(request), after, limit + 1)
    shown = [_shown(endpoint) for endpoint in found[:limit]]
    return page(shown, shown[-1].endpoint_id if len(found) > limit else None)


async def read(request: web.Request) -> web.Response:
    return answer(_shown(await _endpoint(request)))


async def change(request: web.Request) -> web.Response:
    """Switched on again, it hears what has waited meanwhile."""
    endpoint = await _endpoint(request)
    patch = await decode(request, EndpointPatch)
    webhooks = ports_of(request).outgoing.webhooks
    await webhooks.set_active(endpoint.endpoint_id, patch.is_active)
    return answer(_shown(replace(endpoint, is_active=patch.is_active, failing_since=None)))


async def remove(request: web.Request) -> web.Response:
    endpoint = await _endpoint(request)
    await ports_of(request).outgoing.webhooks.remove(endpoint.endpoint_id)
    return web.Response(status=204)


async def read_deliveries(request: web.Request) -> web.Response:
    endpoint = await _endpoint(request)
    limit, cursor = page_limit(request), page_cursor(request) or "whd_999999999999999999"
    before = _DELIVERY_ID.fullmatch(cursor)
    if before is None:
        raise malformed("cursor: take it from next_cursor as it is")
    found = await ports_of(request).outgoing.webhooks.deliveries(
        endpoint.endpoint_id, int(before[1]), limit + 1
    )
    lines = [_delivery(delivery) for delivery in found[:limit]]
    return page(lines, lines[-1].delivery_id if len(found) > limit else None)


async def redeliver(request: web.Request) -> web.Response:
    endpoint = await _endpoint(request)
    known = _DELIVERY_ID.fullmatch(request.match_info["delivery_id"])
    webhooks = ports_of(request).outgoing.webhooks
    if known is None or not await webhooks.redeliver(endpoint.endpoint_id, int(known[1])):
        raise Problem(404, "unknown_delivery", "there is no such delivery")
    (delivery,) = await webhooks.deliveries(endpoint.endpoint_id, int(known[1]) + 1, 1)
    return answer(_delivery(delivery))


def _whose(request: web.Request) -> str | None:
    principal = principal_of(request)
    return None if principal.role is Role.ADMIN else principal.subject


async def _endpoint(request: web.Request) -> Endpoint:
    """Raises Problem 404: somebody else's is none."""
    webhooks, endpoint_id = ports_of(request).outgoing.webhooks, request.match_info["endpoint_id"]
    found = await webhooks.find(_whose(request), endpoint_id)
    if found is None:
        raise Problem(404, "unknown_endpoint", "there is no such endpoint")
    return found


def _shown(endpoint: Endpoint, secret: str | UnsetType = UNSET) -> EndpointAnswer:
    failing = endpoint.failing_since
    return EndpointAnswer(
        endpoint.endpoint_id,
        endpoint.url,
        list(endpoint.events),
        endpoint.is_active,
        instant(int(failing.timestamp() * 1000)) if failing else None,
        instant(int(endpoint.created_at.timestamp() * 1000)),
        secret,
    )


def _delivery(delivery: Delivery) -> DeliveryAnswer:
    due_at = instant(int(delivery.due_at.timestamp() * 1000))
    return DeliveryAnswer(
        f"whd_{delivery.delivery_id}",
        delivery.type,
        delivery.state,
        delivery.attempts,
        delivery.status,
        delivery.error,
        instant(int(delivery.happened_at.timestamp() * 1000)),
        due_at if delivery.state == "waiting" else None,
    )


_ALL = "/v1/webhook-endpoints"
_ONE = f"{_ALL}/{{endpoint_id}}"
_DELIVERIES = f"{_ONE}/deliveries"

ROUTES = [
    Route(
        "POST",
        _ALL,
        add,
        ORGANIZERS,
        "Hear of your events by signed calls",
        EndpointBody,
        answers={201: EndpointAnswer},
    ),
    Route(
        "GET",
        _ALL,
        read_all,
        ORGANIZERS,
        "Your endpoints",
        answers={200: list[EndpointAnswer]},
    ),
    Route("GET", _ONE, read, ORGANIZERS, "An endpoint", answers={200: EndpointAnswer}),
    Route(
        "PATCH",
        _ONE,
        change,
        ORGANIZERS,
        "Switch it off or on",
        EndpointPatch,
        answers={200: EndpointAnswer},
    ),
    Route("DELETE", _ONE, remove, ORGANIZERS, "Remove it", answers={204: None}),
    Route(
        "GET",
        _DELIVERIES,
        read_deliveries,
        ORGANIZERS,
        "What it was told, the newest first",
        answers={200: list[DeliveryAnswer]},
    ),
    Route(
        "POST",
        f"{_DELIVERIES}/{{delivery_id}}/redeliver",
        redeliver,
        ORGANIZERS,
        "Tell it again",
        answers={200: DeliveryAnswer},
    ),
]
