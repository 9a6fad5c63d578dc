"""A ticket for a phone's wallet, for whoever holds it now: it shows the ticket's token."""

import asyncio

from aiohttp import web
from msgspec import Struct

from engine.rejections import Rejection
from gateway.http import answer
from gateway.problems import Problem, refused
from gateway.routes.ticket_files import admitting, file_answer, occasion, shown, tier_name
from gateway.routes.tickets import TICKET
from gateway.routing import HOLDERS, Route, ports_of
from gateway.wallets.apple import MEDIA
from gateway.wallets.ticket import WalletTicket


class SaveLink(Struct, frozen=True):
    """For the holder alone: whoever follows it has the ticket."""

    save_url: str


async def apple_pass(request: web.Request) -> web.Response:
    passes = ports_of(request).wallets.apple
    if passes is None:
        raise _not_configured("Apple")
    ticket = await _ticket(request)
    if isinstance(ticket, Rejection):
        return refused(ticket)
    content = await asyncio.to_thread(passes.pass_of, ticket)
    return file_answer(content, MEDIA, f"{ticket.ticket_id}.pkpass")


async def google_link(request: web.Request) -> web.Response:
    ports = ports_of(request)
    wallet = ports.wallets.google
    if wallet is None:
        raise _not_configured("Google")
    ticket = await _ticket(request)
    if isinstance(ticket, Rejection):
        return refused(ticket)
    link = await asyncio.to_thread(wallet.link, ticket, ports.clock.now_ms() // 1000)
    return answer(SaveLink(link), headers={"Cache-Control": "private, no-store"})


async def _ticket(request: web.Request) -> WalletTicket | Rejection:
    held = await admitting(request)
    if isinstance(held, Rejection):
        return held
    told = await shown(request, *held)
    event, venue = await occasion(request, told.event_id)
    assert isinstance(told.token, str)
    tier = tier_name(event, told.tier_id)
    return WalletTicket(told.ticket_id, told.token, tier, told.attendee_name, event, venue)


def _not_configured(whose: str) -> Problem:
    return Problem(404, "wallet_not_configured", f"passes for {whose} Wallet are not made here")


ROUTES = [
    Route(
        "GET",
        f"{TICKET}/pass.pkpass",
        apple_pass,
        HOLDERS,
        "The ticket as a pass for Apple Wallet",
        answers={200: None},
        media=(MEDIA,),
    ),
    Route(
        "GET",
        f"{TICKET}/google-wallet",
        google_link,
        HOLDERS,
        "A link that puts the ticket into Google Wallet",
        answers={200: SaveLink},
    ),
]
