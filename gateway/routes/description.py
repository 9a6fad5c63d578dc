"""The API's description of itself: for programs as OpenAPI, for people as a page."""

from collections.abc import Sequence

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway import reference
from gateway.openapi import Json, describe
from gateway.routing import ANYONE, Route


class Description(Struct, frozen=True):
    """Made once, of the routes that this server has."""

    document: bytes
    page: str
    policy: str

    @classmethod
    def of(cls, routes: Sequence[Route]) -> "Description":
        document = describe(routes)
        page = reference.page(document)
        return cls(msgspec.json.encode(document), page, reference.content_security_policy(page))


DESCRIPTION: web.AppKey[Description] = web.AppKey("description", Description)


async def openapi(request: web.Request) -> web.Response:
    return web.Response(
        body=request.app[DESCRIPTION].document, content_type="application/json", charset="utf-8"
    )


async def docs(request: web.Request) -> web.Response:
    description = request.app[DESCRIPTION]
    return web.Response(
        text=description.page,
        content_type="text/html",
        headers={
            "Content-Security-Policy": description.policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


ROUTES = [
    Route(
        "GET",
        "/v1/openapi.json",
        openapi,
        ANYONE,
        "This API as an OpenAPI document",
        answers={200: Json},
    ),
    Route(
        "GET",
        "/docs",
        docs,
        ANYONE,
        "This API as a page to read",
        answers={200: None},
        media=("text/html",),
    ),
]
