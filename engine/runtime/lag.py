"""What a copy of a sale lacks, while the sale goes on."""

from collections.abc import Iterable, Iterator
from itertools import islice


class Lag:
    """Entities by name: those of `rest`, and behind them what has changed. Whatever changes is to
    be added, taken or not, so nothing is missed though `rest` is gone through at leisure.
    """

    def __init__(self, rest: Iterable[str] = ()) -> None:
        self._rest: Iterator[str] | None = iter(rest)
        self._changed: dict[str, None] = {}

    def add(self, names: Iterable[str]) -> None:
        self._changed.update(dict.fromkeys(names))

    def take(self, names_max: int) -> list[str]:
        """Each once. They are not lacking any more, until they change again."""
        taken: dict[str, None] = {}
        if self._rest is not None:
            taken = dict.fromkeys(islice(self._rest, names_max))
            if len(taken) < names_max:
                self._rest = None
            for name in taken:
                self._changed.pop(name, None)
        for name in list(islice(self._changed, names_max - len(taken))):
            del self._changed[name]
            taken[name] = None
        return list(taken)

    def within(self, names_max: int) -> bool:
        """Whether it is known to be so little."""
        return self._rest is None and len(self._changed) <= names_max

    def __bool__(self) -> bool:
        return not self.within(0)
