"""Conveniences that do not exist in production mode."""

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from engine import ids
from engine.commands import Role
from gateway.auth import Principal
from gateway.http import Body, answer, decode, instant
from gateway.problems import malformed
from gateway.routing import ANYONE, Route, ports_of

TOKEN_LIFE_S = 24 * 60 * 60


class TokenBody(Body, frozen=True):
    role: Role
    subject: Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,128}$")]
    event_id: str | None = None
    profile: str | None = None


class TokenAnswer(Struct, frozen=True):
    token: str
    expires_at: str


async def issue_token(request: web.Request) -> web.Response:
    body = await decode(request, TokenBody)
    is_scanner = body.role is Role.SCANNER
    if is_scanner and (body.event_id is None or not ids.is_event(body.event_id)):
        raise malformed("event_id: a scanner's credential is for one event - at `$.event_id`")
    ports = ports_of(request)
    expires_at_s = ports.clock.now_ms() // 1000 + TOKEN_LIFE_S
    principal = Principal(
        body.role,
        body.subject,
        expires_at_s,
        body.event_id if is_scanner else None,
        is_scanner and body.profile == "supervisor",
    )
    token = ports.credentials.issue(principal)
    return answer(TokenAnswer(token, instant(expires_at_s * 1000)))


ROUTES = [
    Route(
        "POST",
        "/v1/dev/token",
        issue_token,
        ANYONE,
        "A credential for any role",
        TokenBody,
        development_only=True,
        answers={200: TokenAnswer},
    )
]
