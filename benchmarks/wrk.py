"""wrk as a client beside our own: written in C, it leaves more of the cores to the server.

It counts answers and does not look at them, so they are held against the journal by number: as
every request has a key of its own, the journal has as many as were answered, or more. Its latencies
are corrected for the time that it waited.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from hdrh.histogram import HdrHistogram

from benchmarks.generator import LATENCY_MAX_US, Outcome

SCRIPT = Path(__file__).with_suffix(".lua")
MISSING = "wrk is not on PATH: apt install wrk, or use --client own"
TIMEOUT_S = 10


def is_there() -> bool:
    return shutil.which("wrk") is not None


async def run(
    host: str,
    port: int,
    requests: Iterator[bytes],
    *,
    connections: int,
    seconds: float,
    keep_status: int,
    per_s_max: int,
) -> Outcome:
    """As the generator's, without bodies. The requests are all of one length, and as many are taken
    from the iterator as the fastest server could answer."""
    with TemporaryDirectory(prefix="stampede-wrk-") as folder:
        file, told = Path(folder) / "requests", Path(folder) / "told"
        size = await asyncio.to_thread(_write, file, islice(requests, int(seconds * per_s_max)))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", f"--timeout={TIMEOUT_S}s"]
        command += ["-s", str(SCRIPT), f"http://{host}:{port}/", "--", str(file), str(size)]
        process = await asyncio.create_subprocess_exec(
            *(*command, str(told)), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        if process.returncode or not told.exists():
            raise SystemExit(f"wrk failed: {said.decode()}")
        return _outcome(told.read_text().splitlines(), keep_status)


def _write(path: Path, requests: Iterator[bytes]) -> int:
    """The length of each."""
    sizes = set()
    with path.open("wb") as file:
        for request in requests:
            sizes.add(len(request))
            file.write(request)
    (size,) = sizes
    return size


def _outcome(lines: list[str], keep_status: int) -> Outcome:
    duration_us, answered, refused, lost = map(int, lines[0].split())
    if lost:
        raise SystemExit("wrk ran out of requests" if lost < 0 else f"wrk lost {lost} answers")
    # It knows of a status only whether it is an error.
    meant, other = (
        (refused, answered - refused) if keep_status >= 400 else (answered - refused, refused)
    )
    statuses = Counter({keep_status: meant} | ({0: other} if other else {}))
    histogram = HdrHistogram(1, LATENCY_MAX_US, 3)
    for line in lines[1:]:
        us, count = map(int, line.split())
        histogram.record_value(max(1, us), count)
    return Outcome(duration_us / 1e6, statuses, [], histogram)
