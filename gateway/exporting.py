"""Lists as files: CSV for spreadsheets, JSON lines for programs, streamed a page at a time.

A text in a CSV file that a spreadsheet would take for a formula begins with an apostrophe
(https://owasp.org/www-community/attacks/CSV_Injection). Numbers and instants are never text.
"""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct

from engine.runtime.faults import Fault
from gateway.media import CSV, JSON_LINES, chosen

ROWS_A_PAGE = 500

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SUFFIX = {CSV: "csv", JSON_LINES: "jsonl"}


def wanted(request: web.Request) -> str | None:
    """CSV or JSON lines, if the client would rather have one of these than a page of JSON."""
    media = chosen(request, CSV, JSON_LINES)
    return media if media in _SUFFIX else None


async def stream(
    request: web.Request,
    media: str,
    name: str,
    kind: type[Struct],
    pages: AsyncIterator[Sequence[Struct]],
) -> web.StreamResponse:
    """All the pages as one file. An answer that ends without its last chunk is not whole."""
    encode = _CsvLines(kind).encode if media == CSV else _json_lines
    head = _CsvLines(kind).head() if media == CSV else b""
    response = web.StreamResponse(
        headers={
            "Content-Disposition": f'attachment; filename="{name}.{_SUFFIX[media]}"',
            "Cache-Control": "private, no-store",
        }
    )
    response.content_type = media
    response.charset = "utf-8"
    pending = aiter(pages)
    # Before the head: what is wrong from the start is a problem, not half a file.
    page: Sequence[Struct] = await anext(pending, [])
    await response.prepare(request)
    await response.write(head)
    try:
        while page:
            await response.write(encode(page))
            page = await anext(pending, [])
    except Fault:
        if request.transport is not None:
            request.transport.abort()
    return response


def _json_lines(rows: Sequence[Struct]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


class _CsvLines:
    def __init__(self, kind: type[Struct]) -> None:
        self._names = [field.name for field in msgspec.structs.fields(kind)]

    def head(self) -> bytes:
        return self._lines([self._names])

    def encode(self, rows: Sequence[Struct]) -> bytes:
        return self._lines([[cell(getattr(row, name)) for name in self._names] for row in rows])

    def _lines(self, rows: list[list[str]]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue().encode()


def cell(value: Any) -> str:
    """What stands in a cell; a text never begins as a formula does."""
    if value is None or value is UNSET:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime | date):
        return str(msgspec.to_builtins(value))
    text = str(value).replace("\0", "")
    return f"'{text}" if text.lstrip(" \n").startswith(_FORMULA) else text
