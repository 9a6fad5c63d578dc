"""A real SMTP server for the tests, which keeps what it takes and refuses as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope

TAKEN = "250 taken"


class PostOffice:
    """`answer`: what it says to a recipient's address, at DATA."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, EmailMessage]] = []
        self.tried: list[str] = []
        self.answer: Callable[[str], str] = lambda address: TAKEN
        self.url = ""

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        (recipient,) = envelope.rcpt_tos
        self.tried.append(recipient)
        answer = self.answer(recipient)
        if answer == TAKEN:
            assert isinstance(envelope.content, bytes)
            message = message_from_bytes(envelope.content, policy=default)
            assert isinstance(message, EmailMessage)
            self.letters.append((recipient, message))
        return answer

    def to(self, address: str) -> list[EmailMessage]:
        return [message for recipient, message in self.letters if recipient == address]

    @asynccontextmanager
    async def open(self, port: int = 0) -> AsyncIterator["PostOffice"]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(self, hostname="localhost", loop=loop, data_size_limit=50_000_000),
            "127.0.0.1",
            port,
        )
        self.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
