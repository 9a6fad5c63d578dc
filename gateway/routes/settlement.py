"""What an event has taken, given back and kept: a line a day and provider, for organizers."""

from collections.abc import AsyncIterator, Iterable
from datetime import date

from aiohttp import web
from msgspec import Struct

from engine.projection import SettlementRow
from gateway import exporting
from gateway.http import answer
from gateway.media import CSV, JSON_LINES
from gateway.ownership import refuse_stranger
from gateway.problems import refused
from gateway.routing import ORGANIZERS, Route, ports_of


class SettlementLine(Struct, frozen=True):
    """In minor units. `taken` = `confirmed` + `returned`, `net` = `confirmed` - `refunded`."""

    date: date
    provider: str
    currency: str
    taken: int
    confirmed: int
    returned: int
    refunded: int
    net: int
    sent_back: int


class SettlementTotal(Struct, frozen=True):
    """`owed`: returned or refunded, and not yet sent back."""

    currency: str
    taken: int
    confirmed: int
    returned: int
    refunded: int
    net: int
    sent_back: int
    owed: int


class SettlementAnswer(Struct, frozen=True):
    event_id: str
    days: list[SettlementLine]
    totals: list[SettlementTotal]


async def read_settlement(request: web.Request) -> web.StreamResponse:
    event_id = request.match_info["event_id"]
    refusal = await refuse_stranger(request, event_id)
    if refusal is not None:
        return refused(refusal)
    rows = await ports_of(request).settlements.of_event(event_id)
    lines = [_line(row) for row in rows]
    if media := exporting.wanted(request):
        name = f"settlement-{event_id}"
        return await exporting.stream(request, media, name, SettlementLine, _once(lines))
    return answer(SettlementAnswer(event_id, lines, _totals(lines)))


async def _once(lines: list[SettlementLine]) -> AsyncIterator[list[SettlementLine]]:
    yield lines


def _line(row: SettlementRow) -> SettlementLine:
    return SettlementLine(
        *(row.date, row.provider, row.currency, row.taken, row.confirmed, row.returned),
        *(row.refunded, row.net, row.sent_back),
    )


def _totals(lines: Iterable[SettlementLine]) -> list[SettlementTotal]:
    sums: dict[str, list[int]] = {}
    for line in lines:
        amounts = (
            *(line.taken, line.confirmed, line.returned, line.refunded, line.net, line.sent_back),
            line.returned + line.refunded - line.sent_back,
        )
        before = sums.setdefault(line.currency, [0] * len(amounts))
        sums[line.currency] = [old + more for old, more in zip(before, amounts, strict=True)]
    return [SettlementTotal(currency, *amounts) for currency, amounts in sums.items()]


ROUTES = [
    Route(
        "GET",
        "/v1/events/{event_id}/settlement",
        read_settlement,
        ORGANIZERS,
        "Money taken, given back and kept, by day and provider",
        answers={200: SettlementAnswer},
        media=("application/json", CSV, JSON_LINES),
    )
]
