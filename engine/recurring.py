"""The dates of a series by its rule: local dates, so that no clock change concerns them."""

from datetime import date, timedelta

OCCURRENCES_MAX = 200
_WEEK = timedelta(weeks=1)


def weekly(first: date, every_weeks: int, count: int | None, until: date | None) -> list[date]:
    """From `first`, `count` of them or up to `until`; one more than the most where it is too many.

    One of `count` and `until` is given.
    """
    most = OCCURRENCES_MAX + 1
    dates = [first + number * every_weeks * _WEEK for number in range(min(count or most, most))]
    return [day for day in dates if until is None or day <= until]
