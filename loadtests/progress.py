"""The demo's progress: a live table on a terminal, a plain line a second anywhere else.

It shows figures only: no token, no name, no mail address.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtests.tally import Done, Tally

LIVE_S = 0.25
LINE_S = 1.0
LATENCIES_SHOWN = ("order", "payment", "availability", "scan")


def shown(tally: Tally, console: Console) -> AbstractAsyncContextManager[None]:
    return meanwhile(_live(tally, console) if console.is_terminal else _lines(tally, console))


@asynccontextmanager
async def meanwhile(showing: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Show until the end of the block."""
    task = asyncio.create_task(showing, name="progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _live(tally: Tally, console: Console) -> None:
    began = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(_picture(tally, time.monotonic() - began), refresh=True)
            await asyncio.sleep(LIVE_S)


async def _lines(tally: Tally, console: Console) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(LINE_S)
        console.print(_line(tally, time.monotonic() - began), soft_wrap=True, highlight=False)


def _line(tally: Tally, seconds: float) -> str:
    done = tally.done
    latencies = " ".join(
        f"{kind} {tally.latency_ms(kind, 50):.0f}/{tally.latency_ms(kind, 99):.0f}"
        for kind in LATENCIES_SHOWN
        if tally.latency_ms(kind, 50)
    )
    return (
        f"{seconds:5.0f} s  {tally.phase:10} sold {tally.sold}/{tally.places} held {tally.held}"
        f"  refused {done[Done.REFUSED]} expired {done[Done.EXPIRED]}"
        f" admitted {done[Done.ADMITTED]}  {tally.per_second():.0f} requests/s"
        f"  p50/p99 ms: {latencies or '-'}"
    )


def _picture(tally: Tally, seconds: float) -> Group:
    figures = Table.grid(padding=(0, 2))
    for pair in zip(Done, [tally.done[what] for what in Done], strict=True):
        if pair[1]:
            figures.add_row(pair[0].value, f"{pair[1]:,}")
    title = Text(f"{tally.phase}   {seconds:.0f} s   {tally.per_second():,.0f} requests/s")
    return Group(title, _places(tally), figures, latencies(tally))


def _places(tally: Tally) -> Table:
    bars = Table.grid(padding=(0, 2))
    for name, count in (
        ("sold", tally.sold),
        ("held", tally.held),
        ("admitted", tally.done[Done.ADMITTED]),
    ):
        bar = ProgressBar(total=tally.places or 1, completed=count, width=50)
        bars.add_row(name, bar, f"{count:,} of {tally.places:,}")
    return bars


def latencies(tally: Tally) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="")
    table.add_column("requests")
    for name in ("answered", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for kind, count in tally.kinds():
        p50, p99 = (f"{tally.latency_ms(kind, p):.1f}" for p in (50, 99))
        table.add_row(kind, f"{count:,}", p50, p99)
    return table
