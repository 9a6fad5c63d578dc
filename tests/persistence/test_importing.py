"""Events from files: what is taken, what is refused and how it is told, and a second time."""

import asyncio
import csv
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.catalogue import Event, ImportedRow, Venue
from engine.rejections import Reason, Rejection
from gateway import importing
from gateway.importing import Import, Refused, Report, TooManyRows, rows_of
from persistence.hire import Hire
from persistence.importing import EventImports
from tests.persistence.catalogue_world import (
    HOUR,
    NOON,
    ORGANIZER,
    REQUEST_KEPT,
    World,
    draft,
)


def imports(world: World) -> EventImports:
    return EventImports(world.pool, Hire(world.clock, REQUEST_KEPT))


async def run(world: World, file: Path, *, atomic: bool = False, dry_run: bool = False) -> Report:
    work = Import(imports(world), ORGANIZER.subject, atomic=atomic, dry_run=dry_run)
    return await work.run(rows_of(file), lambda done: None)


def row(venue: Venue, day: int, **changes: Any) -> dict[str, Any]:
    return {
        "venue_id": venue.venue_id,
        "title": f"Day {day}",
        "category": "CONFERENCE",
        "start_time": f"2031-05-{day:02}T09:00:00",
        "end_time": f"2031-05-{day:02}T18:00:00",
        **changes,
    }


def json_lines(path: Path, *lines: dict[str, Any] | bytes) -> Path:
    encoded = (line if isinstance(line, bytes) else msgspec.json.encode(line) for line in lines)
    path.write_bytes(b"\n".join(encoded))
    return path


async def titles(world: World) -> list[str]:
    events = await world.catalogue.own_events(ORGANIZER.subject, None, 100)
    return sorted(event.title for event in events)


async def test_rows_become_events_with_bookings_and_again_change_nothing(
    world: World, tmp_path: Path
) -> None:
    venue = await world.venue()
    file = json_lines(tmp_path / "a.jsonl", row(venue, 1), b"", row(venue, 2, currency="CHF"))
    assert await run(world, file) == Report(added=2)
    events = await world.catalogue.own_events(ORGANIZER.subject, None, 100)
    for event in events:
        assert (await world.booking(event)).slot == event.slot
    assert {event.currency for event in events} == {"EUR", "CHF"}
    assert min(event.start_time for event in events).isoformat() == "2031-05-01T07:00:00+00:00"
    assert await run(world, file) == Report(known=2)
    more = json_lines(tmp_path / "b.jsonl", row(venue, 1), row(venue, 3), row(venue, 2))
    assert await run(world, more) == Report(added=1, known=2)
    assert await titles(world) == ["Day 1", "Day 2", "Day 3"]


async def test_each_refused_row_is_told_with_line_field_and_reason(
    world: World, tmp_path: Path
) -> None:
    venue, inactive = await world.venue(), await world.venue(is_active=False)
    file = json_lines(
        tmp_path / "a.jsonl",
        row(venue, 1),
        row(venue, 1, title="Later", start_time="2031-05-01T17:59:00"),
        row(venue, 2, title=7),
        b'{"venue_id": ',
        row(venue, 3, colour="red"),
        row(venue, 4, venue_id="ven_nope"),
        row(inactive, 4),
        row(venue, 5, end_time="2031-05-05T08:00:00"),
        row(venue, 6, start_time="2031-03-30T02:30:00"),
        row(venue, 7, start_time="2031-10-26T02:30:00"),
        row(venue, 1),
        b'"' + b"x" * importing.LINE_BYTES_MAX + b'"',
        b"[" * 2000,
        row(venue, 8, start_time="0001-01-01T00:00:00Z"),
        b"\xff",
    )
    report = await run(world, file)
    assert report.added == 1
    told = [(refused.line, refused.field) for refused in report.refused]
    assert told == [
        (2, "start_time"),
        (3, "title"),
        (4, ""),
        (5, "colour"),
        (6, "venue_id"),
        (7, "venue_id"),
        (8, "end_time"),
        (9, "start_time"),
        (10, "start_time"),
        (11, "import_key"),
        (12, ""),
        (13, ""),
        (14, "start_time"),
        (15, ""),
    ]
    reason = {refused.line: refused.reason for refused in report.refused}
    assert reason[2].startswith("venue conflict: ")
    assert "2031-05-01 07:00:00+00:00" in reason[2]
    assert "ven_nope" in reason[6]
    assert reason[10].endswith('say which: ["2031-10-26T00:30:00Z","2031-10-26T01:30:00Z"]')
    assert reason[11] == "the same event as in line 1"
    importing.write_report(tmp_path / "refused.csv", report.refused)
    with (tmp_path / "refused.csv").open(newline="") as written:
        read = [msgspec.convert(each, Refused, strict=False) for each in csv.DictReader(written)]
    assert read == report.refused


