"""Ours beside every other way to sell a hot tier, all in turns in one run, the same lean client.

The others have the leaner edge (`baselines/edge.py`): no credentials, no idempotency keys, no
limits, no logs. Each way is also killed and sold out once, to see what its answers are worth.
"""

from contextlib import AsyncExitStack
from functools import partial

from msgspec import Struct

from benchmarks import stage
from benchmarks.asked import Asked
from benchmarks.baselines.rows import A_ROW_A_PLACE
from benchmarks.promises import PLACES, Verdict, kept_promises
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import fresh_folder
from benchmarks.shops import OURS, Other, Ours, Shop
from benchmarks.turns import Side, figures, in_turns, turn

POOLS = (2, 4, 8, 32)
STOCK = 10_000_000
ROWS_PER_S = 30_000  # of the way that keeps one a place

# What a way is called in the results, and its forms: the quickest is measured.
SQL = {
    "FOR UPDATE": ("row-lock",),
    "conditional UPDATE": ("conditional", "statement"),
    "SKIP LOCKED": ("skip-locked",),
}
VALKEY = {"Lua, rows behind (not durable)": "lua", "Lua, appendfsync always": "lua-always"}


class Form(Struct, frozen=True):
    """How a way is at its best. `tried`: what was found, for people."""

    way: str
    pool: int
    tried: str = ""

    def shop(self, places: int) -> Other:
        return Other(self.way, places, self.pool)


async def ways(asked: Asked) -> list[Measurement]:
    forms = {title: await _best(forms, asked) for title, forms in SQL.items()}
    forms |= {title: Form(way, 1) for title, way in VALKEY.items()}
    promises = {OURS: await kept_promises(Ours(PLACES))}
    promises |= {title: await kept_promises(form.shop(PLACES)) for title, form in forms.items()}
    shops: dict[str, Shop] = {OURS: Ours(STOCK)}
    shops |= {
        title: form.shop(_stock(form.way, asked, asked.rounds_or(5)))
        for title, form in forms.items()
    }
    async with AsyncExitStack() as undo:
        sides = []
        for title, shop in shops.items():
            server = await undo.enter_async_context(
                shop.on(await undo.enter_async_context(fresh_folder()))
            )
            sides.append(Side(title, server, lambda s=shop, e=server: s.orders(e)))  # type: ignore[misc]
        turns = await in_turns(sides, asked, asked.rounds_or(5))
        for side in sides:
            books = await shops[side.name].kept(side.server)
            stage.expect_among(turns[side.name], books.order_ids)
        durability = await stage.durability(sides[0].server.dsn)
    found = figures(turns, "reservations", OURS)
    for title, verdict in promises.items():
        found += _told(title, verdict)
    tried = "; ".join(f"{title}: {form.tried}" for title, form in forms.items() if form.tried)
    conditions = (
        f"{asked.in_flight} in flight, closed loop, {asked.seconds:g} s a side and round, in turns,"
        f" each at rest before the next; {durability}, everywhere. Ours with logs, metrics,"
        " snapshots and projector; every 201 counted was found in the books afterwards. The SQL"
        f" ways at the best of {', '.join(map(str, POOLS))} connections ({tried}). Then each alone:"
        f" of {PLACES:,} places some sold, all processes killed with -9 in mid-load, the rest sold"
        " out on the same folder."
    )
    return [measured(asked.titled("every other way"), asked.command("ways"), conditions, found)]


def _stock(way: str, asked: Asked, turns: int) -> int:
    rows = int(ROWS_PER_S * asked.seconds * turns)
    return rows if way in A_ROW_A_PLACE else STOCK


async def _best(ways: tuple[str, ...], asked: Asked) -> Form:
    """Each form at each size of its pool, on fresh books, for one turn."""
    speed: dict[Form, float] = {}
    for way in ways:
        for pool in POOLS:
            form = Form(way, pool)
            shop = form.shop(_stock(way, asked, turns=1))
            async with fresh_folder() as folder, shop.on(folder) as server:
                side = Side(way, server, partial(shop.orders, server))
                speed[form] = (await turn(side, asked)).per_second
    best = max(speed, key=lambda form: speed[form])
    tried = ", ".join(f"{form.way} {form.pool}: {speed[form]:,.0f}" for form in speed)
    return Form(best.way, best.pool, f"{tried} a second; taken: {best.way} {best.pool}")


def _told(title: str, verdict: Verdict) -> list[Figure]:
    return [
        Figure(f"{title}: 201s lost by kill -9", f"of {verdict.seen:,}", [verdict.lost]),
        Figure(f"{title}: places oversold", f"of {PLACES:,}", [verdict.oversold]),
        Figure(f"{title}: places astray", f"of {PLACES:,}", [verdict.astray]),
    ]
