"""The nemesis' progress: live figures on a terminal, a plain line now and then anywhere else."""

import asyncio
from contextlib import AbstractAsyncContextManager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtests.nemesis.run import Nemesis
from loadtests.nemesis.witness import Came
from loadtests.progress import meanwhile

LIVE_S = 0.25
LINE_S = 5.0
SPARKS_MAX = 80
_SPARKS = " ▁▂▃▄▅▆▇█"


def shown(nemesis: Nemesis, console: Console) -> AbstractAsyncContextManager[None]:
    return meanwhile(_live(nemesis, console) if console.is_terminal else _lines(nemesis, console))


async def _live(nemesis: Nemesis, console: Console) -> None:
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(_picture(nemesis), refresh=True)
            await asyncio.sleep(LIVE_S)


async def _lines(nemesis: Nemesis, console: Console) -> None:
    while True:
        await asyncio.sleep(LINE_S)
        console.print(_line(nemesis), soft_wrap=True, highlight=False, markup=False)


def _line(nemesis: Nemesis) -> str:
    recent = nemesis.witness.seconds[-6:-1]
    offered = sum(second.offered for second in recent) / max(1, len(recent))
    came = "  ".join(
        f"{kind} {sum(second.came[kind] for second in recent) / len(recent):.0f}"
        for kind in Came
        if any(second.came[kind] for second in recent)
    )
    seen = nemesis.witness.seen
    return (
        f"{nemesis.witness.now_s:6.1f} s  {nemesis.phase}: {offered:.0f}/s offered; {came}"
        f"  ({len(seen.order_by_key)} orders, {len(seen.tickets_by_order)} confirmed,"
        f" {len(seen.scan_by_key)} scans)"
    )


def _picture(nemesis: Nemesis) -> Group:
    broken = Table.grid(padding=(0, 2))
    for plan in nemesis.under_way.values():
        broken.add_row(Text(plan.kind, style="red"), f"{plan.lasts_s:.1f} s")
    return Group(Text(_line(nemesis)), Text(_sparks(nemesis), style="green"), broken)


def _sparks(nemesis: Nemesis) -> str:
    """Answered with success, each of the last seconds."""
    done = [second.came[Came.DONE] for second in nemesis.witness.seconds[-SPARKS_MAX:]]
    most = max(done, default=0) or 1
    return "".join(_SPARKS[count * (len(_SPARKS) - 1) // most] for count in done)
