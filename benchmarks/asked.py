"""What the command line asks of a measurement."""

from msgspec import Struct
from msgspec.structs import replace


class Asked(Struct, frozen=True):
    """`rounds` None: as many as the measurement thinks right. `seconds`: of each side in each.

    `by_wrk`: who asks in a closed loop is wrk, not our own generator.
    """

    rounds: int | None = None
    seconds: float = 4.0
    in_flight: int = 64
    minutes: float = 10.0
    by_wrk: bool = False

    def rounds_or(self, usual: int) -> int:
        return self.rounds or usual

    def by_ourselves(self) -> "Asked":
        """Where answers are looked at, or an open loop by our own generator follows."""
        return replace(self, by_wrk=False)

    def titled(self, name: str) -> str:
        return f"{name}, by wrk" if self.by_wrk else name

    def command(self, name: str) -> str:
        return f"./run bench {name}{' --client wrk' if self.by_wrk else ''}"
