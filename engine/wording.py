"""Text made into words, the same for every search index: what is indexed and what is asked.

Case and accents are folded here, so that no index needs an analysis of its own.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec import Struct

WORD_LETTERS_MAX = 60
WORDS_MAX = 1_000  # of a text
ASKED_MAX = 8  # words of a query; more make it no clearer
SPAN_MAX = 3

# Letters that are no letter with a mark.
_LETTERS = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "\u0131": "i",
        "ħ": "h",
    }
    | dict.fromkeys("'`\u2019\u02bc", "")  # apostrophes
)
_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_NAMES = (
    (re.compile(r"\bc\+\+"), "cpp"),
    (re.compile(r"\b([cf])#"), r"\1sharp"),
    (re.compile(r"(?<!\w)\.net\b"), "dotnet"),
)
_WORD = re.compile(r"[^\W_]+")

# Words that nobody looks for alone.
_STOP_TEXT = "a an and at by da das de der des di die du el for in la le les of on the to und von y"
_STOP = frozenset(_STOP_TEXT.split())


def fold(text: str) -> str:
    """Lower case, without accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return plain.translate(_LETTERS)


def key(text: str) -> str:
    """What two spellings of one name have in common."""
    return " ".join(_words(text))


def indexed(text: str) -> list[str]:
    """The words a text is found by; an umlaut also as it is spelt out."""
    words = _words(text)
    spelt_out = unicodedata.normalize("NFC", text.casefold()).translate(_SPELT_OUT)
    if fold(spelt_out) != fold(text):
        words += [word for word in _words(spelt_out) if word not in words]
    return words[:WORDS_MAX]


def title_words(title: str) -> list[str]:
    """Its words, and its neighbours written as one: "Vue.js" is found by "vuejs"."""
    words = _words(title)
    pairs = [left + right for left, right in pairwise(words)]
    return [*indexed(title), *(pair for pair in pairs if len(pair) <= WORD_LETTERS_MAX)]


def joined(text: str) -> str:
    return "".join(_words(text))[:WORD_LETTERS_MAX]


def _words(text: str) -> list[str]:
    folded = fold(text)
    for pattern, name in _NAMES:
        folded = pattern.sub(name, folded)
    return [word[:WORD_LETTERS_MAX] for word in _WORD.findall(folded)][:WORDS_MAX]


class Slot(Struct, frozen=True):
    """One word of a query. `exact`: it, and it written as one with its neighbours.

    `beginning`: what a longer word may begin with; of the last word only, as it is typed.
    """

    word: str
    exact: tuple[str, ...]
    beginning: str | None


class Question(Struct, frozen=True):
    """A query's words. `titles`: what a title must be, written as one, to be all that was asked."""

    slots: tuple[Slot, ...]
    titles: tuple[str, ...]


def question(text: str) -> Question:
    words = _words(text)[:ASKED_MAX]
    asked = [n for n, word in enumerate(words) if word not in _STOP] or list(range(len(words)))
    slots = tuple(_slot(words, n) for n in asked)
    return Question(slots, tuple(dict.fromkeys(_spans(words, len(words)))))


def _slot(words: Sequence[str], n: int) -> Slot:
    around = (
        "".join(words[first:last])
        for first in range(max(0, n - SPAN_MAX + 1), n + 1)
        for last in range(n + 1, min(len(words), first + SPAN_MAX) + 1)
    )
    last = n == len(words) - 1 and len(words[n]) > 1
    return Slot(
        words[n], tuple(dict.fromkeys([words[n], *around])), beginning=words[n] if last else None
    )


def _spans(words: Sequence[str], longest: int) -> Iterator[str]:
    for first in range(len(words)):
        for last in range(first + 1, min(len(words), first + longest) + 1):
            yield "".join(words[first:last])[:WORD_LETTERS_MAX]


def typos_max(word: str) -> int:
    """How many letters may be wrong for a word to be meant."""
    return 0 if len(word) < 4 else 1 if len(word) < 8 else 2


def typos(left: str, right: str, most: int) -> int:
    """Letters put in, left out, mistaken or swapped with their neighbour; `most` + 1 if more."""
    if abs(len(left) - len(right)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        two_before, before, row = before, row, [i]
        for j, b in enumerate(right, start=1):
            changed = before[j - 1] + (a != b)
            found = min(changed, before[j] + 1, row[j - 1] + 1)
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                found = min(found, two_before[j - 2] + 1)
            row.append(found)
        if min(row) > most:
            return most + 1
    return row[-1]
