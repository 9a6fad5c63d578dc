"""Who sees every message and every commit, and remembers what must hold of them."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from engine.commands import Command
from engine.ids import shard_of
from engine.replies import Reply
from engine.runtime.faults import Fault
from engine.runtime.ports import Batch, Parcel
from tests.runtime.simulation.weather import Story

_Call = tuple[str, int]  # gateway, number


class Witness:
    def __init__(self, story: Story, shards: int) -> None:
        self._story = story
        self._shards = shards
        self._sent: Counter[_Call] = Counter()
        self._copies: Counter[str] = Counter()
        self._decided: Counter[_Call] = Counter()
        self._seq_by_sale: defaultdict[str, int] = defaultdict(int)

    def taken(self, batch: Batch) -> None:
        """The journal has it."""
        place = f"shard {batch.shard_id} epoch {batch.epoch} seq {batch.seq}"
        consumed = "" if batch.consumed is None else f" consumed {_brief(batch)}"
        self._story.tell("journal", f"{place}{consumed}")
        for entry in batch.entries:
            assert shard_of(entry.sale_id, self._shards) == batch.shard_id
            self._seq_by_sale[entry.sale_id] = entry.seq
            self._story.tell("journal", f"  {entry.sale_id[-4:]} {entry.seq} {entry.fact}")

    def seq(self, sale_id: str) -> int:
        """The newest fact of a sale by now."""
        return self._seq_by_sale[sale_id]

    def sent(self, parcel: Parcel) -> None:
        self._sent.update((parcel.gateway, number) for number, _, _ in parcel.calls)
        self._copies.update(repr(command) for _, _, command in parcel.calls)

    def doubled(self, command: Command) -> bool:
        """The world has made two of one call, which no gateway does."""
        return self._copies[repr(command)] > 1

    def answered(self, gateway: str, answers: Sequence[tuple[int, Reply | Fault]]) -> None:
        """An owner answers; how often it was decided is how often it may be told."""
        for number, outcome in answers:
            if not isinstance(outcome, Fault):
                self._decided[gateway, number] += 1

    def audit(self) -> None:
        """What stood in a stream once was decided once, whoever owned the shard meanwhile."""
        for call, times in self._decided.items():
            assert times <= self._sent[call], f"call {call} was decided {times} times"


def _brief(batch: Batch) -> str:
    assert batch.consumed is not None
    beyond = f" and {batch.consumed.beyond}" if batch.consumed.beyond else ""
    return batch.consumed.after + beyond
