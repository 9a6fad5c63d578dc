"""The application: one list of routes, and one middleware around them all.

The middleware is the only place that turns what went wrong into an answer, and the only one that
counts, times and logs.
"""

import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from engine.runtime.faults import Fault
from gateway.answers import CODE
from gateway.auth import Principal, forbidden, unauthenticated
from gateway.http import BODY_BYTES_MAX
from gateway.ports import PORTS, READINESS, Ports, Readiness
from gateway.problems import Problem, of_fault, told
from gateway.rates import ANONYMOUS, BY_ROLE, RateLimiter, too_often
from gateway.routes import ROUTES, operations
from gateway.routes.description import DESCRIPTION, Description
from gateway.routes.found import Home
from gateway.routes.manifest import MANIFESTS, Manifests
from gateway.routes.search import HOME
from gateway.routing import Handler, Route, admit
from gateway.telemetry import RequestLog

_UNMATCHED = "unmatched"


class Edge:
    """Guards, counts and answers for every request."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.requests = RequestLog(ports.settings.log == "on")
        self._declared: dict[web.AbstractRoute, Route] = {}
        self._limiter = RateLimiter() if ports.settings.rate_limits == "on" else None
        self._log = structlog.get_logger("http")

    def add(self, route: Route, router: web.UrlDispatcher) -> None:
        self._declared[router.add_route(route.method, route.path, route.handler)] = route

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        route = self._declared.get(request.match_info.route)
        principal = None
        try:
            principal = self.ports.credentials.principal(request.headers)
            self.limit(principal, request.remote)
            if route is not None and route.roles is not None:
                _guard(route, principal)
            if principal is not None and principal.enrolled:
                await self.ports.fleet.check(principal.subject)
                self.ports.fleet.hear(principal.subject, request.headers)
            if principal is not None:
                admit(request, principal)
            response = await handler(request)
        except Exception as error:
            response = told(self.problem(error, route)).response()
        self.requests.answered(
            route.label if route else _UNMATCHED,
            response.status,
            time.perf_counter() - began,
            principal.role.value if principal else "",
            response.get(CODE, ""),
        )
        return response

    def problem(self, error: BaseException, route: Route | None) -> Problem:
        """What to say of it; a bug is logged."""
        match error:
            case Problem():
                return error
            case Fault():
                return of_fault(error)
            case web.HTTPException():
                return _of_http_exception(error)
            case _:
                self._log.error("bug", route=route.path if route else _UNMATCHED, exc_info=error)
                return Problem(500, "internal_error", "this is our fault and has been logged")

    def limit(self, principal: Principal | None, remote: str | None) -> None:
        """Raises Problem 429 for a caller who asks too often."""
        if self._limiter is None:
            return
        caller = principal.digest if principal else remote or ""
        rate = BY_ROLE[principal.role] if principal else ANONYMOUS
        wait_s = self._limiter.wait_s(caller, rate, time.monotonic())
        if wait_s:
            most = f"at most {rate.per_second:g} requests a second, {rate.burst} at once"
            raise too_often(most, wait_s)


EDGE = web.AppKey("edge", Edge)


def _guard(route: Route, principal: Principal | None) -> None:
    assert route.roles is not None
    if principal is None:
        raise unauthenticated("this call needs a credential: Authorization: Bearer ...")
    if principal.role not in route.roles:
        roles = ", ".join(sorted(role.value for role in route.roles))
        raise forbidden(f"this call is for: {roles}")


def _of_http_exception(error: web.HTTPException) -> Problem:
    match error.status:
        case 404:
            return Problem(404, "unknown_path", "there is nothing at this path")
        case 405:
            return Problem(405, "method_not_allowed", "this path does not take that method")
        case 413:
            return Problem(413, "body_too_large", f"a body has at most {BODY_BYTES_MAX} bytes")
        case _:
            return Problem(error.status, "malformed_request", error.reason)


def build(ports: Ports, readiness: Callable[[], Awaitable[Readiness]]) -> web.Application:
    production = ports.settings.production
    routes = [route for route in ROUTES if not (production and route.development_only)]
    edge = Edge(ports)
    app = web.Application(middlewares=[edge.handle], client_max_size=BODY_BYTES_MAX)
    app[PORTS] = ports
    app[EDGE] = edge
    app[READINESS] = readiness
    app[HOME] = Home(ports.finding)
    app[MANIFESTS] = Manifests()
    app[DESCRIPTION] = Description.of(routes)
    for route in routes:
        edge.add(route, app.router)
    return app


def build_operations(readiness: Callable[[], Awaitable[Readiness]]) -> web.Application:
    """Health and metrics of a process alone: for a port that only those who run it can reach."""
    app = web.Application()
    app[READINESS] = readiness
    for route in operations.ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
    return app
