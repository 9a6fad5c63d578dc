"""A backup is the truth and nothing else: what can be made again from the journal is made again.

Rules of this file:

- One instant: all tables are read in one snapshot of the database, beside a running system.
- A tar of `COPY ... (FORMAT binary)`, a member a table, and of the files that the journal's old
  parts went to. The manifest comes last, so a file without one is not whole; it names the schema's
  version, and each member's SHA-256.
- A restore fills an empty database in one transaction, or leaves it empty. It carries every epoch
  far ahead, so that nothing written after the backup by an owner of those days, a snapshot in an
  old Redis for one, can pass for something of the new days.
"""

import io
import os
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, cast

import asyncpg
import msgspec
from msgspec import Struct
from msgspec.structs import astuple
from redis.asyncio import Redis
from redis.exceptions import RedisError

from persistence.healing import heal
from persistence.history import History
from persistence.mending import hold_projection
from persistence.migrations import assert_migrated, migrate
from persistence.projector import Projector
from persistence.retention import ArchivedRow, decode_file
from persistence.servers import ToolError
from persistence.transactions import AWAY

FORMAT = 1
EPOCHS_APART = 1_000_000  # more than the owners that a shard can have had since any backup
READ_BYTES = 1 << 20
CONNECT_S_MAX = 10.0
_MANIFEST = "backup.json"
_BLOCK = tarfile.BLOCKSIZE

# In an order that foreign keys allow.
TRUTH = (
    *("shards", "journal", "personal_keys"),
    *("venues", "events", "tiers", "promo_codes", "bookings", "idempotency_keys"),
    *("deposits", "deposit_refunds", "booking_addons", "imported_rows"),
    *("intents", "sandbox_payments", "sandbox_refunds", "sandbox_webhooks", "sandbox_mix"),
    "devices",
    # Who has been told what: else all would be told again.
    *("mails", "mailings", "webhook_endpoints", "webhook_deliveries"),
)
DERIVED = (
    *(
        "snapshots",
        "snapshot_pieces",
        "projection_offsets",
        "orders",
        "order_items",
        "payments",
        "refunds",
    ),
    *("tickets", "admissions", "checkins", "waitlist", "tier_counters", "sale_offsets"),
    *("search_changes", "search_documents", "search_sources", "search_followers", "search_words"),
    *("trending_hours", "token_changes", "token_changes_forgotten"),
)
# Who lives just now; how the tables are made, and in which life of theirs.
OF_THE_DAY = ("nodes", "schema_migrations", "token_changes_life", "refund_tries")

_COLUMNS = """
SELECT column_name::text FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position
"""

# What counts on by itself, and must do so after the highest number that came with the backup.
_COUNTING = """
SELECT table_name::text, column_name::text FROM information_schema.columns
WHERE table_schema = current_schema() AND is_identity = 'YES' AND table_name = ANY($1)
"""

_ARCHIVED = """
SELECT shard_id, archived_seq FROM shards WHERE archived_seq > 0 ORDER BY shard_id
"""

Progress = Callable[[str, int, int], None]


class Part(Struct, frozen=True):
    """A table in the archive."""

    table: str
    columns: list[str]
    rows: int
    sha256: str


class Old(Struct, frozen=True):
    """A file of a shard's archived journal, and what of it no file before has had."""

    shard_id: int
    name: str
    first_seq: int
    last_seq: int
    sha256: str

    @property
    def rows(self) -> int:
        return self.last_seq - self.first_seq + 1

    @property
    def member(self) -> str:
        return f"archive/{self.shard_id}/{self.name}"


class Manifest(Struct, frozen=True):
    """`schema`: the newest migration of the database that was copied."""

    format: int
    schema: int
    taken_at: datetime
    parts: list[Part]
    old: list[Old]

    @property
    def summary(self) -> str:
        rows = {part.table: part.rows for part in self.parts}
        batches = rows["journal"] + sum(old.rows for old in self.old)
        told = f"{rows['shards']} shards, {batches} batches, {rows['events']} events"
        return f"as of {self.taken_at.isoformat(timespec='seconds')}: {told}"


