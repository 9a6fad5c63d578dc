"""`./run demo`: a real on-sale and doors-open against a server of our own, then an audit of it all.

    python -m loadtests.demo [--no-wait] [--buyers N] [--seed S]

Every buyer of the hot event signs in for himself, as in a shop of one's own; what is sold of all
other events goes through a box office that names the buyers, as resellers do. The exit code is 0
only if the ledger holds and everybody with a ticket was let in, once.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

import asyncpg
import click
import uvloop
from msgspec import Struct
from rich.console import Console

from loadtests import doors, onsale
from loadtests.api import Caller, UnexpectedAnswer, sign_in
from loadtests.arrivals import arrivals, recorded
from loadtests.audit import Report, audit, until_quiet
from loadtests.catalogue import Builder, Catalogue
from loadtests.client import Client, NoAnswer
from loadtests.conferences import upcoming
from loadtests.onsale import Buyer, Shop
from loadtests.progress import latencies, shown
from loadtests.seen import Seen
from loadtests.server import Server, ServerError, fresh_folder
from loadtests.tally import Done, Tally

BUYERS, BUYERS_MIN, BUYERS_MAX = 9_000, 100, 100_000
FOLDER = ".stampede/demo"
HOLD_S = 15
ON_SALE_S = 22.0
COMES_BACK_S_MAX = 30.0  # after the last hold of those who came at first has ended
CONNECTIONS_MAX = 300
BUILDERS_MAX = 16
SURPRISES_SHOWN_MAX = 5
BROKEN, INTERRUPTED = 1, 130

# The events lie up to a year ahead and their doors are to open now.
DOORS_OPEN_HOURS = 3 * 366 * 24

_SETTINGS = {
    "STAMPEDE_ORDER_HOLD_SECONDS": str(HOLD_S),
    "STAMPEDE_DOORS_OPEN_HOURS": str(DOORS_OPEN_HOURS),
    "STAMPEDE_RATE_LIMITS": "off",
}


class Span(Struct, frozen=True):
    """How long a phase took and how many requests were answered in it."""

    seconds: float
    requests: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class Outcome(Struct, frozen=True):
    """`unadmitted`: tickets of the hot event whose bearer was not let in exactly once."""

    catalogue: Catalogue
    report: Report
    tickets: int
    unadmitted: int
    on_sale: Span
    doors: Span
    seconds: float

    @property
    def holds(self) -> bool:
        return self.report.holds and self.tickets > 0 and self.unadmitted == 0


class Demo:
    def __init__(self, server: Server, buyers: int, seed: int, console: Console) -> None:
        self._server = server
        self._buyers = buyers
        self._seed = seed
        self._console = console
        self.tally = Tally()
        self.seen = Seen()

    async def run(self) -> Outcome:
        """Raises ServerError, NoAnswer, UnexpectedAnswer where it can't go on."""
        began = time.monotonic()
        await self._server.start()
        self._console.print(f"serving on {self._server.url}, log in {self._server.log}")
        async with (
            shown(self.tally, self._console),
            Client(self._server.url, CONNECTIONS_MAX, self.tally.observe) as client,
        ):
            catalogue = await self._catalogue()
            on_sale = await self._on_sale(client, catalogue)
            tokens, at_doors = await self._doors(client, catalogue)
            self.tally.phase = "audit"
            report = await audit(self._server.dsn, self.seen, self._server.url)
        return Outcome(
            catalogue=catalogue,
            report=report,
            tickets=len(tokens),
            unadmitted=self._unadmitted(tokens),
            on_sale=on_sale,
            doors=at_doors,
            seconds=time.monotonic() - began,
        )

    async def _catalogue(self) -> Catalogue:
        self.tally.phase = "catalogue"
        places = self._buyers * 5 // 9
        conferences = upcoming(datetime.now(UTC).date())
        async with Client(self._server.url, BUILDERS_MAX, self.tally.observe) as client:
            organizer = await sign_in(client, "organizer", "demo-organizer")
            builder = Builder(client, organizer, places, Random(self._seed))
            return await builder.build(conferences)

    async def _on_sale(self, client: Client, catalogue: Catalogue) -> Span:
        self.tally.phase = "sign in"
        names = [f"buyer-{number:06}" for number in range(self._buyers)]
        callers = await asyncio.gather(*(sign_in(client, "buyer", name) for name in names))
        box_office = await sign_in(client, "box_office", "demo-box-office")
        self.tally.phase = "on sale"
        began, before = time.monotonic(), self.tally.requests
        shop = Shop(client, self.seen, self.tally, began + ON_SALE_S + HOLD_S + COMES_BACK_S_MAX)
        watching = asyncio.create_task(onsale.watch(client, catalogue.hot, self.tally))
        try:
            async with asyncio.TaskGroup() as group:
                for delay_s, buyer in self._crowd(shop, catalogue, callers, box_office):
                    group.create_task(onsale.comes_at(delay_s, buyer))
        finally:
            watching.cancel()
        return Span(time.monotonic() - began, self.tally.requests - before)

    def _crowd(
        self, shop: Shop, catalogue: Catalogue, callers: Sequence[Caller], box_office: Caller
    ) -> list[tuple[float, Buyer]]:
        """When each buyer comes: to the hot event as they really do, a trickle to the others."""
        random = Random(self._seed + 1)
        times = arrivals(recorded(), len(callers), ON_SALE_S, random)
        crowd = [
            (delay_s, Buyer(shop, catalogue.hot, caller, None, Random(random.getrandbits(64))))
            for delay_s, caller in zip(times, callers, strict=True)
        ]
        for number in range(len(callers) // 20):
            event = random.choice(catalogue.others)
            name, chance = f"guest-{number:06}", Random(random.getrandbits(64))
            buyer = Buyer(shop, event, box_office, name, chance)
            crowd.append((random.uniform(0, ON_SALE_S), buyer))
        return crowd

    async def _doors(self, client: Client, catalogue: Catalogue) -> tuple[list[str], Span]:
        """Also answers all of the hot event's tokens that buyers hold."""
        self.tally.phase = "settling"
        connection = await asyncpg.connect(self._server.dsn)
        await until_quiet(connection)  # a token of another event is told by the projection
        await connection.close()
        await onsale.look(client, catalogue.hot, self.tally)
        self.tally.phase = "doors"
        hot, others = self._tokens(catalogue.hot.event_id)
        began, before = time.monotonic(), self.tally.requests
        random = Random(self._seed + 2)
        await doors.admit_all(client, catalogue.hot, hot, others, self.seen, self.tally, random)
        return hot, Span(time.monotonic() - began, self.tally.requests - before)

    def _tokens(self, event_id: str) -> tuple[list[str], list[str]]:
        """The tokens of an event, and those of all others."""
        at_event = {o.order_id for k, o in self.seen.order_by_key.items() if k.event_id == event_id}
        tokens: tuple[list[str], list[str]] = ([], [])
        for order_id, tickets in self.seen.tickets_by_order.items():
            tokens[order_id not in at_event].extend(ticket.token for ticket in tickets)
        return tokens

    def _unadmitted(self, tokens: Sequence[str]) -> int:
        scans = self.seen.scan_by_key.values()
        admitted = [token for token, scan in scans if scan.result == "ADMIT"]
        once = {token for token in admitted if token in set(tokens)}
        return len(tokens) - len(once) + len(admitted) - len(set(admitted))


def summary(demo: Demo, outcome: Outcome, say: Callable[..., None]) -> None:
    tally, catalogue = demo.tally, outcome.catalogue
    say()
    say(f"{len(catalogue.others) + 1} events in {catalogue.halls} halls")
    say(f"{len(catalogue.conflicts)} more were refused, their hall was taken (venue_conflict):")
    for conflict in catalogue.conflicts:
        say(f"  {conflict}")
    hot, on_sale, at_doors = catalogue.hot, outcome.on_sale, outcome.doors
    say(f"on sale: {hot.title}, {hot.places:,} places, {tally.sold:,} sold")
    say(f"  in {on_sale.seconds:.0f} s, {on_sale.per_second:,.0f} requests/s")
    say(f"doors: {outcome.tickets:,} tickets, {outcome.tickets - outcome.unadmitted:,} let in once")
    say(f"  in {at_doors.seconds:.1f} s, {at_doors.per_second:,.0f} scans/s")
    for what in Done:
        if tally.done[what]:
            say(f"  {what.value}: {tally.done[what]:,}")
    for surprise, count in tally.unexpected.most_common(SURPRISES_SHOWN_MAX):
        say(f"  {count} times: {surprise}")
    say(latencies(tally))
    say("the audit of the ledger:")
    for line in outcome.report.lines():
        say(f"  {line}")
    verdict = "the ledger holds" if outcome.report.holds else "the ledger is BROKEN"
    once = (
        "everybody was let in once" if not outcome.unadmitted else "NOT everybody was let in once"
    )
    say(f"{verdict}; {once}; {outcome.seconds:.0f} s in all")


async def addresses(server: Server, catalogue: Catalogue, say: Callable[..., None]) -> None:
    """What there is to look at; only what answers."""
    path = f"/v1/events/{catalogue.hot.event_id}"
    async with Client(server.url, connections_max=1) as client:
        for name, where in (
            ("the hot event", path),
            ("its availability", f"{path}/availability"),
            ("the events", "/v1/events"),
            ("metrics", "/metrics"),
            ("readiness", "/readyz"),
            ("the API", "/docs"),
            ("as OpenAPI", "/v1/openapi.json"),
        ):
            if (await client.request("GET", where)).status == 200:
                say(f"  {name:18}{server.url}{where}")


async def run(folder: Path, buyers: int, seed: int, *, wait: bool, console: Console) -> int:
    """The exit code. SIGTERM ends it as Ctrl-C does: the server is stopped in order."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    server = Server(await fresh_folder(folder), _SETTINGS)
    try:
        demo = Demo(server, buyers, seed, console)
        outcome = await demo.run()
        say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        summary(demo, outcome, say)
        if wait:
            await addresses(server, outcome.catalogue, say)
            say("serving until Ctrl-C")
            with suppress(asyncio.CancelledError):
                await server.ended()
        return 0 if outcome.holds else BROKEN
    finally:
        server.stop()


@click.command()
@click.option("--no-wait", is_flag=True, help="Stop the server at the end instead of serving on.")
@click.option(
    "--buyers",
    type=click.IntRange(BUYERS_MIN, BUYERS_MAX),
    default=BUYERS,
    show_default=True,
    help="How many want a ticket to the hot event, which has five for nine of them.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Who buys what, and how.")
def main(no_wait: bool, buyers: int, seed: int) -> None:
    """A real on-sale and doors-open against a server of its own, then an audit of the ledger."""
    console = Console()
    folder = Path(os.environ.get("STAMPEDE_DATA_DIR", FOLDER))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sys.exit(runner.run(run(folder, buyers, seed, wait=not no_wait, console=console)))
    except (ServerError, NoAnswer, UnexpectedAnswer) as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(BROKEN)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
