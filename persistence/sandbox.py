"""The books of the embedded payment provider: tables of its own, which nothing else writes.

Each write is one transaction, durable before it is answered, as a bank's would be.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg
import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from engine.projection import SandboxPayment, SandboxRefund, SandboxWebhook
from persistence.statements import clean
from persistence.together import Together
from persistence.transactions import Connection, reading

TOLD_S_MAX = 2  # what its payer's call has not told by then, the chore tells
WEBHOOKS_MAX = 100
WEBHOOK_TRIES_MAX = 30  # at most a minute apart

_COLUMNS = "payment_id, order_id, amount_minor, currency, outcome, cancelled, faults"
_OPEN = f"""
INSERT INTO sandbox_payments (payment_id, order_id, amount_minor, currency, faults)
SELECT payment_id, order_id, amount_minor, currency, string_to_array(faults, ' ')
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
    AS asked (payment_id, order_id, amount_minor, currency, faults)
ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
"""
_FIND = f"SELECT {_COLUMNS} FROM sandbox_payments WHERE payment_id = ANY($1)"
# What is due at once is told by whoever decides; should he not live to do it, it is for all.
_DECIDE = f"""
WITH decided AS (
    UPDATE sandbox_payments p SET decided_at = coalesce(decided_at, clock_timestamp()),
        outcome = CASE WHEN p.outcome = 'succeeded' THEN p.outcome ELSE d.outcome END,
        faults = ARRAY(SELECT DISTINCT unnest(faults || string_to_array(more, ' ')) ORDER BY 1)
    FROM unnest($1::text[], $2::text[], $3::text[]) AS d (decided_id, outcome, more)
    WHERE payment_id = decided_id RETURNING {_COLUMNS.replace("outcome", "p.outcome")}
), words AS (
    INSERT INTO sandbox_webhooks (payment_id, outcome, tries, due_at)
    SELECT payment_id, w.outcome, (delay = 0)::integer, clock_timestamp()
        + make_interval(secs => CASE WHEN delay = 0 THEN {TOLD_S_MAX} ELSE delay END)
    FROM unnest($4::text[], $5::text[], $6::float8[]) WITH ORDINALITY
        AS w (payment_id, outcome, delay, n) JOIN decided USING (payment_id)
    ORDER BY n RETURNING webhook_id, payment_id, outcome, tries
), told AS (
    SELECT payment_id, array_agg(webhook_id ORDER BY webhook_id) AS webhook_ids,
        array_agg(outcome ORDER BY webhook_id) AS told
    FROM words WHERE tries > 0 GROUP BY payment_id
)
SELECT {_COLUMNS}, webhook_ids, told FROM decided LEFT JOIN told USING (payment_id)
"""
# A refund's status is written once; what was refused or done stays so for its id.
_REFUND = """
INSERT INTO sandbox_refunds AS r (refund_id, payment_id, amount_minor, status)
VALUES ($1, $2, $3, $4)
ON CONFLICT (refund_id) DO UPDATE SET calls = r.calls + 1,
    status = CASE WHEN r.status = 'pending' THEN $4 ELSE r.status END
RETURNING refund_id, payment_id, amount_minor, status, calls
"""
_DUE = """
WITH gone AS (DELETE FROM sandbox_webhooks WHERE due_at <= clock_timestamp() AND tries >= $2)
UPDATE sandbox_webhooks w SET tries = tries + 1,
    due_at = clock_timestamp() + make_interval(secs => least(60, power(2, tries)))