async def backup(database_url: str, archive: Path, path: Path, progress: Progress) -> Manifest:
    """Write the file, for our eyes alone: it holds the keys of personal data. Raises ToolError."""
    if path.exists():
        raise ToolError(f"{path} exists: a backup never overwrites")
    partial = path.with_name(path.name + ".partial")
    try:
        with _created(partial) as file:
            async with _connected(database_url) as connection:
                await assert_migrated(connection)
                manifest = await _copy_out(connection, archive, file, progress)
        partial.rename(path)
    except (*AWAY, asyncpg.PostgresError) as error:
        raise ToolError(f"the backup is not written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def _created(path: Path) -> BinaryIO:
    path.touch(mode=0o600)
    return path.open("wb")


async def _copy_out(
    connection: asyncpg.Connection, archive: Path, file: BinaryIO, progress: Progress
) -> Manifest:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        made = await connection.fetchrow(
            "SELECT max(version) AS version, now() AS taken_at FROM schema_migrations"
        )
        assert made is not None
        parts = []
        for done, table in enumerate(TRUTH):
            progress(table, done, len(TRUTH))
            parts.append(await _copy_table_out(connection, file, table))
        old: list[Old] = []
        for shard_id, archived_seq in await connection.fetch(_ARCHIVED):
            progress(f"archive of shard {shard_id}", 0, archived_seq)
            old += _copy_archive_out(History(connection, archive, shard_id), archived_seq, file)
    manifest = Manifest(FORMAT, made["version"], made["taken_at"], parts, old)
    _write_manifest(file, manifest)
    return manifest


async def _copy_table_out(connection: asyncpg.Connection, file: BinaryIO, table: str) -> Part:
    columns = [row[0] for row in await connection.fetch(_COLUMNS, table)]
    digest = sha256()
    head = file.tell()
    file.write(bytes(_BLOCK))  # the header, once the size is known

    async def write(data: bytes) -> None:
        digest.update(data)
        file.write(data)

    done = await connection.copy_from_table(table, columns=columns, output=write, format="binary")
    _end_member(file, head, f"{table}.copy")
    return Part(table, columns, int(done.split()[-1]), digest.hexdigest())


def _end_member(file: BinaryIO, head: int, name: str) -> None:
    end = file.tell()
    member = tarfile.TarInfo(name)
    member.size, member.mode = end - head - _BLOCK, 0o600
    file.seek(head)
    file.write(member.tobuf(tarfile.GNU_FORMAT))
    file.seek(end)
    file.write(bytes(-member.size % _BLOCK))


def _copy_archive_out(history: History, archived_seq: int, file: BinaryIO) -> Iterator[Old]:
    last = 0
    for path, rows in history.archived(archived_seq):
        if not rows:
            continue  # its rows have not left the table yet
        first, last = last + 1, last + len(rows)
        if [row.seq for row in rows] != list(range(first, last + 1)):
            raise ToolError(f"{path} does not go on with batch {first}")
        content = path.read_bytes()
        old = Old(history.shard_id, path.name, first, last, sha256(content).hexdigest())
        head = file.tell()
        file.write(bytes(_BLOCK))
        file.write(content)
        _end_member(file, head, old.member)
        yield old
    if last != archived_seq:
        raise ToolError(
            f"the archive {history.archive} ends at batch {last} of shard {history.shard_id},"
            f" not at {archived_seq}"
        )


def _write_manifest(file: BinaryIO, manifest: Manifest) -> None:
    head = file.tell()
    file.write(bytes(_BLOCK))
    file.write(msgspec.json.encode(manifest))
    _end_member(file, head, _MANIFEST)
    file.write(bytes(2 * _BLOCK))
    file.flush()
    os.fsync(file.fileno())


async def restore(database_url: str, redis_url: str, path: Path, progress: Progress) -> Manifest:
    """Fill an empty database, and all that is derived. Raises ToolError or MigrationError."""
    try:
        with tarfile.open(path, "r:") as archive:
            manifest = _read_manifest(archive, path)
            async with _connected(database_url) as connection:
                await _assert_empty(connection, redis_url)
                await _make_tables(connection, manifest.schema)
                async with connection.transaction():
                    await _copy_in(connection, archive, manifest, progress)
                await migrate(connection)
                await _project(connection, progress)
    except (
        *AWAY,
        tarfile.TarError,
        msgspec.DecodeError,
        asyncpg.PostgresError,
        RedisError,
    ) as error:
        raise ToolError(f"{path} is not restored: {error}") from error
    return manifest


def _read_manifest(archive: tarfile.TarFile, path: Path) -> Manifest:
    if _MANIFEST not in archive.getnames():
        raise ToolError(f"{path} is not a whole backup: it has no {_MANIFEST}")
    manifest = msgspec.json.decode(_member(archive, _MANIFEST).read(), type=Manifest)
    if manifest.format != FORMAT:
        raise ToolError(f"{path} has format {manifest.format}, this program reads {FORMAT}")
    return manifest


def _member(archive: tarfile.TarFile, name: str) -> io.BufferedReader:
    return cast(io.BufferedReader, archive.extractfile(name))


async def _assert_empty(connection: asyncpg.Connection, redis_url: str) -> None:
    for table in (*TRUTH, *DERIVED):
        exists = await connection.fetchval("SELECT to_regclass($1)", table)
        if exists and await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"):
            raise ToolError(f"the database is not empty: it has rows in {table}")
    redis = Redis.from_url(redis_url)
    try:
        async for key in redis.scan_iter(match="stampede:*"):
            raise ToolError(f"Redis is not empty: it has {key!r}; FLUSHDB makes it so")
    finally:
        await redis.aclose()


async def _make_tables(connection: asyncpg.Connection, schema: int) -> None:
    """As they were when the backup was written."""
    await migrate(connection, newest=schema)
    made = await connection.fetchval("SELECT max(version) FROM schema_migrations")
    if made != schema:
        raise ToolError(f"the backup has schema {schema}, database or program have {made}")


async def _copy_in(
    connection: asyncpg.Connection,
    archive: tarfile.TarFile,
    manifest: Manifest,
    progress: Progress,
) -> None:
    for done, part in enumerate(manifest.parts):
        progress(part.table, done, len(manifest.parts))
        await connection.copy_to_table(
            part.table, columns=part.columns, source=_checked(archive, part), format="binary"
        )
    for old in manifest.old:
        progress(f"archive of shard {old.shard_id}", 0, len(manifest.old))
        await _copy_old_in(connection, archive, old)
    for table, column in await connection.fetch(_COUNTING, list(TRUTH)):
        await connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'),"
            f" coalesce(max({column}), 0) + 1, false) FROM {table}"
        )
    await connection.execute(
        "UPDATE shards SET epoch = epoch + $1, owner = NULL, archived_seq = 0", EPOCHS_APART
    )


