"""How long after kill -9 of everything the next start serves: to its first answer."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from benchmarks import generator
from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import READY, Endpoint
from benchmarks.stage import event_on_sale, orders

SOLD_S = 3.0


async def restarts(rounds: int) -> list[float]:
    """Seconds from the start of the process to a durable 201, each after a kill in mid-sale."""
    with tempfile.TemporaryDirectory(prefix="stampede-bench-") as name:
        folder = Path(name) / "data"
        process, server = await _start(folder)
        event_id, tier_id = event_on_sale(server)
        took = []
        for _ in range(rounds):
            token = server.token("box_office", "bench")
            asking = orders(event_id, tier_id, token)
            selling = asyncio.create_task(
                generator.run(
                    server.host, server.port, asking, connections=64, seconds=60, keep_status=0
                )
            )
            await asyncio.sleep(SOLD_S)
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await asyncio.gather(selling, return_exceptions=True)
            began = time.perf_counter()
            process, server = await _start(folder)
            body = {"selections": [{"tier_id": tier_id, "quantity": 1}]}
            path = f"/v1/events/{event_id}/orders"
            server.call("POST", path, body, token, key=uuid4().hex)
            took.append(time.perf_counter() - began)
        process.terminate()
        await process.wait()
        return took


async def _start(folder: Path) -> tuple[asyncio.subprocess.Process, Endpoint]:
    settings = {"STAMPEDE_DATA_DIR": str(folder), "STAMPEDE_RATE_LIMITS": "off"}
    log = folder.parent / "server.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "up", "--port=0"),
            env={**os.environ, **settings, "STAMPEDE_LOG": "off"},
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(READY):
            return process, Endpoint(line.removeprefix(READY).decode().strip(), folder)
    raise RuntimeError(log.read_text()[-2000:])


async def measure(asked: Asked) -> list[Measurement]:
    took = await restarts(asked.rounds_or(5))
    figures = [Figure("start of the process to a durable 201", "s", took)]
    conditions = "Everything killed with -9 in mid-sale (64 in flight), then started again."
    return [measured("restart after kill -9", "./run bench restart", conditions, figures)]
