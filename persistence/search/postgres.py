"""The search index on Postgres: text search, trigrams for typos, earthdistance for places.

Rules of this file:

- A query costs what it shows, not what it matches: results are counted up to `COUNTED_MAX`, ranked
  up to `RANKED_MAX`. Where more match, titles that match come first, as far as they can be ranked,
  then the rest by date. These parts of an answer are its steps.
- The score of a document is of it alone, as of the first page, so a page goes on where the last one
  ended whatever was changed between them.
"""

from datetime import datetime
from enum import IntEnum
from typing import assert_never

import asyncpg

from engine import wording
from engine.catalogue import from_ms, to_ms
from engine.finding import (
    Closeness,
    Facets,
    Found,
    Hit,
    Mark,
    Search,
    Sort,
    Suggestion,
)
from engine.wording import Question
from persistence.search import counting, texts
from persistence.search.conditions import (
    START_MS,
    Conditions,
    by_date_ahead,
    by_score,
    filtered,
    rising,
    score,
)
from persistence.search.meanings import meant_words
from persistence.search.texts import Term
from persistence.transactions import Connection, reading

SOURCE = "postgres"
RANKED_MAX = 2_000
SUGGESTED_MAX = 200  # looked at to find different titles
LATEST_MS = 2**47  # past the year 6000
HEAD_START_MS = 60 * 86_400_000  # in a list by date, of a category that the asker likes best

_NOTHING = Facets({}, {})


class _Step(IntEnum):
    """The parts of an answer: all of it, or titles first and then the others, or merely by date."""

    ALL = 0
    TITLES = 1
    OTHERS = 2
    BY_DATE = 3


