"""How log lines look: JSON on standard output, one event a line."""

import logging
import sys
from typing import Any

import msgspec
import structlog


def configure_logging(enabled: bool) -> None:
    """JSON lines on standard output; with `enabled` off, warnings and errors only."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20 if enabled else 30),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )

    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)
    # What its pools repeat while a database is away, whoever asked for a connection tells once.
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)


class _Bridge(logging.Handler):
    """What libraries say, as lines like our own."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def _serialize(event: Any, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)
