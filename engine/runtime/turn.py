"""What one shard decided in one turn, until it is durable: its part of the turn."""

from msgspec import Struct

from engine.facts import Entry
from engine.replies import Reply
from engine.runtime.actor import Actor, Letter
from engine.runtime.faults import Fault, OutcomeUnknown
from engine.runtime.ports import Batch
from engine.runtime.shard import Shard


class Part(Struct):
    """`changed`: sales with new facts or another deadline; `broken`: sales that a bug killed."""

    shard: Shard
    answers: list[tuple[Letter, Reply]] = []
    entries: list[Entry] = []
    personal_keys: list[tuple[str, bytes]] = []
    changed: dict[str, Actor] = {}
    broken: list[Actor] = []

    def batch(self) -> Batch:
        shard = self.shard
        return Batch(
            shard.shard_id,
            shard.epoch,
            shard.last_seq + 1,
            tuple(self.entries),
            tuple(self.personal_keys),
        )

    def deliver(self) -> None:
        answers, self.answers = self.answers, []
        for letter, reply in answers:
            self.shard.answer(letter, reply)

    def refuse(self, fault: Fault) -> None:
        answers, self.answers = self.answers, []
        for letter, _ in answers:
            self.shard.answer(letter, fault)

    def answer_late(self, now_ms: int) -> None:
        """Nobody waits past the deadline for an append; the same key finds out how it ended."""
        late = [letter for letter, _ in self.answers if letter.deadline_ms < now_ms]
        if late:
            self.answers = [answer for answer in self.answers if answer[0].deadline_ms >= now_ms]
        for letter in late:
            self.shard.answer(letter, OutcomeUnknown())
