"""Whose event it is: organizers work on their own events only, admins on all.

A device at the doors sees who bought what only as a supervisor's, and of its own event.
"""

from aiohttp import web

from engine.commands import Role
from engine.rejections import Reason, Rejection
from gateway.routing import ports_of, principal_of


async def refuse_stranger(request: web.Request, event_id: str) -> Rejection | None:
    """Why this organizer or device may not look at who bought what, or None."""
    event = await ports_of(request).catalogue.event(event_id)
    if isinstance(event, Rejection):
        return event
    principal = principal_of(request)
    caller = principal.caller
    if caller.role is Role.SCANNER and not (
        principal.supervisor and principal.event_id == event_id
    ):
        return Rejection(Reason.NOT_THE_ORGANIZER)
    if caller.role is Role.ORGANIZER and caller.subject != event.organizer_id:
        return Rejection(Reason.NOT_THE_ORGANIZER)
    return None
