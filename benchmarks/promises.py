"""Does a way to sell keep what it has answered, and sell no place twice? Looked at, not assumed.

Some of the places are sold, then every process is killed with -9 in mid-load; on the same folder
the rest is sold until all is refused. What the clients saw in both lives is held against the
books, and against the stock.
"""

import itertools
import json

from msgspec import Struct

from benchmarks import generator
from benchmarks.baselines.books import Kept
from benchmarks.generator import Outcome
from benchmarks.servers import fresh_folder
from benchmarks.shops import Shop
from tests.waiting import until

PLACES, AN_ORDER = 6_000, 2
KILLED_AFTER = 1_000  # orders
IN_FLIGHT = 64
LIFE_S_MAX = 120.0


class Verdict(Struct, frozen=True):
    """`lost`: 201s that are not in the books. `oversold`: places sold, by the answers or by the
    books, that were not there. `astray`: places neither sold nor for sale; less than none where
    the stock still offers what is sold.
    """

    seen: int
    lost: int
    oversold: int
    astray: int


def verdict(places: int, seen: dict[str, int], books: Kept) -> Verdict:
    """`seen`: places by order, of every 201."""
    lost = {order_id: count for order_id, count in seen.items() if order_id not in books.order_ids}
    sold = books.places_sold + sum(lost.values())
    astray = places - books.places_sold - books.left
    return Verdict(len(seen), len(lost), max(0, sold - places), astray)


async def kept_promises(shop: Shop) -> Verdict:
    """`shop` has PLACES places, and was never started."""
    seen: dict[str, int] = {}
    async with fresh_folder() as folder:
        async with shop.on(folder) as server:
            load = await generator.started(
                server.host,
                server.port,
                shop.orders(server),
                connections=IN_FLIGHT,
                seconds=LIFE_S_MAX,
                keep_status=201,
                may_die=True,
            )
            await until(lambda: load.outcome.statuses[201] >= KILLED_AFTER, LIFE_S_MAX)
            await server.kill()
            await load.finished
            seen |= _places_by_order(load.outcome)
        async with shop.on(folder) as server:
            rest = await generator.run(
                server.host,
                server.port,
                itertools.islice(shop.orders(server), PLACES // AN_ORDER),
                connections=IN_FLIGHT,
                seconds=LIFE_S_MAX,
                keep_status=201,
            )
            if not rest.statuses[409] or set(rest.statuses) - {201, 409}:
                raise SystemExit(f"{shop.name} was to sell out: {dict(rest.statuses)}")
            seen |= _places_by_order(rest)
            await server.until_quiet()
            return verdict(PLACES, seen, await shop.kept(server))


def _places_by_order(outcome: Outcome) -> dict[str, int]:
    orders = [json.loads(body) for body in outcome.bodies]
    return {o["order_id"]: sum(item["quantity"] for item in o["items"]) for o in orders}