async def _copy_old_in(connection: asyncpg.Connection, archive: tarfile.TarFile, old: Old) -> None:
    """Back into the table: the archive starts anew, in its own time."""
    content = _member(archive, old.member).read()
    if sha256(content).hexdigest() != old.sha256:
        raise ToolError(f"the backup is damaged: {old.member} does not have its checksum")
    rows = [r for r in decode_file(content) if old.first_seq <= r.seq <= old.last_seq]
    await connection.copy_records_to_table(
        "journal",
        records=[(old.shard_id, *astuple(row)) for row in rows],
        columns=("shard_id", *ArchivedRow.__struct_fields__),
    )


async def _checked(archive: tarfile.TarFile, part: Part) -> AsyncIterator[bytes]:
    digest = sha256()
    member = _member(archive, f"{part.table}.copy")
    while data := member.read(READ_BYTES):
        digest.update(data)
        yield data
    if digest.hexdigest() != part.sha256:
        raise ToolError(f"the backup is damaged: {part.table} does not have its checksum")


async def _project(connection: asyncpg.Connection, progress: Progress) -> None:
    await hold_projection(connection)
    projector = Projector(connection, heal)
    total: int = await connection.fetchval("SELECT coalesce(sum(last_seq), 0)::bigint FROM shards")
    while behind := await projector.step():
        progress("batches projected", total - behind, total)


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        database_url, timeout=CONNECT_S_MAX, server_settings={"application_name": "stampede backup"}
    )
    try:
        yield connection
    finally:
        await connection.close()
