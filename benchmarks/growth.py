"""Does a reservation cost more when much has been sold? Two servers, one of them grown, in turns.

CPU of the serving process a reservation, in interleaved pairs: requests a second are too noisy for
a few per cent.
"""

import statistics
from contextlib import AsyncExitStack
from functools import partial

from benchmarks import stage
from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import stampede
from benchmarks.turns import Side, in_turns

SMALL = 1_000
GROWN = (100_000, 1_000_000)
PAIRS = 10


async def growth(asked: Asked) -> list[Measurement]:
    return [await _measured(asked, grown) for grown in GROWN]


async def _measured(asked: Asked, grown: int) -> Measurement:
    async with AsyncExitStack() as undo:
        sides = []
        for tickets in (SMALL, grown):
            server = await undo.enter_async_context(stampede())
            event_id, tier_id = stage.event_on_sale(server, price=0)
            await stage.sell(server, event_id, tier_id, tickets)
            await server.until_quiet()
            token = server.token("box_office", "bench")
            side = Side(
                f"{tickets:,} sold",
                server,
                partial(stage.orders, event_id, tier_id, token),
            )
            sides.append(side)
        turns = await in_turns(sides, asked, asked.rounds_or(PAIRS))
        for side in sides:
            await stage.expect_in_the_journal(side.server.dsn, turns[side.name])
    small, large = (turns[side.name] for side in sides)
    figures = [
        Figure(f"{side.name}: CPU of the server", "µs a reservation", [t.cpu_us for t in of_it])
        for side, of_it in zip(sides, (small, large), strict=True)
    ]
    ratios = [b.cpu_us / a.cpu_us for a, b in zip(small, large, strict=True)]
    figures.append(Figure(f"{grown:,} sold / {SMALL:,} sold", "", ratios))
    # A snapshot of the whole sale falls into one turn of many: the median would not know of it.
    means = [statistics.fmean(turn.cpu_us for turn in of_it) for of_it in (small, large)]
    figures.append(Figure("the same, of the means over all pairs", "", [means[1] / means[0]]))
    conditions = (
        f"Interleaved pairs, {asked.in_flight} in flight, {asked.seconds:g} s a side; sold before,"
        f" confirmed, in orders of {stage.SOLD_A_TIME} tickets; every answer found in the journal."
    )
    name = asked.titled(f"growth, {grown:,} sold")
    return measured(name, asked.command("growth"), conditions, figures)
