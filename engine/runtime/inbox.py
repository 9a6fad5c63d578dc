"""The letters that come to a shard by its stream, from gateways in other processes.

How far the stream is decided goes into the journal with every batch that decided some of it, before
the answers leave: whoever owns the shard next goes on exactly there and decides nothing twice.
"""

from msgspec import Struct

from engine.runtime.ports import Consumed, Parcel

Arrival = tuple[str, int]  # the entry, and the place of the call in it

UNTOLD_MAX = 256  # entries that are decided, and the journal has not heard of it


class _Entry(Struct):
    calls: int
    decided: set[int]

    @property
    def done(self) -> bool:
        return len(self.decided) == self.calls


class Inbox:
    """What has been read of a shard's stream, and what of that is decided."""

    def __init__(self, consumed: Consumed) -> None:
        self.read_to = consumed.after
        self._committed = consumed
        self._decided_before = dict(consumed.beyond)  # by the owner before us, not read yet
        self._entries: dict[str, _Entry] = {}  # in the order of the stream

    @property
    def backlog(self) -> int:
        """Entries that were read and are not durably decided."""
        return len(self._entries)

    @property
    def must_be_told(self) -> bool:
        """Refusals at the door bring no turn. Before they fill what may be read, with nobody left
        to make room, the journal hears of them by a turn of their own.
        """
        return len(self._entries) > UNTOLD_MAX and next(iter(self._entries.values())).done

    @property
    def decided_to(self) -> str:
        """Nothing up to this entry is needed any more, by anybody."""
        return self._committed.after

    def open(self, parcel: Parcel) -> list[int]:
        """An entry was read: the places of those calls in it that nobody has decided."""
        before = self._decided_before.pop(parcel.entry_id, ())
        # A Redis that came back older may have given the id of another entry, with more calls.
        decided = {place for place in before if place < len(parcel.calls)}
        if self._decided_before:  # what the stream has lost meanwhile does not come any more
            read = _place(parcel.entry_id)
            passed = [entry_id for entry_id in self._decided_before if _place(entry_id) < read]
            for entry_id in passed:
                del self._decided_before[entry_id]
        self._entries[parcel.entry_id] = _Entry(len(parcel.calls), decided)
        self.read_to = parcel.entry_id
        return [place for place in range(len(parcel.calls)) if place not in decided]

    def decide(self, arrival: Arrival) -> None:
        entry_id, place = arrival
        entry = self._entries.get(entry_id)
        if entry is not None:
            entry.decided.add(place)

    def put_back(self, arrival: Arrival) -> None:
        entry_id, place = arrival
        self._entries[entry_id].decided.discard(place)

    def progress(self) -> Consumed | None:
        """How far the stream is decided, where that is further than the journal knows."""
        after = self._committed.after
        beyond = dict(self._decided_before)
        in_front = True
        for entry_id, entry in self._entries.items():
            in_front = in_front and entry.done
            if in_front:
                after = entry_id
            elif entry.decided:
                beyond[entry_id] = tuple(sorted(entry.decided))
        found = Consumed(after, tuple(beyond.items()))
        return found if found != self._committed else None

    def commit(self, consumed: Consumed) -> None:
        """The journal knows of this progress."""
        self._committed = consumed
        if consumed.after in self._entries:
            while (first := next(iter(self._entries))) != consumed.after:
                del self._entries[first]
            del self._entries[first]


def _place(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)
