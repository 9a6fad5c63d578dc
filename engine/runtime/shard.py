"""A shard: the sales that share one fence, and the mailbox before them.

Everything is bounded. A hot sale may fill no more than its quota of the mailbox, and the doors'
lane is emptied first, so an on-sale never starves a door.
"""

from collections import Counter, deque
from enum import StrEnum

from engine.commands import CheckIn, ReadDoors, UndoCheckIn
from engine.runtime.actor import Actor, Letter
from engine.runtime.faults import DeadlinePassed, Fault, MailboxFull, NotOwner
from engine.runtime.ports import Grant

_DOORS = (CheckIn, UndoCheckIn, ReadDoors)


class Standing(StrEnum):
    """Whether the shard may decide here."""

    OURS = "ours"
    LOST = "lost"


class Shard:
    def __init__(self, grant: Grant, *, mailbox_max: int, sale_quota_max: int) -> None:
        self.shard_id = grant.shard_id
        self.grant = grant
        self.last_seq = grant.last_seq
        self.standing = Standing.OURS
        self.actor_by_sale: dict[str, Actor] = {}
        self._mailbox_max = mailbox_max
        self._sale_quota_max = sale_quota_max
        self._doors: deque[Letter] = deque()
        self._others: deque[Letter] = deque()
        self._waiting: Counter[str] = Counter()

    @property
    def depth(self) -> int:
        return len(self._doors) + len(self._others)

    def offer(self, letter: Letter) -> None:
        """Take a letter in. Raises a Fault where it can't wait here."""
        if self.standing is Standing.LOST:
            raise NotOwner
        full = self.depth >= self._mailbox_max
        if full or self._waiting[letter.sale_id] >= self._sale_quota_max:
            raise MailboxFull
        self._put(letter)

    def remind(self, letter: Letter) -> None:
        """Take in a letter that the owner wrote itself; it is never refused."""
        self._put(letter)

    def answer_overdue(self, now_ms: int) -> None:
        """While nothing can be decided, nobody waits past the deadline."""
        letters = self.take(self.depth)
        for letter in letters:
            if letter.deadline_ms < now_ms:
                letter.reply_to(DeadlinePassed())
        self.put_back([letter for letter in letters if letter.deadline_ms >= now_ms])

    def _put(self, letter: Letter) -> None:
        self._waiting[letter.sale_id] += 1
        lane = self._doors if isinstance(letter.command, _DOORS) else self._others
        lane.append(letter)

    def put_back(self, letters: list[Letter]) -> None:
        """Letters that were taken and could not be decided go to the head again, in order."""
        for letter in reversed(letters):
            self._waiting[letter.sale_id] += 1
            lane = self._doors if isinstance(letter.command, _DOORS) else self._others
            lane.appendleft(letter)

    def take(self, letters_max: int) -> list[Letter]:
        taken: list[Letter] = []
        for lane in (self._doors, self._others):
            while lane and len(taken) < letters_max:
                letter = lane.popleft()
                self._waiting[letter.sale_id] -= 1
                taken.append(letter)
        if not self.depth:
            self._waiting.clear()
        return taken

    def actor(self, sale_id: str) -> Actor:
        found = self.actor_by_sale.get(sale_id)
        if found is None:
            found = self.actor_by_sale[sale_id] = Actor(sale_id, self.shard_id)
        return found

    def resume(self, grant: Grant) -> None:
        """Ours again under a new epoch: memory is worth nothing until it is loaded afresh."""
        self.grant = grant
        self.last_seq = grant.last_seq
        self.put_back(self._forget_actors())

    def stop(self, standing: Standing, fault: Fault) -> None:
        """Decide nothing any more; every letter gets its answer."""
        self.standing = standing
        for letter in self._forget_actors() + self.take(self.depth):
            letter.reply_to(fault)

    def _forget_actors(self) -> list[Letter]:
        parked = [letter for actor in self.actor_by_sale.values() for letter in actor.parked]
        self.actor_by_sale.clear()
        return parked