async def test_atomic_takes_all_rows_or_none(world: World, tmp_path: Path) -> None:
    venue = await world.venue()
    wrong: list[dict[str, Any]] = [row(venue, 1, title="In the way"), row(venue, 9, title="")]
    for number, last in enumerate(wrong):
        file = json_lines(tmp_path / f"{number}.jsonl", row(venue, 1), row(venue, 2), last)
        report = await run(world, file, atomic=True)
        assert ([refused.line for refused in report.refused], report.kept) == ([3], False)
        assert await titles(world) == []
    dry = json_lines(tmp_path / "dry.jsonl", row(venue, 1), row(venue, 2))
    assert await run(world, dry, dry_run=True) == Report(added=2, kept=False)
    assert await titles(world) == []
    assert await run(world, dry, atomic=True) == Report(added=2)
    assert await titles(world) == ["Day 1", "Day 2"]


async def test_more_than_can_be_taken_at_once_is_refused_before_anything_is_written(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "ROWS_MAX_AT_ONCE", 2)
    venue = await world.venue()
    file = json_lines(tmp_path / "a.jsonl", *(row(venue, day) for day in (1, 2, 3)))
    with pytest.raises(TooManyRows):
        await run(world, file, atomic=True)
    assert await titles(world) == []


async def test_a_spreadsheet_says_the_same_as_json_lines(world: World, tmp_path: Path) -> None:
    venue = await world.venue()
    header = "venue_id,title,category,start_time,end_time,setup_hours_before,age_restriction\r\n"
    hall = venue.venue_id
    lines = [
        f'{hall},"Größe, 2",CONCERT,2031-05-01T09:00:00,2031-05-01T10:00:00+02:00,2.5,\r\n',
        ",,,,,,\r\n",
        f'{venue.venue_id},"two\nlines",CONCERT,2031-05-02T09:00:00,2031-05-02T10:00:00,,18\r\n',
        f"{venue.venue_id},X,OPERA,2031-05-03T09:00:00,2031-05-03T10:00:00,,\r\n",
        f"{venue.venue_id},Y,CONCERT,2031-05-04T09:00:00,2031-05-04T10:00:00,many,\r\n",
        f"{venue.venue_id},Z,CONCERT,2031-05-05T09:00:00,2031-05-05T10:00:00,,,surplus\r\n",
    ]
    file = tmp_path / "a.csv"
    file.write_bytes(b"\xef\xbb\xbf" + (header + "".join(lines)).encode())
    report = await run(world, file)
    assert report.added == 2
    told = [(refused.line, refused.field) for refused in report.refused]
    assert told == [(6, "category"), (7, "setup_hours_before"), (8, "")]
    events = await world.catalogue.own_events(ORGANIZER.subject, None, 100)
    by_title = {event.title: event for event in events}
    assert (by_title["Größe, 2"].setup_hours_before, by_title["Größe, 2"].age_restriction) == (
        2.5,
        None,
    )
    assert by_title["two\nlines"].age_restriction == 18


async def test_an_import_key_knows_a_row_again_whatever_else_it_says(
    world: World, tmp_path: Path
) -> None:
    venue = await world.venue()
    file = json_lines(tmp_path / "a.jsonl", row(venue, 1, import_key="one"))
    assert await run(world, file) == Report(added=1)
    file = json_lines(tmp_path / "a.jsonl", row(venue, 2, title="New", import_key="one"))
    assert await run(world, file) == Report(known=1)
    assert await titles(world) == ["Day 1"]


async def test_two_imports_of_one_file_at_once_bring_it_in_once(
    world: World, tmp_path: Path
) -> None:
    halls = [await world.venue() for _ in range(5)]
    lines = [row(hall, day) for day in range(1, 29) for hall in halls]
    one = json_lines(tmp_path / "one.jsonl", *lines)
    other = json_lines(tmp_path / "other.jsonl", *reversed(lines))
    reports = await asyncio.gather(run(world, one), run(world, other))
    assert [report.refused for report in reports] == [[], []]
    assert sum(report.added for report in reports) == len(lines)
    assert await world.pool.fetchval("SELECT count(*) FROM events") == len(lines)


async def test_of_rows_in_one_hall_the_earlier_line_gets_it(world: World) -> None:
    last, first = sorted([await world.venue(), await world.venue()], key=lambda v: v.venue_id)
    events: list[Event] = [
        draft(venue, start_time=NOON + hours * HOUR, end_time=NOON + (hours + 2) * HOUR)
        for venue, hours in ((first, 0), (last, 0), (first, 1), (last, 1), (first, 2))
    ]
    rows = [ImportedRow(event.event_id, event) for event in events]
    outcomes = await imports(world).add(rows, all_or_none=False, dry_run=False)
    shown = [o.reason if isinstance(o, Rejection) else o for o in outcomes]
    taken = Reason.VENUE_CONFLICT
    assert shown == [True, True, taken, taken, True]