FROM sandbox_payments p
WHERE p.payment_id = w.payment_id AND webhook_id IN (
    SELECT webhook_id FROM sandbox_webhooks
    WHERE due_at <= clock_timestamp() AND tries < $2
    ORDER BY webhook_id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING w.webhook_id, w.payment_id, w.outcome, p.amount_minor
"""
_MIX = """
INSERT INTO sandbox_mix (seed, shares) VALUES ($1, $2::jsonb)
ON CONFLICT (one) DO UPDATE SET seed = excluded.seed, shares = excluded.shares
"""


Mix: TypeAlias = tuple[int, dict[str, float]]


class Opening(Struct, frozen=True):
    payment_id: str
    paid_for: str
    amount_minor: int
    currency: str
    faults: str


class Decision(Struct, frozen=True):
    payment_id: str
    outcome: str
    faults: str
    words: tuple[tuple[str, float], ...]


class SandboxBooks:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._opening = Together(pool, "sandbox opens", _open)
        self._finding = Together(pool, "sandbox finds", _find)
        self._deciding = Together(pool, "sandbox decides", _decide)
        self._forgetting = Together(pool, "sandbox has told", _forget)
        self._mixing = Together(pool, "sandbox mix", _mix)

    async def open(
        self,
        payment_id: str,
        paid_for: str,
        amount_minor: int,
        currency: str,
        faults: Sequence[str],
    ) -> tuple[SandboxPayment, bool]:
        """Write a payment down unless its id is known; as it stands, and whether it is new."""
        opening = Opening(payment_id, paid_for, amount_minor, currency, " ".join(faults))
        opened = await self._opening.ask(payment_id, opening)
        assert opened is not None
        return opened

    async def find(self, payment_id: str) -> SandboxPayment | None:
        return await self._finding.ask(payment_id, payment_id)

    async def decide(
        self,
        payment_id: str,
        outcome: str,
        faults: Sequence[str],
        words: Sequence[tuple[str, float]],
    ) -> tuple[SandboxPayment, list[SandboxWebhook]] | None:
        """Set the outcome unless it has succeeded before, and write down who is to be told what.

        `words`: outcomes to tell, and in how many seconds. Those of now are left to the caller for
        TOLD_S_MAX. None where the id is unknown.
        """
        decision = Decision(payment_id, outcome, " ".join(faults), tuple(words))
        return await self._deciding.ask(payment_id, decision)

    async def cancel(self, payment_id: str) -> None:
        async with reading(self._pool) as connection:
            await connection.execute(
                "UPDATE sandbox_payments SET cancelled = true"
                " WHERE payment_id = $1 AND outcome IS DISTINCT FROM 'succeeded'",
                payment_id,
            )

    async def refund(
        self, refund_id: str, payment_id: str, amount_minor: int, status: str
    ) -> SandboxRefund:
        """Write a refund down; what has been done or refused under that id stays as it is."""
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(_REFUND, refund_id, payment_id, amount_minor, status)
        assert row is not None
        return SandboxRefund(*row)

    async def due_webhooks(self) -> list[SandboxWebhook]:
        """Words that are due, each given to one who asks; later again, unless it is `told`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(_DUE, WEBHOOKS_MAX, WEBHOOK_TRIES_MAX)
        return sorted((SandboxWebhook(*row) for row in rows), key=lambda word: word.webhook_id)

    async def told(self, webhook_id: int) -> None:
        await self._forgetting.ask(webhook_id, webhook_id)

    async def set_mix(self, seed: int, shares: dict[str, float]) -> None:
        async with reading(self._pool) as connection:
            await connection.execute(_MIX, seed, msgspec.json.encode(shares).decode())

    async def mix(self) -> Mix | None:
        return await self._mixing.ask("", "")

    async def payments(self, after: str, limit: int) -> list[SandboxPayment]:
        """By id, from the one after `after`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM sandbox_payments WHERE payment_id > $1"
                " ORDER BY payment_id LIMIT $2",
                clean(after),
                limit,
            )
        return [_payment(row) for row in rows]

    async def refunds(self, payment_ids: Sequence[str]) -> list[SandboxRefund]:
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT refund_id, payment_id, amount_minor, status, calls FROM sandbox_refunds"
                " WHERE payment_id = ANY($1) ORDER BY refund_id",
                list(payment_ids),
            )
        return [SandboxRefund(*row) for row in rows]


async def _open(
    connection: Connection, many: list[Opening]
) -> dict[str, tuple[SandboxPayment, bool]]:
    columns = [list(column) for column in zip(*map(astuple, many), strict=True)]
    opened = {
        row["payment_id"]: (_payment(row), True) for row in await connection.fetch(_OPEN, *columns)
    }
    known = await _find(connection, [o.payment_id for o in many if o.payment_id not in opened])
    return opened | {payment_id: (payment, False) for payment_id, payment in known.items()}


async def _find(connection: Connection, payment_ids: list[str]) -> dict[str, SandboxPayment]:
    if not payment_ids:
        return {}
    rows = await connection.fetch(_FIND, [clean(payment_id) for payment_id in payment_ids])
    return {row["payment_id"]: _payment(row) for row in rows}


async def _decide(
    connection: Connection, many: list[Decision]
) -> dict[str, tuple[SandboxPayment, list[SandboxWebhook]]]:
    words = [(decision.payment_id, *word) for decision in many for word in decision.words]
    rows = await connection.fetch(
        _DECIDE,
        [decision.payment_id for decision in many],
        [decision.outcome for decision in many],
        [decision.faults for decision in many],
        [payment_id for payment_id, _, _ in words],
        [outcome for _, outcome, _ in words],
        [delay for _, _, delay in words],
    )
    decided = {}
    for *columns, webhook_ids, outcomes in rows:
        payment = _payment(dict(zip(_COLUMNS.split(", "), columns, strict=True)))
        due = zip(webhook_ids or (), outcomes or (), strict=True)
        decided[payment.payment_id] = (
            payment,
            [SandboxWebhook(n, payment.payment_id, o, payment.amount_minor) for n, o in due],
        )
    return decided


async def _forget(connection: Connection, webhook_ids: list[int]) -> dict[int, None]:
    await connection.execute("DELETE FROM sandbox_webhooks WHERE webhook_id = ANY($1)", webhook_ids)
    return {}


async def _mix(connection: Connection, _: list[str]) -> dict[str, Mix]:
    row = await connection.fetchrow("SELECT seed, shares FROM sandbox_mix")
    if row is None:
        return {}
    return {"": (row[0], msgspec.json.decode(row[1], type=dict[str, float]))}


def _payment(row: asyncpg.Record | dict[str, Any]) -> SandboxPayment:
    return SandboxPayment(**{**row, "faults": tuple(row["faults"])})
