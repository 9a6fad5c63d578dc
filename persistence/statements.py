"""SQL written from the names of a table's columns, so that each list of names stands once."""

from collections.abc import Sequence


def insert(table: str, columns: Sequence[str]) -> str:
    """Takes the columns' values in their order."""
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"


def update(table: str, columns: Sequence[str]) -> str:
    """Takes the columns' values in their order; the first is the primary key."""
    key, *others = columns
    changes = ", ".join(f"{name} = ${number}" for number, name in enumerate(others, start=2))
    return f"UPDATE {table} SET {changes} WHERE {key} = $1"


def newest(table: str, columns: Sequence[str], condition: str = "true") -> str:
    """Newest first: at most $1 rows that come after the one whose primary key is $2."""
    key = columns[0]
    return (
        f"SELECT {', '.join(columns)} FROM {table} WHERE {condition} AND ($2::text IS NULL"
        f" OR (created_at, {key}) < (SELECT created_at, {key} FROM {table} WHERE {key} = $2))"
        f" ORDER BY created_at DESC, {key} DESC LIMIT $1"
    )


def clean(key: str | None) -> str | None:
    """A key as it may be looked for; what no id of ours can be finds nothing.

    Postgres takes neither NUL nor half a surrogate pair in a text.
    """
    return "" if key is not None and not (key.isascii() and key.isprintable()) else key
