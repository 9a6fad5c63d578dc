"""How long after kill -9 of everything the next start serves: to its first answer."""

import asyncio
import time
from uuid import uuid4

from benchmarks import generator
from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, fresh_folder, stampede_on
from benchmarks.stage import event_on_sale, orders

SOLD_S = 3.0
IN_FLIGHT = 64


async def restarts(rounds: int) -> list[float]:
    """Seconds from the start of the process to a durable 201, each after a kill in mid-sale."""
    async with fresh_folder() as folder:
        async with stampede_on(folder, log="off") as server:
            sale = event_on_sale(server)
            await _sell_until_killed(server, sale)
        took = []
        for _ in range(rounds):
            began = time.perf_counter()
            async with stampede_on(folder, log="off") as server:
                _buy(server, sale)
                took.append(time.perf_counter() - began)
                await _sell_until_killed(server, sale)
        return took


def _buy(server: Endpoint, sale: tuple[str, str]) -> None:
    event_id, tier_id = sale
    body = {"selections": [{"tier_id": tier_id, "quantity": 1}]}
    token = server.token("box_office", "bench")
    server.call("POST", f"/v1/events/{event_id}/orders", body, token, key=uuid4().hex)


async def _sell_until_killed(server: Endpoint, sale: tuple[str, str]) -> None:
    load = await generator.started(
        server.host,
        server.port,
        orders(*sale, server.token("box_office", "bench")),
        connections=IN_FLIGHT,
        seconds=2 * SOLD_S,
        keep_status=0,
        may_die=True,
    )
    await asyncio.sleep(SOLD_S)
    await server.kill()
    await load.finished


async def measure(asked: Asked) -> list[Measurement]:
    took = await restarts(asked.rounds_or(5))
    figures = [Figure("start of the process to a durable 201", "s", took)]
    conditions = "Everything killed with -9 in mid-sale (64 in flight), then started again."
    return [measured("restart after kill -9", "./run bench restart", conditions, figures)]
