"""Times as clients write them, made into instants: UTC, whole milliseconds.

A time without offset is the local time of a venue. Clocks that are put forward skip some local
times and clocks that are put back repeat some: those are refused, with what they may mean.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from engine.catalogue import to_ms
from gateway.problems import malformed, unprocessable

YEAR_MIN, YEAR_MAX = 1970, 2999
_CLOCK_MS_MAX = to_ms(datetime(YEAR_MAX, 12, 31, tzinfo=UTC))


def resolve(given: datetime, timezone: str, field: str) -> datetime:
    """Raises Problem 422 `ambiguous_local_time`, 400 where it lies beyond all calendars."""
    refuse_beyond_calendars(given.year, field)
    if given.tzinfo is not None:
        return in_utc(given)
    found = readings(given, ZoneInfo(timezone))
    if len(found) != 1:
        raise unprocessable(
            "ambiguous_local_time",
            f"{field}: {given.isoformat()} comes {len(found) or 'no'} times in {timezone}",
            field=field,
            timezone=timezone,
            readings=found,
        )
    return found[0]


def refuse_beyond_calendars(year: int, field: str) -> None:
    """Raises Problem 400."""
    if not YEAR_MIN <= year <= YEAR_MAX:
        raise malformed(f"a year from {YEAR_MIN} to {YEAR_MAX} - at `$.{field}`")


def readings(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants at which clocks in `zone` show this local time: none, one or two."""
    candidates = {in_utc(local.replace(tzinfo=zone, fold=fold)) for fold in (0, 1)}
    shown = local.replace(microsecond=_whole_ms(local))
    return sorted(i for i in candidates if i.astimezone(zone).replace(tzinfo=None) == shown)


def in_utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(microsecond=_whole_ms(instant))


def utc(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A body's fields, its times, which have an offset, as instants. Raises Problem 400."""
    times = {
        name: resolve(value, "UTC", name)
        for name, value in fields.items()
        if isinstance(value, datetime)
    }
    return {**fields, **times}


def from_query(text: str, timezone: str, name: str) -> datetime:
    """A time in a query string, where a `+` that was not escaped has become a space."""
    try:
        given = msgspec.convert(text.replace(" ", "+"), datetime)
    except msgspec.ValidationError as error:
        raise malformed(f"{name}: {error}") from None
    return resolve(given, timezone, name)


def is_timezone(name: str) -> bool:
    """Whether it is an IANA time zone's name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _whole_ms(instant: datetime) -> int:
    return instant.microsecond // 1000 * 1000


def clock_ms(told: datetime) -> int:
    """What some device's clock shows, in milliseconds: however wrong, within all calendars."""
    return min(max(to_ms(told), 0), _CLOCK_MS_MAX)


def corrected_ms(told_ms: int, offset_ms: int, now_ms: int) -> int:
    """An instant of a clock that is so far behind ours; nothing has happened after now."""
    return max(min(told_ms + offset_ms, now_ms), 0)
