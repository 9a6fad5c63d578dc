"""One sale, fact by fact: replayed, counted anew, and held against what is kept beside the journal.

No I/O. A copy is judged at the very fact that it says it is as of, so a live one may lag.
"""

from engine import sale, snapshot
from engine.facts import Entry
from engine.runtime.ports import Snapshot
from engine.state import State
from persistence.copies import Copy, Kind
from persistence.recount import Recount
from persistence.recount_replayed import differences


class Reckoning:
    """`whole`: all facts are there, so what is derived from them can be judged and made again.

    `epoch`: the newest that the sale's shard was granted in. `archived_seq`: the batches up to
    there have left the database, so a durable snapshot must have what they brought.
    """

    def __init__(self, sale_id: str, epoch: int, archived_seq: int, copies: list[Copy]) -> None:
        self.sale_id = sale_id
        self.epoch = epoch
        self.archived_seq = archived_seq
        self.needed_seq = 0  # the last of the sale's batches that is archived
        self.written = (0, 0)  # epoch and number of its last batch
        self.recount = Recount(sale_id)
        self.state: State | None = snapshot.fresh(sale_id)
        self.whole = True
        self.wrong: list[str] = []
        self.broken: dict[Kind, str] = {}
        self._durable_seq = 0  # the last batch that the durable snapshot has
        self._copies_by_seq: dict[int, list[Copy]] = {}
        for copy in copies:
            if copy.broken is not None:
                self.broken[copy.kind] = copy.broken
            else:
                self._copies_by_seq.setdefault(copy.seq, []).append(copy)
                if copy.kind is Kind.DURABLE and copy.written is not None:
                    self._durable_seq = copy.written[1]

    def miss(self, what: str) -> None:
        """Facts are gone: from here on nothing can be said of the sale."""
        self.wrong.append(what)
        self.whole = False
        self.state = None

    def take(self, written: tuple[int, int], entry: Entry) -> None:
        """`written`: the epoch and the number of the batch that holds the entry."""
        if entry.seq != self.recount.seq + 1:
            self.miss(f"fact {entry.seq} follows fact {self.recount.seq}")
        self.written = written
        if written[1] <= self.archived_seq:
            self.needed_seq = written[1]
        self.recount.take(entry)
        if self.state is not None:
            self._apply(self.state, entry)
        for copy in self._copies_by_seq.pop(entry.seq, ()):
            self._judge(copy, written)

    def _apply(self, state: State, entry: Entry) -> None:
        try:
            sale.apply(state, entry)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            self.wrong.append(f"fact {entry.seq} can't be replayed: {error!r}")
            self.state = None
        else:
            state.touched.clear()

    def _judge(self, copy: Copy, written: tuple[int, int]) -> None:
        if self.state is None:
            return
        wrong = copy.difference(self.state) or self._misdated(copy, *written)
        if wrong is not None:
            self.broken[copy.kind] = f"is as of fact {copy.seq}, but {wrong}"

    def _misdated(self, copy: Copy, epoch: int, journal_seq: int) -> str | None:
        if copy.written is None:
            return None
        its_epoch, its_journal_seq = copy.written
        if its_journal_seq != journal_seq:
            return f"names batch {its_journal_seq}, where batch {journal_seq} brought that fact"
        if not epoch <= its_epoch <= self.epoch:
            return f"names epoch {its_epoch}, which is not between {epoch} and {self.epoch}"
        return None

    def end(self) -> None:
        """All facts have been taken."""
        self.wrong += self.recount.wrong
        if self.state is not None:
            self.wrong += differences(self.recount, self.state)
        for seq, copies in self._copies_by_seq.items():
            for copy in copies if self.whole else ():
                self.broken[copy.kind] = f"is as of fact {seq}, the journal ends at {self.seq}"
        if self._durable_seq < self.needed_seq:
            missing = f"does not have batch {self.needed_seq}, which went to the archive"
            self.broken.setdefault(Kind.DURABLE, missing)

    @property
    def seq(self) -> int:
        return self.recount.seq

    def snapshot(self, shard_id: int) -> Snapshot | None:
        """The sale as of its last fact, where that can be told."""
        if self.state is None:
            return None
        entities = dict(snapshot.encode(self.state, snapshot.names(self.state)))
        written = (shard_id, self.written[0], self.seq, self.written[1])
        return Snapshot(self.sale_id, *written, entities, incremental=False)

    def summary(self) -> dict[str, int]:
        counted = self.recount
        return {
            "sales": 1,
            "facts": counted.seq,
            "orders": len(counted.orders),
            "tickets": sum(len(order.tickets) for order in counted.orders.values()),
            "admissions": counted.admitted,
            "minor units kept": counted.kept_minor,
            "returned": counted.returned_minor,
        }
