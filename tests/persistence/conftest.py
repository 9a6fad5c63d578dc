"""A catalogue; a database with content; Redis alone and as a cluster, where no command crosses."""

from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from persistence import embedded
from persistence.embedded import EmbeddedRedis
from tests.persistence.books import Books, opened
from tests.persistence.catalogue_world import World, catalogue_world
from tests.waiting import until

SLOTS = 16_384


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A cluster of one: it has all slots, and refuses what needs two of them."""
    redis = EmbeddedRedis(tmp_path_factory.mktemp("servers") / "cluster")
    with patch.dict(embedded.REDIS_SETTINGS, {"cluster-enabled": "yes"}):
        url = await redis.start()
    async with Redis.from_url(url) as client:
        await _ask(client, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        await until(lambda: _is_whole(client))
    yield url
    await redis.stop()


async def _is_whole(client: Redis) -> bool:
    return b"cluster_state:ok" in await _ask(client, "CLUSTER", "INFO")


async def _ask(client: Redis, *command: str | int) -> bytes:
    untyped: Any = client
    told: bytes = await untyped.execute_command(*command)
    return told


@pytest.fixture(params=["redis_url", "redis_cluster_url"], ids=["alone", "cluster"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


@pytest_asyncio.fixture
async def books(
    postgres_dsn: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Books]:
    archive = tmp_path_factory.mktemp("books") / "archive"
    async with opened(postgres_dsn, redis_url, archive) as made:
        yield made


@pytest.fixture
async def world(postgres_dsn: str) -> AsyncIterator[World]:
    async with catalogue_world(postgres_dsn) as made:
        yield made
