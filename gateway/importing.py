"""Events from a file, JSON lines or CSV: every row as `POST /v1/events` takes it.

A row is known again by its `import_key`, or else by its venue, title and start: a file that is
imported twice changes nothing the second time. What is refused is told with its line.
"""

import csv
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from engine import ids
from engine.catalogue import Event, ImportedRow, Venue
from engine.lifecycle import EventStatus
from engine.rejections import Reason, Rejection
from gateway.catalogue import Name, given, new_id
from gateway.problems import Problem, sentence
from gateway.routes.events import NewEvent, in_utc

ROWS_A_TURN = 100
ROWS_MAX_AT_ONCE = 100_000
LINE_BYTES_MAX = 256 * 1024
SUFFIXES = (".jsonl", ".ndjson", ".csv")

_FIELD = re.compile(r"\$\.(\w+)|field `(\w+)`")
_FIELD_BY_REASON = {
    Reason.UNKNOWN_VENUE: "venue_id",
    Reason.VENUE_INACTIVE: "venue_id",
    Reason.VENUE_CONFLICT: "start_time",
    Reason.INVALID_TIMES: "end_time",
}


class EventRow(NewEvent, frozen=True, kw_only=True):
    import_key: Name | UnsetType = UNSET


class Found(Struct, frozen=True):
    """A row of the file, as it was read; `content` None where it is too long to be one."""

    line: int
    content: bytes | dict[str, Any] | None


class Refused(Struct, frozen=True):
    line: int
    field: str
    reason: str


class Report(Struct):
    """`known`: rows that an earlier import has brought in. Not `kept`: nothing was written."""

    added: int = 0
    known: int = 0
    kept: bool = True
    refused: list[Refused] = []


class Imports(Protocol):
    async def venue(self, venue_id: str) -> Venue | None: ...

    async def add(
        self, rows: Sequence[ImportedRow], *, all_or_none: bool, dry_run: bool
    ) -> list[bool | Rejection]:
        """Of each row: whether it is new, or why not. With `dry_run` nothing stays."""
        ...


def rows_of(path: Path) -> Iterator[Found]:
    """The rows of a file by its suffix; empty lines are none."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file)
            for record in reader:
                filled = {name: text for name, text in record.items() if text not in ("", None)}
                if filled:
                    yield Found(reader.line_num, filled)
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if text:
                yield Found(number, text if len(text) <= LINE_BYTES_MAX else None)


class TooManyRows(Exception):
    """More than can be taken or refused together."""


class Import:
    """One run. `atomic`: all rows are taken, or none; `dry_run`: none, in any case."""

    def __init__(self, imports: Imports, organizer_id: str, *, atomic: bool, dry_run: bool) -> None:
        self._imports = imports
        self._organizer_id = organizer_id
        self._atomic = atomic
        self._dry_run = dry_run
        self._venues: dict[str, Venue | None] = {}
        self._line_by_key: dict[str, int] = {}
        self.report = Report()

    async def run(self, found: Iterable[Found], progress: Callable[[int], None]) -> Report:
        """Raises TooManyRows, with nothing written."""
        at_once = self._atomic or self._dry_run  # rows of one hall must see each other
        turn: list[tuple[int, ImportedRow]] = []
        for done, each in enumerate(found, start=1):
            row = await self._read(each)
            if isinstance(row, Refused):
                self.report.refused.append(row)
            else:
                turn.append((each.line, row))
            if at_once and len(turn) > ROWS_MAX_AT_ONCE:
                raise TooManyRows
            if not at_once and len(turn) >= ROWS_A_TURN:
                await self._take(turn)
                turn = []
                progress(done)
        await self._take(turn)
        self.report.refused.sort(key=lambda refused: refused.line)
        self.report.kept = not (self._dry_run or (self._atomic and self.report.refused))
        return self.report

    async def _take(self, turn: list[tuple[int, ImportedRow]]) -> None:
        if not turn:
            return
        hopeless = self._atomic and bool(self.report.refused)
        outcomes = await self._imports.add(
            [row for _, row in turn],
            all_or_none=self._atomic,
            dry_run=self._dry_run or hopeless,
        )
        for (line, _), outcome in zip(turn, outcomes, strict=True):
            if isinstance(outcome, Rejection):
                field = _FIELD_BY_REASON.get(outcome.reason, "")
                self.report.refused.append(Refused(line, field, sentence(outcome)))
            elif outcome:
                self.report.added += 1
            else:
                self.report.known += 1

    async def _read(self, found: Found) -> ImportedRow | Refused:
        try:
            body = _decoded(found)
        except msgspec.DecodeError as error:
            return Refused(found.line, _field(str(error)), str(error))
        venue = await self._venue(body.venue_id)
        if venue is None:
            return Refused(found.line, "venue_id", f"unknown venue: {body.venue_id}")
        fields = {"currency": venue.currency, **given(body)}
        fields.pop("import_key", None)
        try:
            fields = in_utc(fields, venue)
        except Problem as problem:
            readings = problem.facts.get("readings")
            which = f"; say which: {msgspec.json.encode(readings).decode()}" if readings else ""
            field = str(problem.facts.get("field", "")) or _field(problem.detail)
            return Refused(found.line, field, problem.detail + which)
        event = Event(
            event_id=ids.event_id(os.urandom(ids.EVENT_RANDOM_BYTES)),
            organizer_id=self._organizer_id,
            booking_id=new_id("bkg"),
            status=EventStatus.DRAFT,
            **fields,
        )
        key = _key(event) if body.import_key is UNSET else body.import_key
        first = self._line_by_key.setdefault(key, found.line)
        if first != found.line:
            return Refused(found.line, "import_key", f"the same event as in line {first}")
        return ImportedRow(key, event)

    async def _venue(self, venue_id: str) -> Venue | None:
        if venue_id not in self._venues:
            self._venues[venue_id] = await self._imports.venue(venue_id)
        return self._venues[venue_id]


def _decoded(found: Found) -> EventRow:
    """Raises msgspec.DecodeError. What a spreadsheet holds is text, and is read as what it says."""
    if found.content is None:
        raise msgspec.DecodeError(f"a row has at most {LINE_BYTES_MAX} bytes")
    if isinstance(found.content, bytes):
        try:
            return msgspec.json.decode(found.content, type=EventRow)
        except (RecursionError, UnicodeDecodeError):
            raise msgspec.DecodeError("nested too deep, or not UTF-8") from None
    return msgspec.convert(found.content, EventRow, strict=False)


def _field(message: str) -> str:
    found = _FIELD.search(message)
    return (found[1] or found[2]) if found else ""


def _key(event: Event) -> str:
    parts = (event.venue_id, event.title, event.start_time.isoformat())
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def write_report(path: Path, refused: Sequence[Refused]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Refused.__struct_fields__)
        writer.writerows((each.line, each.field, each.reason) for each in refused)
