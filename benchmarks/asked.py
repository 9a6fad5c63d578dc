"""What the command line asks of a measurement."""

from msgspec import Struct


class Asked(Struct, frozen=True):
    """`rounds` None: as many as the measurement thinks right. `seconds`: of each side in each."""

    rounds: int | None = None
    seconds: float = 4.0
    in_flight: int = 64
    minutes: float = 10.0

    def rounds_or(self, usual: int) -> int:
        return self.rounds or usual
