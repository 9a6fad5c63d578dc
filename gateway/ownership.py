"""Whose event it is: organizers work on their own events only, admins on all."""

from aiohttp import web

from engine.commands import Role
from engine.rejections import Reason, Rejection
from gateway.routing import ports_of, principal_of


async def refuse_stranger(request: web.Request, event_id: str) -> Rejection | None:
    """Why an organizer may not look at this event, or None."""
    event = await ports_of(request).catalogue.event(event_id)
    if isinstance(event, Rejection):
        return event
    caller = principal_of(request).caller
    if caller.role is Role.ORGANIZER and caller.subject != event.organizer_id:
        return Rejection(Reason.NOT_THE_ORGANIZER)
    return None
