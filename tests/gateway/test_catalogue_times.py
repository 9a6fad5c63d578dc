"""What a client's way of writing a time means."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from gateway.problems import Problem
from gateway.times import from_query, in_utc, is_timezone, readings, resolve

BERLIN = "Europe/Berlin"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def naive(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        (BERLIN, "2031-01-15T12:00", [utc(2031, 1, 15, 11)]),
        (BERLIN, "2031-07-15T12:00", [utc(2031, 7, 15, 10)]),
        # Clocks go forward from 02:00 to 03:00 on 30 March 2031.
        (BERLIN, "2031-03-30T01:59:59.999", [utc(2031, 3, 30, 0, 59, 59, 999_000)]),
        (BERLIN, "2031-03-30T02:00", []),
        (BERLIN, "2031-03-30T02:59:59.999", []),
        (BERLIN, "2031-03-30T03:00", [utc(2031, 3, 30, 1)]),
        # And back from 03:00 to 02:00 on 26 October 2031.
        (BERLIN, "2031-10-26T01:59:59", [utc(2031, 10, 25, 23, 59, 59)]),
        (BERLIN, "2031-10-26T02:00", [utc(2031, 10, 26, 0), utc(2031, 10, 26, 1)]),
        (
            BERLIN,
            "2031-10-26T02:59:59",
            [utc(2031, 10, 26, 0, 59, 59), utc(2031, 10, 26, 1, 59, 59)],
        ),
        (BERLIN, "2031-10-26T03:00", [utc(2031, 10, 26, 2)]),
        # Half an hour only, in the southern summer.
        (
            "Australia/Lord_Howe",
            "2024-04-07T01:45",
            [utc(2024, 4, 6, 14, 45), utc(2024, 4, 6, 15, 15)],
        ),
        ("Australia/Lord_Howe", "2024-10-06T02:15", []),
        # Samoa went over the date line: it had no 30 December 2011.
        ("Pacific/Apia", "2011-12-30T12:00", []),
        ("Asia/Kathmandu", "2031-05-01T12:00", [utc(2031, 5, 1, 6, 15)]),
        ("UTC", "2031-03-30T02:30", [utc(2031, 3, 30, 2, 30)]),
    ],
)
def test_a_local_time_has_the_readings_that_the_clocks_of_its_zone_give_it(
    zone: str, local: str, expected: list[datetime]
) -> None:
    assert readings(naive(local), ZoneInfo(zone)) == expected


@pytest.mark.parametrize("local", ["2031-03-30T02:30", "2031-10-26T02:30"])
def test_a_time_with_none_or_two_readings_is_refused_with_them(local: str) -> None:
    with pytest.raises(Problem) as refused:
        resolve(naive(local), BERLIN, "start_time")
    assert (refused.value.status, refused.value.code) == (422, "ambiguous_local_time")
    assert refused.value.facts["readings"] == readings(naive(local), ZoneInfo(BERLIN))


def test_an_offset_settles_what_a_local_time_leaves_open() -> None:
    later = naive("2031-10-26T02:30").replace(tzinfo=timezone(timedelta(hours=1)))
    assert resolve(later, BERLIN, "start_time") == utc(2031, 10, 26, 1, 30)


def test_instants_are_cut_to_whole_milliseconds() -> None:
    assert in_utc(utc(2031, 1, 1, 0, 0, 0, 123_999)) == utc(2031, 1, 1, 0, 0, 0, 123_000)
    cut = resolve(naive("2031-01-01T00:00:00.123999"), "UTC", "start_time")
    assert cut == utc(2031, 1, 1, 0, 0, 0, 123_000)


@pytest.mark.parametrize("year", [1, 1969, 3000, 9999])
def test_years_that_no_calendar_can_reckon_with_are_malformed(year: int) -> None:
    far = datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    with pytest.raises(Problem) as refused:
        resolve(far, BERLIN, "end_time")
    assert (refused.value.status, "end_time" in refused.value.detail) == (400, True)


def test_a_plus_that_was_not_escaped_is_read_as_one() -> None:
    assert from_query("2031-05-01T12:00:00 02:00", BERLIN, "from") == utc(2031, 5, 1, 10)
    assert from_query("2031-05-01T12:00:00", BERLIN, "from") == utc(2031, 5, 1, 10)
    with pytest.raises(Problem, match="malformed_request"):
        from_query("yesterday", BERLIN, "from")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        (BERLIN, True),
        ("UTC", True),
        ("Mars/Olympus_Mons", False),
        ("Europe", False),
        ("", False),
        ("../../etc/passwd", False),
        ("/etc/localtime", False),
        ("Europe/Berlin\0", False),
        ("x" * 5000, False),
        ("Zürich", False),
        ("\ud800", False),
    ],
)
def test_only_a_time_zones_name_is_one(name: str, known: bool) -> None:
    assert is_timezone(name) is known
