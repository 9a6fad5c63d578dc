"""`./run load`: Locust buyers against a server of our own, or a running one in development mode."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.servers import Endpoint, stampede
from benchmarks.stage import event_on_sale

LOCUSTFILE = Path(__file__).parent / "locustfile.py"


@click.command()
@click.option("--host", help="A running server; else one is started for the test.")
@click.option("--users", default=100, show_default=True)
@click.option("--seconds", default=20, show_default=True)
def main(host: str | None, users: int, seconds: int) -> None:
    """Buyers at a hot event; exit code 1 above the limits."""
    sys.exit(asyncio.run(_run(host, users, seconds)))


async def _run(host: str | None, users: int, seconds: int) -> int:
    if host is not None:
        return await _load(Endpoint(host, None), users, seconds)
    async with stampede() as server:
        return await _load(server, users, seconds)


async def _load(server: Endpoint, users: int, seconds: int) -> int:
    event_id, tier_id = event_on_sale(server)
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(LOCUSTFILE),
        "--headless",
        "--only-summary",
    ]
    command += ["-H", server.url, "-u", str(users), "-r", str(users), "-t", f"{seconds}s"]
    named = {"STAMPEDE_LOAD_EVENT": event_id, "STAMPEDE_LOAD_TIER": tier_id}
    ended = await asyncio.to_thread(
        subprocess.run, command, env={**os.environ, **named}, check=False
    )
    return ended.returncode


if __name__ == "__main__":
    main()
