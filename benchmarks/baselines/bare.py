"""The ceiling: a bare aiohttp handler that decodes and encodes the same bodies and does nothing."""

import asyncio

import uvloop

from benchmarks.baselines import edge


async def place(order: edge.Placed) -> bool:
    return True


async def serve() -> None:
    app = edge.selling(place)
    app.router.add_post("/v1/events/{event_id}/checkins", edge.admit)
    await edge.serve(app)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
