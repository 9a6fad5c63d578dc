"""Here every test runs in virtual time: it takes no longer than its work, and always the same."""

import asyncio
from collections.abc import Callable, Mapping

from tests.runtime.virtual_time import VirtualLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": VirtualLoop}
