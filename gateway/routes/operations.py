"""For the people and programs that run it."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.http import answer
from gateway.ports import READINESS, Readiness
from gateway.routing import ANYONE, Route


async def healthz(request: web.Request) -> web.Response:
    return answer({"status": "alive"})


async def readyz(request: web.Request) -> web.Response:
    readiness = await request.app[READINESS]()
    return answer(readiness, 200 if readiness.ready else 503)


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES = [
    Route("GET", "/healthz", healthz, ANYONE, "The process lives", answers={200: dict[str, str]}),
    Route(
        "GET",
        "/readyz",
        readyz,
        ANYONE,
        "It can serve; if not, why",
        answers={200: Readiness, 503: Readiness},
    ),
    Route(
        "GET",
        "/metrics",
        metrics,
        ANYONE,
        "Prometheus metrics",
        answers={200: None},
        media=("text/plain",),
    ),
]
