"""Limits on how fast one caller may ask, per process.

GCRA, the generic cell rate algorithm (ITU-T I.371): one number a caller, the time at which its
bucket would be empty again.
"""

from collections import OrderedDict

from msgspec import Struct

from engine.commands import Role
from engine.runtime.ports import Clock
from gateway.auth import Principal
from gateway.problems import Problem

CALLERS_MAX = 200_000


class Rate(Struct, frozen=True):
    per_second: float
    burst: int


ANONYMOUS = Rate(per_second=100, burst=300)
BY_ROLE: dict[Role, Rate] = {
    Role.BUYER: Rate(per_second=20, burst=60),
    Role.SCANNER: Rate(per_second=50, burst=200),
    Role.ORGANIZER: Rate(per_second=100, burst=400),
    Role.BOX_OFFICE: Rate(per_second=5_000, burst=10_000),
    Role.ADMIN: Rate(per_second=1_000, burst=2_000),
}


GUESSES = Rate(per_second=0.2, burst=20)
_TRUSTED = frozenset({Role.BOX_OFFICE, Role.ADMIN})


class RateLimiter:
    def __init__(self) -> None:
        self._empty_at_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, caller: str, rate: Rate, now_s: float) -> float:
        """0 and the request is counted, or how long the caller must wait before it asks again."""
        over_s = self.over_s(caller, rate, now_s)
        if over_s:
            return over_s
        empty_at_s = max(self._empty_at_s.get(caller, now_s), now_s) + 1 / rate.per_second
        self._empty_at_s[caller] = empty_at_s
        self._empty_at_s.move_to_end(caller)
        if len(self._empty_at_s) > CALLERS_MAX:
            self._empty_at_s.popitem(last=False)
        return 0

    def over_s(self, caller: str, rate: Rate, now_s: float) -> float:
        """How long the caller must wait before one more would be counted, or 0."""
        step_s = 1 / rate.per_second
        empty_at_s = max(self._empty_at_s.get(caller, now_s), now_s) + step_s
        return max(0.0, empty_at_s - now_s - rate.burst * step_s)


def too_often(what: str, wait_s: float) -> Problem:
    return Problem(429, "rate_limited", what, retryable=True, retry_after_s=int(wait_s) + 1)


class Guesses:
    """Wrong promo codes: who has tried too many must wait with the right one, too, or the wait
    would tell them apart. The shops' own back ends speak for many buyers and are trusted.
    """

    def __init__(self, clock: Clock, *, limited: bool) -> None:
        self._clock = clock
        self._limited = limited
        self._wrong = RateLimiter()

    def refuse(self, principal: Principal) -> None:
        """Raises Problem 429."""
        if not self._limited or principal.role in _TRUSTED:
            return
        wait_s = self._wrong.over_s(principal.digest, GUESSES, self._clock.monotonic_s())
        if wait_s:
            raise too_often("too many wrong promo codes", wait_s)

    def wrong(self, principal: Principal) -> None:
        self._wrong.wait_s(principal.digest, GUESSES, self._clock.monotonic_s())
