"""The API described as OpenAPI 3.1: made from the routes and the Structs they decode and answer.

What a route does not say is not described, so there is no second list to keep in step. Only the
codes of the edge's own problems are listed here; a test holds them against the code that raises.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_origin

import msgspec
from msgspec import Meta

from engine.commands import Role
from engine.rejections import Reason
from gateway.answers import REPLAYED_HEADER
from gateway.http import KEY_HEADER, PAGE_DEFAULT, PAGE_MAX
from gateway.problems import STATUS
from gateway.routing import Route

Json = dict[str, Any]

CODES_OF_THE_EDGE = {
    "malformed_request": 400,
    "idempotency_key_required": 400,
    "bad_signature": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "unknown_delivery": 404,
    "unknown_endpoint": 404,
    "unknown_mail": 404,
    "unknown_path": 404,
    "unknown_provider": 404,
    "wallet_not_configured": 404,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "too_many_endpoints": 409,
    "ambiguous_local_time": 422,
    "forbidden_url": 422,
    "impossible_range": 422,
    "payment_refused": 422,
    "rate_limited": 429,
    "internal_error": 500,
    "outcome_unknown": 503,
    "overloaded": 503,
    "payments_unavailable": 503,
}

_NOT_SHOWN = {Reason.TOKEN_NOT_HERE}
_JSON = "application/json"
_EVENT_STREAM = "text/event-stream"
_PATH_PARAMETER = re.compile(r"{(\w+)}")
_PAGE_QUERY: dict[str, object] = {
    "limit": Annotated[
        int,
        Meta(
            ge=1, le=PAGE_MAX, description="How many", extra_json_schema={"default": PAGE_DEFAULT}
        ),
    ],
    "cursor": Annotated[str, Meta(description="`next_cursor` of the page before")],
}

_INTRODUCTION = """\
Money is an integer in minor units beside its ISO 4217 `currency`. Times are RFC 3339, answers in \
UTC. Ids are opaque. Unknown fields in a body are refused.

Lists are pages: `items`, and `next_cursor` while there are more.

Every problem is an RFC 9457 document with a stable `code`, and says by `retryable` whether the \
same request may succeed later. `429` and `503 overloaded` come before any work is done, with \
`Retry-After`; after `503 outcome_unknown` the same request under the same key tells what happened.

