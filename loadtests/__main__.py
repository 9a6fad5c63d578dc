"""`./run load`: Locust against a server of our own, or a running one in development mode."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

import click
import msgspec

from benchmarks.servers import Endpoint, stampede
from benchmarks.stage import bought_tokens, event_on_sale
from loadtests.locust.told import VARIABLE, Scenario

SCENARIOS = Path(__file__).parent / "locust"
SCANS_PER_S_MAX = 30  # of a scanner
ON_SALE_PLACES_A_USER = 40


@click.command()
@click.argument("name", default="onsale", type=click.Choice(["onsale", "doors", "browse"]))
@click.option("--host", help="A running server, its rate limits off; else one is started.")
@click.option("--users", default=100, show_default=True, help="At the peak.")
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--report", type=click.Path(dir_okay=False), help="Where to write Locust's page.")
def main(name: str, host: str | None, users: int, seconds: float, report: str | None) -> None:
    """Users of a scenario; exit code 1 where a request fails or one of its limits is broken."""
    sys.exit(asyncio.run(_run(name, host, users, seconds, report)))


async def _run(name: str, host: str | None, users: int, seconds: float, report: str | None) -> int:
    if host is not None:
        return await _load(Endpoint(host, None), name, users, seconds, report)
    async with stampede() as server:
        return await _load(server, name, users, seconds, report)


async def _load(server: Endpoint, name: str, users: int, seconds: float, report: str | None) -> int:
    scenario = await _prepared(server, name, users, seconds)
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary"]
    command += ["-f", str(SCENARIOS / f"{name}.py"), "-H", server.url]
    if report is not None:
        command += ["--html", report]
    with NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(msgspec.json.encode(scenario))
        environment = {**os.environ, VARIABLE: file.name}
        ended = await asyncio.to_thread(subprocess.run, command, env=environment, check=False)
    return ended.returncode


async def _prepared(server: Endpoint, name: str, users: int, seconds: float) -> Scenario:
    if name == "doors":
        sale = event_on_sale(server, price=0)
        tokens = await bought_tokens(server, *sale, int(users * seconds * SCANS_PER_S_MAX))
        return Scenario(*sale, users, seconds, tuple(tokens))
    places = int(users * ON_SALE_PLACES_A_USER * seconds / 20) if name == "onsale" else 1_000
    return Scenario(*event_on_sale(server, places=places), users, seconds)


if __name__ == "__main__":
    main()
