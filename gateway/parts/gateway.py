"""The part that answers HTTP."""

import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta

import aiohttp

from engine.runtime.mailbox import NearestMailbox
from engine.runtime.ports import Postbox
from engine.runtime.remote import RemoteMailbox
from engine.runtime.supervisor import Supervisor
from gateway import launcher, telemetry
from gateway.app import EDGE, build
from gateway.archive import Archive
from gateway.auth import Credentials
from gateway.chores import Chores
from gateway.devices import Fleet, Secrets
from gateway.express import Lane, serve
from gateway.parts.payments import provider_of
from gateway.parts.process import Process
from gateway.payments.asking import Payments
from gateway.ports import Finding, Outgoing, Ports, Readiness
from gateway.rates import Guesses
from gateway.routes import ROUTES
from gateway.wallets import wallets_of
from persistence.booking_desk import BookingDesk
from persistence.catalogue import Catalogue
from persistence.devices import Devices
from persistence.hire import Hire
from persistence.intents import Intents
from persistence.outgoing.mails import MailBooks
from persistence.outgoing.webhooks import Webhooks
from persistence.reading import Projections
from persistence.refunds import Refunds
from persistence.search import assembly
from persistence.search.postgres import SESSION
from persistence.search.showing import CatalogueShowings
from persistence.search.tastes import AttendedTastes
from persistence.search.trending import RedisTrending
from persistence.settlement import Settlements
from persistence.snapshots import RedisSaleViews
from persistence.tokens import Tokens


def reach_owners(process: Process) -> RemoteMailbox:
    """Calls to shards that other processes own."""
    remote = RemoteMailbox(
        streams=process.streams,
        clock=process.clock,
        observer=process.observer,
        gateway=process.name.incarnation,
        shards=process.settings.shards,
        scan_wait_s=process.settings.scan_wait_seconds,
    )
    telemetry.REMOTE.set_function(lambda: remote.depth)
    process.do_until_the_end("remote mailbox", remote.run())
    return remote


async def start_gateway(
    process: Process,
    listen_fd: int | None,
    remote: RemoteMailbox,
    supervisor: Supervisor | None,
    readiness: Callable[[], Awaitable[Readiness]],
) -> None:
    """`supervisor`: of the shards that this very process owns."""
    settings, needs, pool = process.settings, process.needs, process.edge_pool
    mailbox: Postbox = remote if supervisor is None else NearestMailbox(supervisor, remote)
    listening = (
        launcher.listen(settings.http_host, settings.http_port)
        if listen_fd is None
        else socket.socket(fileno=listen_fd)
    )
    http = await process.stack.enter_async_context(aiohttp.ClientSession())
    projections = Projections(pool)
    hire = Hire(process.clock, timedelta(days=settings.booking_request_days))
    ports = Ports(
        settings=settings,
        clock=process.clock,
        credentials=Credentials(needs.token_secret),
        mailbox=Archive(mailbox, projections, process.clock),
        catalogue=Catalogue(pool, mailbox, hire),
        bookings=BookingDesk(pool, mailbox, hire),
        sale_views=RedisSaleViews(process.redis, settings.shards),
        projections=projections,
        payments=Payments(
            provider_of(settings, needs.webhook_secret, pool, http, listening, process.stack),
            Intents(pool),
            Refunds(pool),
        ),
        settlements=Settlements(pool),
        finding=await _finding(process),
        outgoing=Outgoing(MailBooks(pool), Webhooks(pool)),
        tokens=Tokens(pool),
        wallets=wallets_of(settings),
        guesses=Guesses(process.clock, limited=settings.rate_limits == "on"),
        fleet=Fleet(Devices(pool), Secrets(needs.token_secret), process.clock),
    )
    app = build(ports, readiness)
    await serve(process.stack, app, listening, Lane(app[EDGE], mailbox, ROUTES))
    for chore in Chores(ports).all():
        process.do_until_the_end("chore", chore)


async def _finding(process: Process) -> Finding:
    """On connections of its own: a slow search never holds one that a sale needs."""
    pool = await process.pool("search", **SESSION, statement_timeout="3s")
    server = process.search_server()
    return Finding(
        index=assembly.index(pool, server, telemetry.search_failed, process.stack),
        showings=CatalogueShowings(pool),
        tastes=AttendedTastes(pool),
        trending=RedisTrending(pool, process.redis),
    )
