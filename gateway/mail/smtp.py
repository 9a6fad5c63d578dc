"""Letters to an SMTP server.

What the server says is kept as its code only: its sentences may name people.
"""

import asyncio
from collections import deque
from urllib.parse import unquote, urlsplit

import aiosmtplib
from msgspec import Struct

from gateway.mail.transport import CONNECTIONS_MAX, Deferred, Letter, Refused, Unreachable

TIMEOUT_S = 30.0
_PORTS = {"smtp": 25, "smtps": 465}
_LOCAL = ("127.0.0.1", "::1", "localhost")


class SmtpServer(Struct, frozen=True):
    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool

    @property
    def must_upgrade(self) -> bool | None:
        """No password goes over the net in the clear; None: TLS if the server has it."""
        if self.tls:
            return False
        return True if self.user and self.host not in _LOCAL else None


def smtp_server(url: str) -> SmtpServer:
    """From `smtp://user:password@host:port`, or `smtps://`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("smtp://[user:password@]host[:port] or smtps://...")
    return SmtpServer(
        parts.hostname,
        parts.port or _PORTS[parts.scheme],
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        parts.scheme == "smtps",
    )


class SmtpTransport:
    """Keeps its connections for the next letters."""

    def __init__(self, server: SmtpServer, sender_address: str) -> None:
        self._server = server
        self._sender = sender_address
        self._idle: deque[aiosmtplib.SMTP] = deque(maxlen=CONNECTIONS_MAX)

    async def send(self, letter: Letter) -> None:
        client = await self._client()
        try:
            await client.sendmail(self._sender, [letter.recipient], letter.content)
        except BaseException as error:
            client.close()
            if isinstance(error, aiosmtplib.SMTPException | OSError | asyncio.TimeoutError):
                raise _meaning(error) from None
            raise
        self._idle.append(client)

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _client(self) -> aiosmtplib.SMTP:
        while self._idle:
            client = self._idle.pop()
            try:
                await client.noop(timeout=TIMEOUT_S)
            except (aiosmtplib.SMTPException, OSError):
                client.close()  # it was closed over there, for its long silence
            else:
                return client
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.tls,
            start_tls=server.must_upgrade,
            timeout=TIMEOUT_S,
        )
        try:
            await client.connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            client.close()
            raise Unreachable(_told(error)) from None
        return client


def _meaning(error: BaseException) -> Exception:
    match error:
        case aiosmtplib.SMTPSenderRefused():
            return Unreachable(_told(error))  # what is wrong is who we are
        case aiosmtplib.SMTPRecipientsRefused():
            return _by_code(error.recipients[0].code)
        case aiosmtplib.SMTPResponseException():
            return _by_code(error.code)
        case _:
            return Deferred(_told(error))  # perhaps this very letter breaks the connection


def _by_code(code: int) -> Exception:
    return Refused(str(code)) if 500 <= code < 600 else Deferred(str(code))


def _told(error: BaseException) -> str:
    code = getattr(error, "code", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__
