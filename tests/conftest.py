"""Servers shared by the whole run: they die with it, even when it is killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from persistence.embedded import EmbeddedPostgres, EmbeddedRedis

# The same examples every time, however slow the machine is.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")

_BROWSER_TESTS = Path(__file__).parent / "web"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--browser", action="store_true", help="the pages, too, in a real Chromium")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without a browser there are none of its tests, rather than skipped ones."""
    is_browsers = collection_path.is_relative_to(_BROWSER_TESTS)
    return True if is_browsers and not config.option.browser else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that wait for whole servers come first: the rest fills the gaps."""
    items.sort(key=lambda item: _room(item.nodeid) != "system")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _ByRoom(config, log)


class _ByRoom(LoadScopeScheduling):  # type: ignore[misc]
    """A room is one process's, so what its tests have in common is started once."""

    def _split_scope(self, nodeid: str) -> str:
        return _room(nodeid)


def _room(nodeid: str) -> str:
    return Path(nodeid).parts[1]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("servers") / "postgres")
    yield await postgres.start()
    await postgres.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    redis = EmbeddedRedis(tmp_path_factory.mktemp("servers") / "redis")
    yield await redis.start()
    await redis.stop()
