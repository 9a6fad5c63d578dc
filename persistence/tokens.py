"""The tokens of an event as devices carry them, and which have changed: as JSON, by Postgres.

A hundred thousand rows would keep a process busy; one long text does not.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from engine import ids
from engine.projection import TokenList
from persistence.transactions import Connection, changing, reading

# In the order of the tiers as they are named.
_ROW = """'["' || encode(token_digest, 'hex') || '",' || t.place - 1 || ',"' || %s || '"]'"""
_TIERS = "unnest($2::text[]) WITH ORDINALITY AS t (tier_id, place)"
_ROWS = f"string_agg({_ROW}, ',')"  # to sort a hundred thousand takes half as long again
_LIST = f"convert_to('[' || coalesce({_ROWS}, '') || ']', 'UTF8')"
_AS_OF = """
SELECT life, forgotten, greatest(forgotten, newest) AS change, seq
FROM token_changes_life,
    coalesce((SELECT change FROM token_changes_forgotten WHERE event_id = $1), 0) AS forgotten,
    coalesce((SELECT max(change) FROM token_changes WHERE event_id = $1), 0) AS newest,
    coalesce((SELECT seq FROM sale_offsets WHERE sale_id = $1), 0) AS seq
"""

# One statement, one look: the list is as of the fact that stands beside it.
_ALL = f"""
SELECT life, change, seq,
    (SELECT {_LIST % "worth"} FROM ticket_standings JOIN {_TIERS} USING (tier_id)
     WHERE order_id >= $3 AND order_id < $4) AS tickets
FROM ({_AS_OF}) AS as_of
"""

_SINCE = f"""
WITH recent AS MATERIALIZED (
    SELECT * FROM token_changes WHERE event_id = $1 AND change > $3 ORDER BY change LIMIT $4
), latest AS (
    SELECT DISTINCT ON (token_digest) token_digest, tier_id, status
    FROM recent ORDER BY token_digest, change DESC
)
SELECT life, change, seq, forgotten, (SELECT count(*) FROM recent) AS changes,
    (SELECT {_LIST % "status"} FROM latest JOIN {_TIERS} USING (tier_id)) AS tickets
FROM ({_AS_OF}) AS as_of
"""

_FORGET = """
WITH gone AS (
    DELETE FROM token_changes WHERE (event_id, change) IN (
        SELECT event_id, change FROM token_changes WHERE changed_at < $1
        ORDER BY changed_at LIMIT $2
    ) RETURNING event_id, change
)
INSERT INTO token_changes_forgotten AS f SELECT event_id, max(change) FROM gone GROUP BY event_id
ON CONFLICT (event_id) DO UPDATE SET change = greatest(f.change, excluded.change)
"""


class Tokens:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def all(self, event_id: str, tier_ids: Sequence[str]) -> TokenList:
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(
                _ALL, event_id, list(tier_ids), *ids.range_of("ord_", event_id)
            )
        assert row is not None
        return TokenList(row["life"], row["change"], row["seq"], row["tickets"])

    async def changed(
        self, event_id: str, tier_ids: Sequence[str], life: str, since: int, most: int
    ) -> TokenList | None:
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(_SINCE, event_id, list(tier_ids), since, most + 1)
        assert row is not None
        too_old = since < row["forgotten"] or row["changes"] > most
        if row["life"] != life or too_old or since > row["change"]:
            return None
        return TokenList(life, row["change"], row["seq"], row["tickets"])

    async def latest(self, event_id: str) -> str:
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(_AS_OF, event_id)
        assert row is not None
        return f"{row['life']}-{row['change']}"

    async def forget(self, before: datetime, limit: int) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(_FORGET, before, limit)

        await changing(self._pool, work)
