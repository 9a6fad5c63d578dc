"""The data folder: ours or refused, and used by one process at a time.

A folder of ours has a marker, `stampede.json`; who uses it holds the lock on `stampede.lock`, which
is free again exactly when that process is gone. What a start leaves half done is done again.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

FOLDER_FORMAT = 1
MARKER_NAME = "stampede.json"
CLAIM_NAME = "stampede.lock"


class EmbeddedServerError(Exception):
    """A data folder or a server in it cannot be used: one line for the person who starts us."""


class _Marker(msgspec.Struct, frozen=True):
    format: int


@dataclass(frozen=True, kw_only=True)
class FolderClaim:
    """Sole use of a data folder, until `release` or the end of the process."""

    path: Path
    lock: int

    def release(self) -> None:
        os.close(self.lock)


def claim_data_folder(path: Path) -> FolderClaim:
    """Make `path` (mode 0700) or take it over from an earlier run, for this process alone.

    Raises `EmbeddedServerError` where it holds what is not ours, or another process has it.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_foreign(path)
        lock = _claim(path)
    except OSError as error:
        raise EmbeddedServerError(f"data folder {path} cannot be used: {error.strerror}") from error
    return FolderClaim(path=path, lock=lock)


def _refuse_foreign(path: Path) -> None:
    marker = path / MARKER_NAME
    if not marker.exists():
        # The lock alone is what a first start leaves that was killed before it wrote the marker.
        known = (CLAIM_NAME, marker.name + ".new")
        # A folder of ours may lie within: the demo's in the default one.
        foreign = [e for e in path.iterdir() if not (e / marker.name).exists()]
        if any(entry.name not in known for entry in foreign):
            raise EmbeddedServerError(f"data folder {path} is not empty and not one of ours")
        return
    try:
        found = msgspec.json.decode(marker.read_bytes(), type=_Marker)
    except msgspec.MsgspecError as error:
        raise EmbeddedServerError(f"data folder {path}: {marker.name}: {error}") from error
    if found.format != FOLDER_FORMAT:
        raise EmbeddedServerError(
            f"data folder {path} has format {found.format}, this program reads {FOLDER_FORMAT}"
        )


def _claim(path: Path) -> int:
    lock = os.open(path / CLAIM_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    if not try_lock(lock):
        owner = os.pread(lock, 32, 0).decode().strip() or "unknown"
        os.close(lock)
        raise EmbeddedServerError(f"data folder {path} is in use by process {owner}")
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    if not (path / MARKER_NAME).exists():
        _write_marker(path / MARKER_NAME)
    return lock


def _write_marker(marker: Path) -> None:
    new = marker.with_name(marker.name + ".new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(_Marker(format=FOLDER_FORMAT)))
        os.fsync(file.fileno())
    rename_durably(new, marker)


def rename_durably(source: Path, target: Path) -> None:
    source.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
