"""The routes as data: who may call what. One list makes the router, the guard and the labels."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from msgspec import Struct

from engine.commands import Role
from gateway.auth import Principal
from gateway.hot import Call, Hot
from gateway.ports import PORTS, Ports

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ANYONE: frozenset[Role] | None = None
ADMINS = frozenset({Role.ADMIN})
ORGANIZERS = frozenset({Role.ORGANIZER, Role.ADMIN})
BUYERS = frozenset({Role.BUYER, Role.BOX_OFFICE, Role.ADMIN})
HOLDERS = BUYERS | ORGANIZERS
REFUNDERS = frozenset({Role.ORGANIZER, Role.BOX_OFFICE, Role.ADMIN})
DOORS = frozenset({Role.SCANNER, Role.ORGANIZER, Role.ADMIN})

_PRINCIPAL = web.RequestKey("principal", Principal)


class Route(Struct, frozen=True):
    """`roles` None: no credential is needed. `summary`: what the call does, for its readers.

    `answers`: type by status, other than problems; None is no JSON, a `list` is a page of a list.
    `media`: the content types of the answer. `query`: type by name of the parameters other than a
    page's. `needs_key`: no call without an idempotency key. `hot`: how it is served in the express
    lane as well.
    """

    method: str
    path: str
    handler: Handler
    roles: frozenset[Role] | None
    summary: str
    body: object = None
    development_only: bool = False
    answers: dict[int, object] = {}
    media: tuple[str, ...] = ("application/json",)
    query: dict[str, object] = {}
    needs_key: bool = False
    hot: Hot | None = None

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"


def ports_of(request: web.Request) -> Ports:
    return request.app[PORTS]


def principal_of(request: web.Request) -> Principal:
    """Who asks; only on routes that need a credential."""
    return request[_PRINCIPAL]


async def call_of(request: web.Request) -> Call:
    return Call(
        request.path,
        request.match_info["event_id"],
        request.headers,
        await request.read(),
        principal_of(request),
        ports_of(request),
    )


def admit(request: web.Request, principal: Principal) -> None:
    request[_PRINCIPAL] = principal
