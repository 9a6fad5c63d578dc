"""How letters leave; in development, into a folder to be looked at."""

from pathlib import Path
from typing import Protocol

from msgspec import Struct

CONNECTIONS_MAX = 4
KEPT_MAX = 1_000


class Letter(Struct, frozen=True):
    """One message for one address."""

    message_id: str
    recipient: str
    content: bytes


class Deferred(Exception):
    """Not now; perhaps later."""


class Refused(Exception):
    """Never."""


class Unreachable(Exception):
    """The server takes nothing at all just now; it says nothing about this letter."""


class Transport(Protocol):
    async def send(self, letter: Letter) -> None:
        """Returns once it is taken. Raises Deferred, Refused or Unreachable."""
        ...

    async def close(self) -> None: ...


class KeptMail(Struct, frozen=True):
    """Letters in a folder, a file each; a letter that is sent again is the same file."""

    folder: Path

    async def send(self, letter: Letter) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{letter.message_id.strip('<>').partition('@')[0]}.eml"
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_bytes(letter.content)
        draft.rename(path)
        for old in self.newest()[KEPT_MAX:]:
            old.unlink(missing_ok=True)

    async def close(self) -> None:
        pass

    def newest(self) -> list[Path]:
        """Newest first."""
        found = [(path.stat().st_mtime_ns, path) for path in self.folder.glob("*.eml")]
        return [path for _, path in sorted(found, reverse=True)]

    def find(self, name: str) -> Path | None:
        path = self.folder / f"{name}.eml"
        return path if path.exists() else None
