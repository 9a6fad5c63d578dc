"""`stampede import events` beside a running server."""

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import pytest

from tests.server import Server
from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def command(server: Server, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "import", "events", *arguments),
        env={**os.environ, "STAMPEDE_DATA_DIR": str(server.folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_a_file_is_imported_and_its_refused_rows_are_told(
    server: Server, shop: Shop, tmp_path: Path
) -> None:
    venue = await shop.venue()
    times = {"start_time": "2031-05-01T09:00:00", "end_time": "2031-05-01T18:00:00"}
    rows = [
        {"venue_id": venue["venue_id"], "title": title, "category": "CONFERENCE", **times}
        for title in ("First", "Second")
    ]
    file, report = tmp_path / "events.jsonl", tmp_path / "refused.csv"
    file.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    organizer = f"--organizer={venue['venue_id']}"
    code, output, errors = await command(server, str(file), organizer, "--atomic")
    assert (code, output) == (1, "2 rows: 1 new, 0 known, 1 refused; nothing was written\n")
    code, output, errors = await command(server, str(file), organizer, f"--report={report}")
    assert (code, output) == (1, "2 rows: 1 new, 0 known, 1 refused\n")
    assert errors.startswith("line 2, start_time: venue conflict: ")
    assert report.read_text().splitlines()[0] == "line,field,reason"
    assert len(report.read_text().splitlines()) == 2
    code, output, _ = await command(server, str(file), organizer)
    assert (code, output) == (1, "2 rows: 0 new, 1 known, 1 refused\n")
    token = await shop.token("organizer", venue["venue_id"])
    own = await shop.call("GET", "/v1/events?mine=true", token=token)
    assert [event["title"] for event in own.body["items"]] == ["First"]


async def test_what_is_no_such_file_is_told_in_one_line(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "events.xlsx"
    file.touch()
    code, _, errors = await command(server, str(file), "--organizer=ann")
    assert code == 2
    assert ".jsonl or .ndjson or .csv" in errors
