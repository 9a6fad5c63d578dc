"""Seconds until a lock is free whose holder's machine has vanished, printed.

    python -m tests.persistence.vanishing FOLDER

Only in a network namespace of its own. Postgres listens on TCP here; the holder is on another
machine, as far as its packets can tell.
"""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

import asyncpg

from loadtests.nemesis.network import POSTGRES, Home, Network, enter
from persistence import embedded
from persistence.alone import alone
from persistence.embedded import EmbeddedPostgres

LOCK = 4_711
HOLDER = "holder"


def hold(home: Home, dsn: str, holds: threading.Event) -> None:
    async def work(_connection: asyncpg.Connection) -> None:
        holds.set()
        await asyncio.Event().wait()

    enter(home)  # this thread alone
    asyncio.run(alone(dsn, HOLDER, LOCK, work))


async def taken_over_after(dsn: str) -> float:
    began, taken = time.monotonic(), asyncio.Event()

    async def work(_connection: asyncpg.Connection) -> None:
        taken.set()
        await asyncio.Event().wait()

    taking = asyncio.create_task(alone(dsn, "successor", LOCK, work))
    await taken.wait()
    taking.cancel()
    return time.monotonic() - began


async def main(folder: Path) -> None:
    network, postgres = Network(), EmbeddedPostgres(folder / "postgres")
    embedded.POSTGRES_SETTINGS["listen_addresses"] = "*"
    here = await postgres.start()
    try:
        with (folder / "postgres" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.99.0.0/16 trust\n")
        connection = await asyncpg.connect(here)
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        with network.laid([HOLDER]):
            home, holds = network.home_by_name[HOLDER], threading.Event()
            there = f"postgresql://stampede@{POSTGRES}/stampede?sslmode=disable"
            threading.Thread(target=hold, args=(home, there, holds), daemon=True).start()
            assert await asyncio.to_thread(holds.wait, 20)
            with network.losing([(POSTGRES, home.address), (home.address, POSTGRES)], 1):
                sys.stdout.write(f"{await taken_over_after(here)}\n")
    finally:
        await postgres.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    sys.stdout.flush()
    os._exit(0)  # the holder's thread waits for ever
