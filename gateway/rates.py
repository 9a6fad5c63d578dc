"""Limits on how fast one caller may ask, per process.

GCRA, the generic cell rate algorithm (ITU-T I.371): one number a caller, the time at which its
bucket would be empty again.
"""

from collections import OrderedDict

from msgspec import Struct

from engine.commands import Role

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


class RateLimiter:
    def __init__(self) -> None:
        self._empty_at_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, caller: str, rate: Rate, now_s: float) -> float:
        """0 and the request is counted, or how long the caller must wait before it asks again."""
        step_s = 1 / rate.per_second
        empty_at_s = max(self._empty_at_s.get(caller, now_s), now_s) + step_s
        over_s = empty_at_s - now_s - rate.burst * step_s
        if over_s > 0:
            return over_s
        self._empty_at_s[caller] = empty_at_s
        self._empty_at_s.move_to_end(caller)
        if len(self._empty_at_s) > CALLERS_MAX:
            self._empty_at_s.popitem(last=False)
        return 0
