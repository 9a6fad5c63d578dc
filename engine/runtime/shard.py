"""A shard: the sales that share one fence, and the letters before them.

Everything is bounded. A hot sale may fill no more than its quota of a lane; the doors have a lane
of their own, which is emptied first, so an on-sale never starves a door. A letter counts from the
moment it is taken in until it is answered, wherever it waits, and it is answered once.
"""

from collections import deque
from collections.abc import Reversible

from engine.commands import CheckIn, ReadDoors, SyncScans, UndoCheckIn
from engine.replies import Reply
from engine.runtime.actor import Actor, Letter
from engine.runtime.faults import DeadlinePassed, Fault, MailboxFull, NotOwner
from engine.runtime.inbox import Inbox
from engine.runtime.ports import Batch, Grant

_DOORS = frozenset((CheckIn, UndoCheckIn, SyncScans, ReadDoors))


class Lane:
    """Letters of one kind in the order of their coming, and how many of them are unanswered."""

    def __init__(self, *, letters_max: int, sale_quota_max: int) -> None:
        self.queue: deque[Letter] = deque()
        self.unanswered = 0
        self._letters_max = letters_max
        self._sale_quota_max = sale_quota_max
        self._unanswered_by_sale: dict[str, int] = {}

    def admit(self, letter: Letter) -> None:
        of_sale = self._unanswered_by_sale.get(letter.sale_id, 0)
        if self.unanswered >= self._letters_max or of_sale >= self._sale_quota_max:
            raise MailboxFull
        self._unanswered_by_sale[letter.sale_id] = of_sale + 1
        self.unanswered += 1
        self.queue.append(letter)

    def release(self, letter: Letter) -> None:
        self.unanswered -= 1
        of_sale = self._unanswered_by_sale[letter.sale_id] - 1
        if of_sale:
            self._unanswered_by_sale[letter.sale_id] = of_sale
        else:
            del self._unanswered_by_sale[letter.sale_id]


class Shard:
    def __init__(self, grant: Grant, *, mailbox_max: int, sale_quota_max: int) -> None:
        self.shard_id = grant.shard_id
        self.epoch = grant.epoch
        self.last_seq = grant.last_seq
        self.inbox = Inbox(grant.consumed)
        self.lost = False
        self.draining = False  # it takes nothing more in and does nothing by itself
        self.actor_by_sale: dict[str, Actor] = {}
        self._doors = Lane(letters_max=mailbox_max, sale_quota_max=sale_quota_max)
        self._others = Lane(letters_max=mailbox_max, sale_quota_max=sale_quota_max)
        self._parked_by_sale: dict[str, deque[Letter]] = {}  # whose sale is not there yet
        self._due: dict[str, None] = {}  # sales to sweep

    @property
    def grant(self) -> Grant:
        """The right to write, and where the journal ends by now."""
        return Grant(self.shard_id, self.epoch, self.last_seq)

    @property
    def depth(self) -> int:
        """Letters without an answer."""
        return self._doors.unanswered + self._others.unanswered

    @property
    def has_work(self) -> bool:
        due = self._due and not self.draining
        return bool(self._doors.queue or self._others.queue or due or self.inbox.must_be_told)

    def _lane(self, letter: Letter) -> Lane:
        return self._doors if type(letter.command) in _DOORS else self._others

    def offer(self, letter: Letter) -> None:
        """Take a letter in. Raises a Fault where it can't wait here."""
        if self.lost or self.draining:
            raise NotOwner
        self._lane(letter).admit(letter)

    def answer(self, letter: Letter, outcome: Reply | Fault) -> None:
        self._lane(letter).release(letter)
        if letter.arrival is not None and not isinstance(outcome, NotOwner):
            self.inbox.decide(letter.arrival)
        letter.reply_to(outcome)

    def take(self, letters_max: int) -> list[Letter]:
        taken: list[Letter] = []
        for lane in (self._doors, self._others):
            queue = lane.queue
            while queue and len(taken) < letters_max:
                taken.append(queue.popleft())
        return taken

    def put_back(self, letters: Reversible[Letter]) -> None:
        """Letters that were taken and not decided go to the head again, in order."""
        for letter in reversed(letters):
            self._lane(letter).queue.appendleft(letter)

    def park(self, letter: Letter) -> None:
        self._parked_by_sale.setdefault(letter.sale_id, deque()).append(letter)

    def unpark(self, sale_id: str) -> deque[Letter]:
        return self._parked_by_sale.pop(sale_id, deque())

    def remind(self, sale_id: str) -> None:
        """Have the sale end what is due."""
        if not self.lost:
            self._due[sale_id] = None

    def take_due(self, sales_max: int) -> list[str]:
        if self.draining:
            return []
        taken = [sale_id for sale_id, _ in zip(self._due, range(sales_max), strict=False)]
        for sale_id in taken:
            del self._due[sale_id]
        return taken

    def actor(self, sale_id: str) -> Actor:
        found = self.actor_by_sale.get(sale_id)
        if found is None:
            found = self.actor_by_sale[sale_id] = Actor(sale_id, self.shard_id, self.epoch)
        return found

    def forget(self, actor: Actor) -> None:
        del self.actor_by_sale[actor.sale_id]
        actor.state = None  # also for those who still hold the actor

    def answer_overdue(self, now_s: float) -> None:
        """Nobody waits past the deadline, though nothing may be decided now."""
        for queue in (self._doors.queue, self._others.queue, *self._parked_by_sale.values()):
            overdue = [letter for letter in queue if letter.until_s < now_s]
            if overdue:  # anywhere: what was put back is not in the order of its coming
                in_time = [letter for letter in queue if letter.until_s >= now_s]
                queue.clear()
                queue.extend(in_time)
            for letter in overdue:
                self.answer(letter, DeadlinePassed())

    def committed(self, batch: Batch) -> None:
        self.last_seq = batch.seq
        if batch.consumed is not None:
            self.inbox.commit(batch.consumed)

    def resume(self, grant: Grant, undecided: list[Letter]) -> None:
        """Ours again under a new epoch: memory is worth nothing until it is loaded afresh."""
        self.epoch = grant.epoch
        self.last_seq = grant.last_seq
        for actor in self.actor_by_sale.values():
            if actor.reminded:  # its load is cut off, and nobody else knows that it is due
                self.remind(actor.sale_id)
        self._forget_all()
        for sale_id in list(self._parked_by_sale):
            self.put_back(self.unpark(sale_id))
        self.put_back(undecided)

    def close(self, fault: Fault) -> None:
        """Decide nothing any more; every letter gets its answer."""
        self.lost = True
        self._forget_all()
        self._due.clear()
        for sale_id in list(self._parked_by_sale):
            self.put_back(self.unpark(sale_id))
        for letter in self.take(self.depth):
            self.answer(letter, fault)

    def _forget_all(self) -> None:
        for actor in list(self.actor_by_sale.values()):
            self.forget(actor)
