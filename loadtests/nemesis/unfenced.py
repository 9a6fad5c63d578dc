"""The product with its fence off, for the negative control: a verdict that can't fail says nothing.

    python -m loadtests.nemesis.unfenced up ...

Every append is written behind whatever the shard's journal ends with, in the epoch of whoever sends
it, taken over or not. Nodes are started through this module again, and for ever: a projector that
can't go on over a ruined journal must not end the run.
"""

import sys

from gateway import launcher
from gateway.__main__ import main
from persistence.journal import PostgresJournal

_CHANGES = (
    ("SET last_seq = b.seq,", "SET last_seq = s.last_seq + (b.batch IS NOT NULL)::int,"),
    (
        "AND s.epoch = b.epoch\n      AND s.last_seq = b.seq - (b.batch IS NOT NULL)::int",
        "",
    ),
    ("RETURNING s.shard_id\n)", "RETURNING s.shard_id, s.last_seq\n)"),
    ("SELECT b.shard_id, b.seq, b.epoch", "SELECT b.shard_id, fenced.last_seq, b.epoch"),
)


def without_fence(statement: str) -> str:
    for fenced, open_to_all in _CHANGES:
        assert statement.count(fenced) == 1, f"the statement is another one by now: {fenced}"
        statement = statement.replace(fenced, open_to_all)
    return statement


if __name__ == "__main__":
    PostgresJournal.append_statement = without_fence(PostgresJournal.append_statement)
    PostgresJournal.append_one_statement = None
    launcher.Node.module = "loadtests.nemesis.unfenced"
    launcher.RESTARTS_MAX = sys.maxsize
    main()
