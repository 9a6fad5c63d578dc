"""What a document is found by, and what Postgres is asked for it: words made into its text search.

Words are letters and digits alone (`engine.wording`), so they stand in a query without escapes.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from engine import wording
from engine.finding import Closeness, Document
from engine.ranking import BEGINNING, CLOSE, EXACT
from engine.wording import Question, Slot

LABELS = {"title": "A", "place": "B", "about": "C"}
POSITIONS_MAX = 16_000


class Words(Struct, frozen=True):
    """A document's words by where they stand."""

    title: list[str]
    place: list[str]
    about: list[str]

    @property
    def all(self) -> set[str]:
        return {*self.title, *self.place, *self.about}


def words_of(document: Document) -> Words:
    place = f"{document.venue} {document.city} {document.country} {document.year}"
    return Words(
        wording.title_words(document.title),
        wording.indexed(place),
        wording.indexed(document.description),
    )


def vector(words: Words) -> str:
    """As the text of a tsvector."""
    parts = ((words.title, "A"), (words.place, "B"), (words.about, "C"))
    labelled = [f"'{word}':{{}}{label}" for group, label in parts for word in group]
    return " ".join(
        part.format(min(number, POSITIONS_MAX)) for number, part in enumerate(labelled, start=1)
    )


def plain_vector(words: Sequence[str]) -> str:
    return " ".join(f"'{word}'" for word in words)


class Term(Struct, frozen=True):
    """What a slot may be found as; `meant`: words that a misspelt one may have been."""

    slot: Slot
    meant: tuple[str, ...]
    closeness: Closeness

    def query(self, label: str = "") -> str:
        """Any of it, wherever it stands or under one label."""
        ways = (_exact(self.slot, label), _beginning(self.slot, label), _any(self.meant, label))
        return " | ".join(way for way in ways if way)

    def graded(self) -> list[tuple[float, str]]:
        """Queries by what a document is worth that answers them, the best first."""
        found = []
        for place, label in LABELS.items():
            found.append((EXACT[place], _exact(self.slot, label)))
            found.append((BEGINNING[place], _beginning(self.slot, label)))
            found.append((CLOSE[place], _any(self.meant, label)))
        return sorted(((worth, query) for worth, query in found if query), reverse=True)


def match(terms: Sequence[Term], label: str = "") -> str:
    """A tsquery that a document must answer."""
    joint = " | " if terms[0].closeness is Closeness.ANY else " & "
    return joint.join(f"({term.query(label)})" for term in terms)


def terms_of(
    question: Question, closeness: Closeness, meant: dict[str, tuple[str, ...]]
) -> list[Term]:
    return [Term(slot, meant.get(slot.word, ()), closeness) for slot in question.slots]


def _exact(slot: Slot, label: str) -> str:
    return _any(slot.exact, label)


def _beginning(slot: Slot, label: str) -> str:
    return f"'{slot.beginning}':*{label}" if slot.beginning else ""


def _any(words: Iterable[str], label: str) -> str:
    return " | ".join(f"'{word}':{label}" if label else f"'{word}'" for word in words)
