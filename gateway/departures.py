"""What leaves the house, and from where: mails and webhooks, beside the projector.

With `gateway/node.py` part of the composition root. Making a mail takes some ten milliseconds a
ticket, so none is made in a process that sells.
"""

import asyncio
from email.utils import parseaddr
from pathlib import Path

import asyncpg

from engine.runtime.ports import Observer
from engine.runtime.remote import RemoteMailbox
from gateway.archive import Archive
from gateway.clock import SystemClock
from gateway.mail.composing import Composer
from gateway.mail.sender import Patience, Sender
from gateway.mail.smtp import SmtpTransport, smtp_server
from gateway.mail.transport import KeptMail, Transport
from gateway.settings import Settings, SettingsError
from gateway.webhooks.calling import Caller, Persistence
from persistence.outgoing.mails import MailOutbox, send_alone
from persistence.outgoing.webhooks import Deliveries, call_alone
from persistence.reading import Projections
from persistence.search.showing import CatalogueShowings
from persistence.streams import RedisStreams, connect
from persistence.transactions import session

_TIDY_EVERY_S = 60.0


async def depart(settings: Settings, incarnation: str, observer: Observer) -> None:
    """For ever; `incarnation` is this life of this process."""
    database_url, redis_url = settings.database_url, settings.redis_url
    assert database_url is not None and redis_url is not None
    clock = SystemClock()
    redis = connect(redis_url)
    pool = await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=4,
        timeout=5,
        command_timeout=10,
        server_settings=session("departures"),
    )
    remote = RemoteMailbox(
        streams=RedisStreams(redis),
        clock=clock,
        observer=observer,
        gateway=f"{incarnation}-departures",
        shards=settings.shards,
    )
    projections = Projections(pool)
    composer = Composer(
        Archive(remote, projections, clock),
        projections,
        CatalogueShowings(pool),
        clock,
        settings.mail_from,
    )
    transport = mail_transport(settings)

    async def send(outbox: MailOutbox) -> None:
        if transport is None:
            await _keep_tidy(outbox)
        else:
            await Sender(outbox, composer, transport, Patience()).run()

    async def call(deliveries: Deliveries) -> None:
        localhost = settings.webhooks_reach_localhost
        await Caller(deliveries, Persistence(), localhost=localhost).run()

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(remote.run(), name="remote mailbox")
            tasks.create_task(send_alone(database_url, send), name="mail")
            tasks.create_task(call_alone(database_url, call), name="webhooks")
    finally:
        pool.terminate()
        await redis.aclose()


def mail_transport(settings: Settings) -> Transport | None:
    """None: a real shop without a mail server keeps its mails waiting. Raises SettingsError."""
    if settings.smtp_url is not None:
        try:
            server = smtp_server(settings.smtp_url)
        except ValueError as error:
            raise SettingsError(f"setting SMTP_URL: {error}") from None
        return SmtpTransport(server, parseaddr(settings.mail_from)[1])
    if settings.production:
        return None
    return KeptMail(Path(settings.mail_folder))


async def _keep_tidy(outbox: MailOutbox) -> None:
    while True:
        await outbox.tidy()
        await asyncio.sleep(_TIDY_EVERY_S)