class PostgresIndex:
    """`pool` plans each query for its values: `plan_cache_mode = force_custom_plan`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def search(self, search: Search) -> Found:
        question = wording.question(search.text)
        if search.text and not question.slots:
            return Found([], 0, True, _NOTHING, None)
        async with reading(self._pool) as connection:
            terms, counted = await _understood(connection, search, question)
            hits, mark = await _Page(connection, search, question, terms, counted.total).read()
        return Found(hits, counted.total, counted.exact, counted.facets, mark)

    async def suggest(self, text: str, limit: int) -> list[Suggestion]:
        """Titles that begin with the text, then those that have its words; each title once."""
        question = wording.question(text)
        if not question.slots:
            return []
        async with reading(self._pool) as connection:
            rows = await connection.fetch(_BEGINNING, f"{wording.joined(text)}%", SUGGESTED_MAX)
            if len(rows) < limit:
                rows += await _having(connection, question, Closeness.EXACT)
            if not rows:
                rows = await _having(connection, question, Closeness.CLOSE)
        by_title: dict[str, Suggestion] = {}
        for row in rows:
            by_title.setdefault(
                wording.joined(row["title"]), Suggestion(row["event_id"], row["title"])
            )
        return list(by_title.values())[:limit]


_BEGINNING = """
SELECT event_id, title FROM search_documents WHERE findable AND title_joined LIKE $1
ORDER BY start_time, event_id LIMIT $2
"""
_HAVING = """
SELECT event_id, title FROM search_documents WHERE findable AND title_words @@ $1::text::tsquery
ORDER BY start_time, event_id LIMIT $2
"""


async def _having(
    connection: Connection, question: Question, closeness: Closeness
) -> list[asyncpg.Record]:
    terms = await _terms(connection, question, closeness)
    found: list[asyncpg.Record] = await connection.fetch(_HAVING, texts.match(terms), SUGGESTED_MAX)
    return found


async def _understood(
    connection: Connection, search: Search, question: Question
) -> tuple[list[Term], counting.Counted]:
    """The closest way to read the question that finds anything."""
    if search.after is not None:
        ways = [search.after.closeness]
    else:
        ways = list(Closeness)[: 1 if not question.slots else 2 if len(question.slots) == 1 else 3]
    for closeness in ways:
        terms = await _terms(connection, question, closeness)
        counted = await counting.count(connection, search, terms)
        if counted.total:
            break
    return terms, counted


async def _terms(connection: Connection, question: Question, closeness: Closeness) -> list[Term]:
    meant: dict[str, tuple[str, ...]] = {}
    if closeness is not Closeness.EXACT:
        meant = await meant_words(connection, [slot.word for slot in question.slots])
    return texts.terms_of(question, closeness, meant)


class _Page:
    """One page of an answer, read step by step until it is full."""

    def __init__(
        self,
        connection: Connection,
        search: Search,
        question: Question,
        terms: list[Term],
        total: int,
    ) -> None:
        mark = search.after
        self._connection = connection
        self._search = search
        self._question = question
        self._terms = terms
        self._total = total
        self._as_of = from_ms(mark.as_of_ms) if mark else search.as_of
        self._ours = mark if mark and (mark.source == SOURCE or _portable(mark)) else None
        self._skipped = mark.seen if mark and not self._ours else 0

    async def read(self) -> tuple[list[Hit], Mark | None]:
        wanted = self._search.limit + 1
        rows: list[tuple[_Step, asyncpg.Record]] = []
        for step in await self._steps():
            statement, values = self._statement(step, wanted - len(rows))
            rows += [(step, row) for row in await self._connection.fetch(statement, *values)]
            if len(rows) == wanted:
                break
        shown = rows[: self._search.limit]
        hits = [Hit(*row[:-1]) for _, row in shown]
        return hits, self._mark(*shown[-1], len(shown)) if len(rows) == wanted else None

    def _mark(self, step: _Step, row: asyncpg.Record, shown: int) -> Mark:
        before = self._search.after
        return Mark(
            SOURCE,
            self._search.sort,
            self._terms[0].closeness if self._terms else Closeness.EXACT,
            step,
            row["key"],
            row["event_id"],
            (before.seen if before else 0) + shown,
            to_ms(self._as_of),
        )

    async def _steps(self) -> list[_Step]:
        """The steps of the answer, from the one that the page before ended in."""
        if self._search.sort is not Sort.RELEVANCE:
            return [_Step.ALL]
        if self._ours is not None:
            return self._steps_after(_Step(self._ours.step))
        if self._total <= RANKED_MAX:
            return [_Step.ALL]
        return [_Step.TITLES, _Step.OTHERS] if await self._titles_are_few() else [_Step.BY_DATE]

    def _steps_after(self, last: _Step) -> list[_Step]:
        if not self._terms and last in (_Step.TITLES, _Step.OTHERS):  # of no cursor of ours
            return [_Step.BY_DATE]
        return [last, _Step.OTHERS] if last is _Step.TITLES else [last]

    async def _titles_are_few(self) -> bool:
        if not self._terms:
            return False
        titles = self._conditions(_Step.TITLES)
        found = await self._connection.fetchval(
            f"SELECT count(*) FROM (SELECT FROM search_documents WHERE {titles.where}"
            f" LIMIT {RANKED_MAX + 1}) AS found",
            *titles.values,
        )
        return 0 < int(found) <= RANKED_MAX

    def _conditions(self, step: _Step) -> Conditions:
        found = filtered(self._search, self._terms)
        if step is _Step.TITLES:
            found.add("title_words @@ {}::text::tsquery", texts.match(self._terms))
        if step is _Step.OTHERS:
            found.add("NOT title_words @@ {}::text::tsquery", texts.match(self._terms))
        return found

    def _statement(self, step: _Step, wanted: int) -> tuple[str, list[object]]:
        search, found = self._search, self._conditions(step)
        mark = self._ours if self._ours and self._ours.step == step else None
        after = (mark.key, mark.event_id) if mark else None
        limit = f"LIMIT {wanted} OFFSET {self._skipped}"
        match search.sort:
            case Sort.DATE:
                sql = self._rising_by_date(found, mark, limit)
            case Sort.PRICE:
                since = (int(mark.key), mark.event_id) if mark else None
                sql = rising(found, "price_key", "price_key", since, limit)
            case Sort.DISTANCE:
                assert search.near is not None
                found.add("position IS NOT NULL")
                key = f"(position <-> {found.point(search.near)})"
                at = (float(mark.key), mark.event_id) if mark else None
                sql = rising(found, key, key, at, limit)
            case Sort.RELEVANCE if step in (_Step.ALL, _Step.TITLES):
                worth = score(found, search, self._question, self._terms, self._as_of)
                sql = by_score(found, worth, after, limit)
            case Sort.RELEVANCE:
                sql = self._by_date(found, mark, wanted)
            case _:
                assert_never(search.sort)
        return sql, found.values

    def _by_date(self, found: Conditions, mark: Mark | None, wanted: int) -> str:
        if self._search.tastes:
            ahead = {c: int(liking * HEAD_START_MS) for c, liking in self._search.tastes}
            after = (mark.key, mark.event_id) if mark else None
            return by_date_ahead(found, ahead, after, wanted, self._skipped)
        return self._rising_by_date(found, mark, f"LIMIT {wanted} OFFSET {self._skipped}")

    @staticmethod
    def _rising_by_date(found: Conditions, mark: Mark | None, limit: str) -> str:
        since = (_instant(mark.key), mark.event_id) if mark else None
        return rising(found, "start_time", START_MS, since, limit)


def _instant(key: float) -> datetime:
    return from_ms(max(0, min(int(key), LATEST_MS)))


def _portable(mark: Mark) -> bool:
    """Whether every index sorts by the same key."""
    return mark.sort in (Sort.DATE, Sort.PRICE)
