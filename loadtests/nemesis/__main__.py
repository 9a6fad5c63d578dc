"""`./run nemesis`: break everything under load, then check every promise and write a report.

    python -m loadtests.nemesis [--minutes N] [--seed S] [--gateways G] [--engines E]
    python -m loadtests.nemesis --no-namespaces ...
    python -m loadtests.nemesis --zombies 20 [--fence-off] --engines 2

The exit code is 0 only if every promise held; with the fence off, only if one did not: that run is
the negative control, which shows that the verdict can fail.
"""

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

import click
import uvloop
from rich.console import Console

from loadtests.api import UnexpectedAnswer
from loadtests.client import NoAnswer
from loadtests.nemesis.network import move_out, way_out
from loadtests.nemesis.progress import shown
from loadtests.nemesis.report import lines, write
from loadtests.nemesis.run import Nemesis, Plan
from loadtests.server import ServerError
from persistence.data_folder import EmbeddedServerError

FOLDER = ".stampede/nemesis"
ZOMBIES = 20
BROKEN, INTERRUPTED = 1, 130


async def run(plan: Plan, console: Console) -> int:
    """The exit code. SIGTERM ends it as Ctrl-C does: everything is stopped in order."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    nemesis = Nemesis(plan, say)
    async with shown(nemesis, console):
        outcome = await nemesis.run()
    for line in lines(outcome):
        say(line)
    for path in write(outcome):
        say(f"  {path}")
    return 0 if outcome.as_it_must else BROKEN


@click.command()
@click.option("--minutes", type=click.FloatRange(0.3, 600), default=10.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="What breaks when, and how.")
@click.option("--gateways", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option("--engines", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option("--zombies", type=click.IntRange(0, 1000), default=0, help="These, and nothing else.")
@click.option("--fence-off", is_flag=True, help="The negative control: it must be found broken.")
@click.option(
    "--no-namespaces", is_flag=True, help="All nodes in one network, that of this machine."
)
@click.option("--apart", is_flag=True, hidden=True)
def main(
    minutes: float,
    seed: int,
    gateways: int,
    engines: int,
    zombies: int,
    fence_off: bool,
    no_namespaces: bool,
    apart: bool,
) -> None:
    """Real processes, real servers, everything broken: then every promise is checked."""
    zombies = zombies or (ZOMBIES if fence_off else 0)
    if zombies and engines < 2:
        raise click.UsageError("a zombie needs somebody who takes over: --engines 2")
    if not (apart or no_namespaces or zombies) and (prefix := way_out()) is not None:
        move_out(prefix, "loadtests.nemesis", [*sys.argv[1:], "--apart"])
    folder = Path(os.environ.get("STAMPEDE_DATA_DIR", FOLDER)).absolute()
    plan = Plan(folder, minutes * 60, seed, gateways, engines, zombies, not fence_off, apart)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sys.exit(runner.run(run(plan, Console())))
    except (ServerError, EmbeddedServerError, NoAnswer, UnexpectedAnswer) as error:
        click.echo(f"nemesis: {error}", err=True)
        sys.exit(BROKEN)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
