"""What one shard decided in one turn, until it is durable: its part of the turn."""

from typing import cast, get_args

from msgspec import Struct

from engine.commands import Command, JoinWaitlist, NameAttendee, PlaceOrder, TransferTicket
from engine.facts import Entry
from engine.replies import Reply
from engine.runtime.actor import Actor, Letter
from engine.runtime.faults import Fault, OutcomeUnknown
from engine.runtime.ports import Batch
from engine.runtime.shard import Shard

_Sealing = PlaceOrder | NameAttendee | TransferTicket | JoinWaitlist
_SEALING = frozenset(get_args(_Sealing))  # they may bring a key


class Part(Struct):
    """`changed`: sales with new facts or another deadline; `broken`: sales that a bug killed.

    `from_afar`: letters of the shard's stream were decided, so the journal must hear of it though
    there be no new facts.
    """

    shard: Shard
    answers: list[tuple[Letter, Reply]] = []
    entries: list[Entry] = []
    personal_keys: list[tuple[str, bytes]] = []
    changed: dict[str, Actor] = {}
    broken: list[Actor] = []
    from_afar: bool = False

    def happened(self, actor: Actor, command: Command, entries: list[Entry]) -> None:
        self.entries += entries
        self.changed[actor.sale_id] = actor
        if type(command) in _SEALING:  # `isinstance` would ask each class in turn
            self._seal(cast(_Sealing, command))

    def _seal(self, command: _Sealing) -> None:
        if command.personal_key is not None:
            owner = command.entry_id if isinstance(command, JoinWaitlist) else command.order_id
            self.personal_keys.append((owner, command.personal_key))

    def decided(self, letter: Letter, reply: Reply) -> None:
        self.answers.append((letter, reply))
        if letter.arrival is not None:
            self.shard.inbox.decide(letter.arrival)
            self.from_afar = True

    def batch(self) -> Batch:
        shard = self.shard
        return Batch(
            shard.shard_id,
            shard.epoch,
            shard.last_seq + bool(self.entries),
            tuple(self.entries),
            tuple(self.personal_keys),
            shard.inbox.progress(),
        )

    def deliver(self) -> None:
        answers, self.answers = self.answers, []
        for letter, reply in answers:
            self.shard.answer(letter, reply)

    def refuse(self, fault: Fault) -> None:
        answers, self.answers = self.answers, []
        for letter, _ in answers:
            self.shard.answer(letter, fault)

    def undecided(self) -> list[Letter]:
        """The letters again, as if nothing had been decided: nothing was, durably."""
        letters, self.answers = [letter for letter, _ in self.answers], []
        for letter in letters:
            if letter.arrival is not None:
                self.shard.inbox.put_back(letter.arrival)
        return letters

    def answer_late(self, now_s: float) -> None:
        """Nobody waits past the deadline for an append; the same key finds out how it ended."""
        late = [letter for letter, _ in self.answers if letter.until_s < now_s]
        if late:
            self.answers = [answer for answer in self.answers if answer[0].until_s >= now_s]
        for letter in late:
            self.shard.answer(letter, OutcomeUnknown())
