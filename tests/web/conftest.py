"""One browser, one server and one film for all tests of the pages (`./run test --browser`)."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.gateway.conftest import server, shop  # noqa: F401, the same as over there
from tests.gateway.test_door_page import SOURCES
from tests.server import Server
from tests.web.film import blank
from tests.web.phone import Phone, Phones

collect_ignore = [] if (SOURCES / "node_modules").exists() else ["test_built.py"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the camera sees: read anew whenever a page opens the camera."""
    path = tmp_path_factory.mktemp("camera") / "film.y4m"
    path.write_bytes(blank())
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(film: Path) -> AsyncIterator[Browser]:
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    assert found is not None, "no Chromium on PATH: apt-get install chromium"
    async with async_playwright() as playwright:
        flags = [*_FLAGS, f"--use-file-for-fake-video-capture={film}"]
        started = await playwright.chromium.launch(executable_path=found, args=flags)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def phones(browser: Browser, server: Server, film: Path) -> AsyncIterator[Phones]:  # noqa: F811
    film.write_bytes(blank())
    made = Phones(browser, server.url, film)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def tapped(phones: Phones) -> Phone:
    """One whose requests the test can hold, change and lose: a service worker would hide them."""
    return await phones.new(service_workers="block")


@pytest_asyncio.fixture(loop_scope="session")
async def phone(phones: Phones) -> Phone:
    return await phones.new()
