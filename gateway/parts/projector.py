"""The part that copies facts into tables, feeds the search, and sends what leaves the house."""

import os
from datetime import timedelta
from pathlib import Path

from gateway import telemetry
from gateway.parts.process import Process
from persistence.healing import heal
from persistence.projector import project
from persistence.retention import retain
from persistence.search import assembly
from persistence.search.feeder import feed
from persistence.search.trending import feed_trends
from persistence.streams import connect

_NICENESS = 10  # selling goes first


def start_projector(process: Process) -> None:
    if process.roles == ["projector"]:
        os.nice(_NICENESS)
    database_url = process.needs.database_url
    process.do_until_the_end("projector", project(database_url, heal))
    _start_feeding(process)
    process.do_until_the_end("departures", _depart(process))
    if (hours := process.settings.journal_kept_hours) is not None:
        folder = Path(process.settings.archive_folder)
        archiving = retain(database_url, folder, timedelta(hours=hours))
        process.do_until_the_end("retention", archiving)


async def _depart(process: Process) -> None:
    from gateway.departures import depart  # half a second that no start should wait for

    await depart(process.settings, process.name.incarnation, process.observer)


def _start_feeding(process: Process) -> None:
    """What is found is fed behind the projector."""
    url = process.needs.database_url
    process.do_until_the_end("search feeder", feed(url, telemetry.INDEXED.inc))
    if server := process.search_server():
        following = assembly.follow(url, server, telemetry.search_failed)
        process.do_until_the_end("search follower", following)
    redis = connect(process.needs.redis_url)
    process.stack.push_async_callback(redis.aclose)
    process.do_until_the_end("trending feeder", feed_trends(url, redis))
