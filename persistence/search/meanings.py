"""Words that a misspelt one may have been: a typo away from it, among those that documents have."""

from collections.abc import Sequence

from engine.wording import typos, typos_max
from persistence.transactions import Connection

MEANT_MAX = 12  # of one word
_LOOKED_AT_MAX = 200

# Trigrams find what a typo leaves alike; of short words it may leave little, so these are also
# looked for by what they become with two letters swapped back or one left out.
_ALIKE = f"""
SELECT asked.word AS asked, found.word FROM unnest($1::text[]) AS asked (word)
CROSS JOIN LATERAL (
    SELECT word FROM search_words
    WHERE word % asked.word AND documents > 0
      AND length(word) BETWEEN length(asked.word) - 2 AND length(asked.word) + 2
    ORDER BY similarity(word, asked.word) DESC LIMIT {_LOOKED_AT_MAX}
) AS found
"""
_KNOWN = "SELECT word FROM search_words WHERE word = ANY($1) AND documents > 0"


async def meant_words(connection: Connection, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By the word asked, the closest first."""
    asked = [word for word in words if typos_max(word)]
    if not asked:
        return {}
    found: dict[str, set[str]] = {word: set() for word in asked}
    async with connection.transaction(readonly=True):
        await connection.execute("SET LOCAL pg_trgm.similarity_threshold = 0.2")
        for row in await connection.fetch(_ALIKE, asked):
            found[row["asked"]].add(row["word"])
    for word in asked:
        rows = await connection.fetch(_KNOWN, _edited(word))
        found[word].update(row["word"] for row in rows)
    return {word: _closest(word, found[word]) for word in asked}


def _edited(word: str) -> list[str]:
    swapped = [word[:n] + word[n + 1] + word[n] + word[n + 2 :] for n in range(len(word) - 1)]
    return swapped + [word[:n] + word[n + 1 :] for n in range(len(word))]


def _closest(word: str, candidates: set[str]) -> tuple[str, ...]:
    most = typos_max(word)
    ranked = sorted((typos(word, candidate, most), candidate) for candidate in candidates)
    return tuple(c for distance, c in ranked if 0 < distance <= most)[:MEANT_MAX]
