"""How long the server's loop is kept busy at a stretch, by its own CPU, under a steady load.

What others on the machine take does not count, so it tells on a busy machine, too, what of a late
answer is the server's own doing. The probe costs a little, so nothing else is measured with it.
"""

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from unittest.mock import patch

from benchmarks import stage
from benchmarks.asked import Asked
from benchmarks.open_loop import Stream, drive
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, fresh_folder, stampede
from benchmarks.steady import STEADY, most_reservations, ordering

PROBE = Path(__file__).parent / "probe"
SECONDS = 20.0
READY_S = 40.0  # started, the most found, tickets sold
SCANS_PART = 10  # of the orders


async def longest_step(asked: Asked) -> list[Measurement]:
    found = [await _round(asked) for _ in range(asked.rounds_or(3))]
    conditions = (
        "CPU of the loop's thread between two looks of a millisecond: many callbacks, where many"
        " requests have come at once; and of the longest callback (a turn's decisions or answers,"
        f" a piece of a snapshot, a request, a collection). {SECONDS:g} s of"
        f" reservations at {STEADY:.0%} of the most and a tenth as many check-ins, open loop;"
        " logs, metrics, snapshots and projector on."
    )
    figures = [
        Figure("longest pass of the loop", "ms of CPU", [longest for longest, _ in found]),
        Figure("longest callback", "ms of CPU", [longest for _, longest in found]),
    ]
    return [measured("longest step", "./run bench longest-step", conditions, figures)]


async def _round(asked: Asked) -> tuple[float, float]:
    began_s = time.monotonic()
    async with AsyncExitStack() as undo:
        folder = await undo.enter_async_context(fresh_folder())
        probing = {
            "PYTHONPATH": str(PROBE),
            "BENCH_STEPS": str(folder),
            "BENCH_STEPS_FROM_S": str(READY_S),
        }
        with patch.dict(os.environ, probing):
            ours = await undo.enter_async_context(stampede())
        streams = await _streams(ours, asked)
        await asyncio.sleep(max(0.0, began_s + READY_S - time.monotonic()))
        for name, outcome in (await drive(ours, streams, SECONDS)).items():
            if outcome.failed:
                raise SystemExit(f"{outcome.failed} {name} failed: {outcome.statuses}")
        of_pass, of_callback = (folder / str(ours.serving_pid)).read_text().split()
        return float(of_pass), float(of_callback)


async def _streams(ours: Endpoint, asked: Asked) -> dict[str, Stream]:
    sale, door = stage.event_on_sale(ours), stage.event_on_sale(ours, price=0)
    orders = STEADY * await most_reservations(ours, sale, asked)
    scans = orders / SCANS_PART
    await stage.sell(ours, *door, int(scans * SECONDS * 1.5))
    tickets = await stage.sold_tokens(ours.dsn)
    scanner = ours.token("scanner", "bench", door[0])
    return {
        "orders": ordering(ours, sale, orders),
        "scans": Stream("scans", scans, scanner, door[0], tickets=tickets),
    }