A POST under an `Idempotency-Key` happens once: sent again within 24 hours by the same caller with \
the same body, it gets the first answer again."""

_ROLES = {
    Role.ADMIN: "runs the place and may do what all others may",
    Role.ORGANIZER: "owns its events; venues are open to all organizers",
    Role.BOX_OFFICE: "a trusted shop that acts for any buyer by `buyer_id`",
    Role.BUYER: "buys for itself and holds the tickets",
    Role.SCANNER: "a device at the doors of one event",
}


def describe(routes: Sequence[Route]) -> Json:
    """The OpenAPI document of these routes, and of nothing else."""
    schemas = _Schemas(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stampede", "version": "1", "description": _INTRODUCTION},
        "tags": _tags(routes),
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, "Problem": _problem()},
            "responses": _shared_responses(),
            "parameters": {"KeyRequired": _key(True), "KeyAccepted": _key(False)},
            "headers": _HEADERS,
            "securitySchemes": {"bearer": _bearer()},
        },
    }


class _Schemas:
    """The JSON schema of every type that the routes name, those of Structs by reference."""

    def __init__(self, routes: Sequence[Route]) -> None:
        types = list(dict.fromkeys(named for route in routes for named in _types(route)))
        found, self.components = msgspec.json.schema_components(
            types, ref_template="#/components/schemas/{name}"
        )
        self._schema_by_type: dict[Any, Json] = dict(zip(types, found, strict=True))

    def of(self, named: object) -> Json:
        return self._schema_by_type[named]


def _types(route: Route) -> Iterator[Any]:
    named = (route.body, *route.answers.values(), *_query(route).values())
    return (found for found in named if found is not None)


def _query(route: Route) -> dict[str, object]:
    return {**route.query, **(_PAGE_QUERY if _is_paged(route) else {})}


def _is_paged(route: Route) -> bool:
    return any(get_origin(answer) is list for answer in route.answers.values())


def _tags(routes: Sequence[Route]) -> list[Json]:
    """One a resource: the file that the handler stands in, described by how that file opens."""
    modules = dict.fromkeys(route.handler.__module__ for route in routes)
    opening = {name: inspect.getdoc(sys.modules[name]) or "" for name in modules}
    return [
        {"name": _tag(name), "description": text.partition("\n\n")[0].replace("\n", " ")}
        for name, text in opening.items()
    ]


def _tag(module: str) -> str:
    return module.rpartition(".")[2]


def _operation(route: Route, schemas: _Schemas) -> Json:
    operation: Json = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "tags": [_tag(route.handler.__module__)],
        "summary": route.summary,
        "description": _audience(route),
        "security": [{"bearer": []}] if route.roles is not None else [{}, {"bearer": []}],
        "parameters": _parameters(route, schemas),
        "responses": _responses(route, schemas),
    }
    if route.body is not None:
        content = {_JSON: {"schema": schemas.of(route.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _audience(route: Route) -> str:
    audience = "No credential is needed."
    if route.roles is not None:
        audience = "For " + ", ".join(f"`{role.value}`" for role in Role if role in route.roles)
        audience += "."
    return audience + (" In development mode only." if route.development_only else "")


def _parameters(route: Route, schemas: _Schemas) -> list[Json]:
    path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    query = [
        {"name": name, "in": "query", "required": False, "schema": schemas.of(named)}
        for name, named in _query(route).items()
    ]
    return path + query + _key_parameter(route)


def _key_parameter(route: Route) -> list[Json]:
    if not _takes_key(route):
        return []
    name = "KeyRequired" if route.needs_key else "KeyAccepted"
    return [{"$ref": f"#/components/parameters/{name}"}]


def _takes_key(route: Route) -> bool:
    """A POST changes something; one that needs no credential has no caller to keep a key for."""
    return route.needs_key or (route.method == "POST" and route.roles is not None)


def _key(required: bool) -> Json:
    return {
        "name": KEY_HEADER,
        "in": "header",
        "required": required,
        "description": "The same key, caller, path and body get the first answer again.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
    }


def _responses(route: Route, schemas: _Schemas) -> Json:
    responses = {
        str(status): _response(route, status, answer, schemas)
        for status, answer in route.answers.items()
    }
    responses.setdefault("429", {"$ref": "#/components/responses/RateLimited"})
    if route.path.startswith("/v1/"):
        responses.setdefault("503", {"$ref": "#/components/responses/Unavailable"})
    responses["default"] = {"$ref": "#/components/responses/Problem"}
    return responses


def _response(route: Route, status: int, answer: object, schemas: _Schemas) -> Json:
    response: Json = {"description": _MEANING.get(status, "Done")}
    if status != 204:
        response["content"] = {media: _content(media, answer, schemas) for media in route.media}
    if _takes_key(route):
        response["headers"] = {REPLAYED_HEADER: {"$ref": "#/components/headers/Replayed"}}
    return response


_MEANING = {201: "Made", 202: "Under way", 204: "Gone", 503: "Not now"}


def _content(media: str, answer: object, schemas: _Schemas) -> Json:
    if answer is None:
        return {}
    if media == _EVENT_STREAM:
        return {"schema": _event_stream(schemas.of(answer))}
    if media != _JSON:
        return {}
    schema = schemas.of(answer)
    return {"schema": _page(schema) if get_origin(answer) is list else schema}


def _event_stream(data: Json) -> Json:
    return {
        "type": "string",
        "description": "Server-Sent Events; the `data` of each:",
        "contentMediaType": _JSON,
        "contentSchema": data,
    }


def _page(items: Json) -> Json:
    return {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": items,
            "next_cursor": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    }


def status_by_code() -> dict[str, int]:
    """Every code that a client may see."""
    reasons = {
        reason.value: status for reason, status in STATUS.items() if reason not in _NOT_SHOWN
    }
    found = {**CODES_OF_THE_EDGE, **reasons}
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def _problem() -> Json:
    text, number = {"type": "string"}, {"type": "integer"}
    properties = {
        "type": text,
        "title": text,
        "status": number,
        "detail": {**text, "description": "What was wrong in this case, for people"},
        "code": {"enum": list(status_by_code()), "description": "What was wrong, for programs"},
        "retryable": {"type": "boolean"},
    }
    return {
        "title": "Problem",
        "description": "An RFC 9457 problem; the facts of the case are further fields.",
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }


def _shared_responses() -> Json:
    codes_by_status: dict[int, list[str]] = {}
    for code, status in status_by_code().items():
        codes_by_status.setdefault(status, []).append(f"`{code}`")
    lines = [f"- {status}: {', '.join(codes)}" for status, codes in codes_by_status.items()]
    wait = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    unavailable = (
        "`overloaded`, before any work is done, or `outcome_unknown`: it may have happened"
    )
    return {
        "Problem": _problem_response("A refusal or a fault, by its `code`:\n\n" + "\n".join(lines)),
        "RateLimited": {**_problem_response("`rate_limited`: too fast"), "headers": wait},
        "Unavailable": {**_problem_response(unavailable), "headers": wait},
    }


def _problem_response(description: str) -> Json:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": schema}},
    }


_HEADERS: Json = {
    "RetryAfter": {
        "description": "Seconds to wait before asking again",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Replayed": {
        "description": "This is the first answer to this key, given again",
        "schema": {"const": "true"},
    },
}


def _bearer() -> Json:
    lines = [f"- `{role.value}`: {what}" for role, what in _ROLES.items()]
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A signed credential that carries one role:\n\n" + "\n".join(lines),
    }
