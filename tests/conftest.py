"""Servers shared by the whole run: they die with it, even when it is killed."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from persistence.embedded import EmbeddedPostgres, EmbeddedRedis


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
