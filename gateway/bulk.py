"""What the command line shows of an import: its progress, what it did, and what it refused."""

from pathlib import Path

import click

from gateway import progress
from gateway.importing import (
    ROWS_MAX_AT_ONCE,
    SUFFIXES,
    Import,
    Imports,
    Report,
    TooManyRows,
    rows_of,
    write_report,
)

SHOWN_MAX = 20


async def import_file(
    imports: Imports,
    file: Path,
    organizer: str,
    atomic: bool,
    dry_run: bool,
    report_path: Path | None,
) -> None:
    """Ends the program with exit code 1 where rows were refused."""
    if file.suffix not in SUFFIXES:
        raise click.UsageError(f"{file}: its name ends in {' or '.join(SUFFIXES)}")
    total = sum(1 for _ in rows_of(file))
    work = Import(imports, organizer, atomic=atomic, dry_run=dry_run)
    try:
        with progress.shown() as show:
            report = await work.run(rows_of(file), lambda done: show("rows", done, total))
    except TooManyRows:
        raise click.UsageError(
            f"{file}: at most {ROWS_MAX_AT_ONCE:,} rows are taken or refused together"
        ) from None
    if report_path is not None:
        write_report(report_path, report.refused)
    _tell(report, total, report_path)
    if report.refused:
        raise click.exceptions.Exit(1)


def _tell(report: Report, total: int, report_path: Path | None) -> None:
    for refused in report.refused[:SHOWN_MAX]:
        where = f"line {refused.line}, {refused.field}" if refused.field else f"line {refused.line}"
        click.echo(f"{where}: {refused.reason}", err=True)
    more = len(report.refused) - SHOWN_MAX
    if more > 0:
        where = f"see {report_path}" if report_path else "--report FILE keeps them all"
        click.echo(f"and {more:,} more: {where}", err=True)
    counts = f"{report.added:,} new, {report.known:,} known, {len(report.refused):,} refused"
    kept = "" if report.kept else "; nothing was written"
    click.echo(f"{total:,} rows: {counts}{kept}")
