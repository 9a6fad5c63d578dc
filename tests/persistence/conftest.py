"""A database with content, for what reads all of it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.persistence.books import Books, opened


@pytest_asyncio.fixture
async def books(
    postgres_dsn: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Books]:
    archive = tmp_path_factory.mktemp("books") / "archive"
    async with opened(postgres_dsn, redis_url, archive) as made:
        yield made
