"""The scanner's page: what runs on the door crew's phones, as it was built from `door_page/`.

Names of built files carry a hash of what is in them and may be kept for ever; the page and its
service worker are asked for anew each time.
"""

import asyncio
import gzip
from functools import cache
from hashlib import sha256
from importlib.resources import files

from aiohttp import web
from msgspec import Struct

from gateway.routing import ANYONE, Route

_FOLDER = "web/door"
_PAGE = "index.html"
_WORKER = "sw.js"
_MEDIA = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_ANEW = "no-cache"

# The decoder of QR codes is WebAssembly: that, and no other code that comes as data.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_FILE_POLICY = "default-src 'none'; connect-src 'self'; frame-ancestors 'none'"
_PERMISSIONS = "camera=(self), microphone=(), geolocation=(), payment=(), usb=()"


class _File(Struct, frozen=True):
    plain: bytes
    packed: bytes | None
    headers: dict[str, str]


@cache
def _built() -> dict[str, _File]:
    folder = files("gateway").joinpath(_FOLDER)
    return {file.name: _file(file.name, file.read_bytes()) for file in folder.iterdir()}


def _file(name: str, plain: bytes) -> _File:
    stem, _, suffix = name.rpartition(".")
    headers = {
        "Content-Type": _MEDIA[f".{suffix}"],
        "Content-Security-Policy": _PAGE_POLICY if name == _PAGE else _FILE_POLICY,
        "Cache-Control": _FOR_EVER if "-" in stem and suffix != "png" else _ANEW,
        "ETag": f'"{sha256(plain).hexdigest()[:32]}"',
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if name == _PAGE:
        headers["Permissions-Policy"] = _PERMISSIONS
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if name == _WORKER:
        headers["Service-Worker-Allowed"] = "/door"  # its page is not below it
    packed = None if suffix == "png" else gzip.compress(plain, mtime=0)
    return _File(plain, packed, headers)


async def page(request: web.Request) -> web.Response:
    return await _sent(request, _PAGE)


async def file(request: web.Request) -> web.Response:
    return await _sent(request, request.match_info["file"])


async def _sent(request: web.Request, name: str) -> web.Response:
    found = (await asyncio.to_thread(_built)).get(name)
    if found is None:
        raise web.HTTPNotFound
    if found.headers["ETag"] in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=found.headers)
    if found.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers = {**found.headers, "Content-Encoding": "gzip"}
        return web.Response(body=found.packed, headers=headers)
    return web.Response(body=found.plain, headers=found.headers)


ROUTES = [
    Route(
        "GET",
        "/door",
        page,
        ANYONE,
        "The scanner for phones as a page, which enrols itself by a code",
        answers={200: None},
        media=("text/html",),
    ),
    Route(
        "GET",
        "/door/{file}",
        file,
        ANYONE,
        "What the scanner's page consists of",
        answers={200: None},
        media=tuple(_MEDIA.values()),
    ),
]
