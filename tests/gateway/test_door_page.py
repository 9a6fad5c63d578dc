"""The scanner's page as it is served: bound to its own files, and built from its sources."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

from tests.shop import Shop

GATEWAY = Path(__file__).parents[2] / "gateway"
SOURCES, BUILT = GATEWAY / "door_page", GATEWAY / "web" / "door"
SINGLE = ("index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts")

on_the_server = pytest.mark.asyncio(loop_scope="session")


def digest(folder: Path, paths: list[Path]) -> str:
    """As `door_page/digest.mjs` makes it."""
    made = sha256()
    for name, path in sorted((str(path.relative_to(folder)), path) for path in paths):
        made.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return made.hexdigest()


def test_the_built_files_are_those_of_the_sources() -> None:
    """If not: `npm ci && npm run build` in gateway/door_page."""
    inside = [path for folder in ("public", "src") for path in (SOURCES / folder).iterdir()]
    found = [
        f"{digest(SOURCES, [SOURCES / name for name in SINGLE] + inside)}  sources",
        f"{digest(BUILT, list(BUILT.iterdir()))}  gateway/web/door",
    ]
    assert (SOURCES / "built.sha256").read_text().splitlines() == found


@on_the_server
async def test_the_page_runs_its_own_files_and_asks_its_own_server_alone(shop: Shop) -> None:
    found = await shop.call("GET", "/door")
    page, policy = found.body.decode(), found.headers["Content-Security-Policy"]
    assert found.status == 200
    assert "default-src 'none'" in policy
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "connect-src 'self';" in policy
    assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
    assert not re.findall(r"<script>|<style>|style=|\son\w+=", page)
    assert "camera=(self)" in found.headers["Permissions-Policy"]
    for path in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert path.startswith("/door/"), path
        file = await shop.call("GET", path)
        assert file.status == 200, path
        assert "unsafe" not in file.headers["Content-Security-Policy"]


@on_the_server
async def test_what_is_named_by_its_content_is_kept_and_the_rest_asked_for_anew(shop: Shop) -> None:
    names = {path.name for path in BUILT.iterdir()}
    assert {"index.html", "sw.js", "manifest.webmanifest"} < names
    for name in names:
        found = await shop.call("GET", f"/door/{name}")
        for_ever = "immutable" in found.headers["Cache-Control"]
        assert for_ever == bool(re.fullmatch(r"[\w-]+-[\w-]{8}\.(js|css|wasm)", name)), name
        assert found.headers["Content-Type"].split(";")[0] != "application/octet-stream"
    worker = await shop.call("GET", "/door/sw.js")
    assert worker.headers["Service-Worker-Allowed"] == "/door"
    assert (await shop.call("GET", "/door/../settings.py")).status == 404
    assert (await shop.call("GET", "/door/nothing.js")).code == "unknown_path"
