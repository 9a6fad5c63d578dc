"""What the people on call see: Prometheus metrics and one canonical log line a request.

Labels are closed sets: routes as they are declared, never an event's, buyer's or order's id.
Nothing that identifies a person or opens a door is logged.
"""

import asyncio
import sys
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate

import msgspec
import structlog
from msgspec import Struct
from prometheus_client import REGISTRY, Gauge, Histogram
from prometheus_client import Counter as Counted
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2.5, 5)
_WRITE_AFTER_S = 0.05
_QUIET_S = 5.0  # after a line that would be repeated as long as something is away
_encode_lines = msgspec.json.Encoder().encode_lines
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

REQUESTS = Counted("stampede_http_requests", "Requests answered", ["route", "status"])
COMMITS = Histogram(
    "stampede_journal_commit_seconds", "Time of a journal append", buckets=_LATENCIES_S
)
BATCH_FACTS = Histogram("stampede_journal_batch_facts", "Facts in an append", buckets=_BATCHES)
FACTS = Counted("stampede_facts", "Facts committed")
REFUSED = Counted("stampede_letters_refused", "Letters not taken in", ["reason"])
LOADED = Counted("stampede_sales_loaded", "Sales brought to life")
REPLAYED = Counted("stampede_facts_replayed", "Facts replayed while loading")
LOAD_TIME = Histogram("stampede_sale_load_seconds", "Time to load a sale", buckets=_LATENCIES_S)
DEATHS = Counted("stampede_sale_deaths", "Actors that died of a bug")
SHARDS = Gauge("stampede_shards_owned", "Shards that this process owns")
SHARDS_MOVED = Counted("stampede_shards_moved", "Shards taken and given up", ["how"])
LEASE_FAILURES = Counted("stampede_lease_failures", "Leases that could not be renewed")
STREAM_FAILURES = Counted("stampede_stream_failures", "Calls to the streams that failed")
REMOTE = Gauge("stampede_remote_calls", "Calls to other processes that wait for an answer")
JOURNAL_FAILURES = Counted("stampede_journal_failures", "Appends that failed or are unknown")
SNAPSHOT_FAILURES = Counted("stampede_snapshot_failures", "Snapshots that could not be stored")
DEPTH = Gauge("stampede_mailbox_depth", "Letters that wait")
SALES = Gauge("stampede_sales_live", "Sales in memory")
INDEXED = Counted("stampede_search_documents", "Documents written to the search index")
MAILS = Gauge("stampede_mails", "Mails that wait, and those that were given up", ["state"])
CALLS = Gauge("stampede_webhooks", "Webhooks out that wait, and those given up", ["state"])
REFUNDS = Gauge(
    "stampede_refunds", "Refunds on their way, those of them that stick, and failed ones", ["state"]
)
SILENT = Gauge("stampede_payments_silent", "Payments of an hour ago that nobody has told of")
LAG = Gauge("stampede_projection_lag_batches", "Journal batches not yet projected")


SEARCH_FAILURES = Counted("stampede_search_failures", "Calls that the search server failed")


def search_failed(error: Exception) -> None:
    """A search server that is away is searched around, and written to later."""
    SEARCH_FAILURES.inc()
    structlog.get_logger("search").warning("search server away", error=repr(error)[:300])


class RuntimeObserver:
    """Turns what the runtime reports into metrics and log lines."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("runtime")
        self._quiet_until_s: dict[str, float] = {}  # by what was told

    def turn_committed(self, letters: int, facts: int, seconds: float) -> None:
        COMMITS.observe(seconds)
        BATCH_FACTS.observe(facts)
        FACTS.inc(facts)

    def letter_refused(self, reason: str) -> None:
        REFUSED.labels(reason).inc()

    def sale_loaded(self, sale_id: str, seconds: float, facts_replayed: int) -> None:
        LOADED.inc()
        REPLAYED.inc(facts_replayed)
        LOAD_TIME.observe(seconds)

    def sale_died(self, sale_id: str, error: BaseException) -> None:
        DEATHS.inc()
        self._log.error("sale died", sale_id=sale_id, exc_info=error)

    def shard_taken(self, shard_id: int) -> None:
        SHARDS_MOVED.labels("taken").inc()

    def shard_handed_over(self, shard_id: int, successor: str) -> None:
        SHARDS_MOVED.labels("handed_over").inc()
        self._log.info("shard handed over", shard_id=shard_id, successor=successor)

    def lease_failed(self, error: BaseException) -> None:
        LEASE_FAILURES.inc()
        self._warn("lease not renewed", error)

    def streams_failed(self, error: BaseException) -> None:
        STREAM_FAILURES.inc()
        self._warn("streams away", error)

    def shard_lost(self, shard_id: int) -> None:
        SHARDS_MOVED.labels("lost").inc()
        self._log.error("shard lost to another node", shard_id=shard_id)

    def journal_failed(self, error: BaseException) -> None:
        JOURNAL_FAILURES.inc()
        self._warn("journal failed", error)

    def snapshot_failed(self, error: BaseException) -> None:
        SNAPSHOT_FAILURES.inc()
        self._warn("snapshot not stored", error)

    def _warn(self, event: str, error: BaseException) -> None:
        """Now and then: what is away fails many times a second."""
        now_s = time.monotonic()
        if now_s >= self._quiet_until_s.get(event, 0.0):
            self._quiet_until_s[event] = now_s + _QUIET_S
            self._log.warning(event, error=repr(error), cause=repr(error.__cause__))


class Latencies(Collector):
    """Time to answer, by route. A `Histogram` takes a lock for each of a request's numbers, which
    costs more than the request's line in the log."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, list[int]] = defaultdict(
            lambda: [0] * (len(_LATENCIES_S) + 1)
        )
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def observe(self, route: str, seconds: float) -> None:
        self._counts[route][bisect_left(_LATENCIES_S, seconds)] += 1
        self._seconds[route] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(
            "stampede_http_request_seconds", "Time to answer", labels=["route"]
        )
        bounds = [*map(str, map(float, _LATENCIES_S)), "+Inf"]
        for route, counts in self._counts.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric([route], buckets, self._seconds[route])
        yield family


LATENCY = Latencies()
REGISTRY.register(LATENCY)


class Request(Struct, frozen=True, gc=False):
    """One request that was answered: its canonical line."""

    timestamp: float
    route: str
    status: int
    ms: float
    role: str
    code: str
    level: str = "info"
    event: str = "request"


class RequestLog:
    """Counts, times and logs each request once, when it has been answered.

    All of a moment's requests are written together, so that none of them pays for it; a process
    that is killed loses the lines of its last moment.
    """

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._waiting: list[Request] = []

    def answered(self, route: str, status: int, seconds: float, role: str, code: str) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_later(_WRITE_AFTER_S, self._write)
        self._waiting.append(Request(time.time(), route, status, seconds * 1000, role, code))

    def _write(self) -> None:
        requests, self._waiting = self._waiting, []
        for (route, status), count in Counter((r.route, r.status) for r in requests).items():
            REQUESTS.labels(route, status).inc(count)
        for request in requests:
            LATENCY.observe(request.route, request.ms / 1000)
        if self._enabled:
            sys.stdout.buffer.write(_encode_lines(requests))
            sys.stdout.buffer.flush()
