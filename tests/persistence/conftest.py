"""A catalogue of its own for each test that asks for one."""

from collections.abc import AsyncIterator

import pytest

from tests.persistence.catalogue_world import World, catalogue_world


@pytest.fixture
async def world(postgres_dsn: str) -> AsyncIterator[World]:
    async with catalogue_world(postgres_dsn) as made:
        yield made
