"""The mails: those that were given up, for whoever is on call; and, in development, all of them.

Without a mail server development keeps its mails in a folder; `/dev/mail` shows them. A mail's HTML
is shown in a sandbox: nothing runs in it, and it loads nothing but its own pictures.
"""

import asyncio
import base64
import html
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from aiohttp import web
from msgspec import Struct

from gateway.http import answer, instant, page, page_cursor, page_limit
from gateway.mail.transport import KeptMail
from gateway.media import JSON, chosen
from gateway.problems import Problem, malformed
from gateway.routing import ADMINS, ANYONE, Route, ports_of

LISTED_MAX = 200
_HTML = "text/html"
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'"
_MAIL_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:44rem;padding:0 1rem}"


class DeadMailAnswer(Struct, frozen=True):
    mail_id: str
    kind: str
    subject: str
    event_id: str
    attempts: int
    error: str | None
    created_at: str


class MailLine(Struct, frozen=True):
    mail_id: str
    to: str
    subject: str
    kept_at: str


class MailAnswer(Struct, frozen=True):
    mail_id: str
    to: str
    subject: str
    headers: dict[str, str]
    text: str
    attachments: list[str]


async def list_dead(request: web.Request) -> web.Response:
    limit, cursor = page_limit(request), page_cursor(request) or "0"
    if not cursor.isdigit():
        raise malformed("cursor: take it from next_cursor as it is")
    found = await ports_of(request).outgoing.mails.dead(int(cursor), limit + 1)
    lines = [
        DeadMailAnswer(
            str(mail.mail_id),
            mail.kind,
            mail.subject,
            mail.event_id,
            mail.attempts,
            mail.error,
            instant(int(mail.created_at.timestamp() * 1000)),
        )
        for mail in found[:limit]
    ]
    return page(lines, lines[-1].mail_id if len(found) > limit else None)


async def try_again(request: web.Request) -> web.Response:
    text = request.match_info["mail_id"]
    known = text.isascii() and text.isdigit() and len(text) < 19
    if not (known and await ports_of(request).outgoing.mails.try_again(int(text))):
        raise _unknown()
    return answer({"mail_id": text, "state": "waiting"})


async def list_kept(request: web.Request) -> web.Response:
    kept = await asyncio.to_thread(_lines, _kept(request))
    if chosen(request, _HTML) == JSON:
        return answer({"items": kept, "next_cursor": None})
    rows = "".join(
        f'<li><a href="/dev/mail/{line.mail_id}">{html.escape(line.subject)}</a><br>'
        f"<small>{html.escape(line.to)}, {line.kept_at}</small></li>"
        for line in kept
    )
    return _page("Mail", f"<ul>{rows}</ul>" if rows else "<p>No mail yet.</p>")


async def read_kept(request: web.Request) -> web.Response:
    mail_id, message = await _message(request)
    if chosen(request, _HTML) == JSON:
        return answer(_answer(mail_id, message))
    head = "".join(
        f"<b>{name}:</b> {html.escape(str(message[name]))}<br>"
        for name in ("From", "To", "Subject", "Date", "Message-ID")
    )
    frame = (
        f'<iframe sandbox src="/dev/mail/{mail_id}/html" title="The mail"'
        ' style="width:100%;height:60rem;border:1px solid #ccc"></iframe>'
    )
    raw = f'<p><a href="/dev/mail">All mail</a>, <a href="/dev/mail/{mail_id}/raw">source</a></p>'
    return _page(str(message["Subject"]), f"<p>{head}</p>{raw}{frame}")


async def kept_html(request: web.Request) -> web.Response:
    """What the mail shows, its pictures inside it."""
    _, message = await _message(request)
    body = message.get_body(("html",))
    text: str = body.get_content() if body is not None else ""
    for part in message.walk():
        content_id = part["Content-ID"]
        if content_id is not None and part.get_content_type() == "image/png":
            picture = base64.b64encode(part.get_content()).decode()
            text = text.replace(f"cid:{content_id[1:-1]}", f"data:image/png;base64,{picture}")
    headers = {"Content-Security-Policy": _MAIL_POLICY, "X-Content-Type-Options": "nosniff"}
    return web.Response(text=text, content_type=_HTML, headers=headers)


async def kept_source(request: web.Request) -> web.Response:
    path = _path(request)
    content = await asyncio.to_thread(path.read_bytes)
    headers = {"X-Content-Type-Options": "nosniff"}
    return web.Response(body=content, content_type="message/rfc822", headers=headers)


def _kept(request: web.Request) -> KeptMail:
    return KeptMail(Path(ports_of(request).settings.mail_folder))


def _path(request: web.Request) -> Path:
    mail_id = request.match_info["mail_id"]
    path = _kept(request).find(mail_id) if mail_id.isalnum() and mail_id.isascii() else None
    if path is None:
        raise _unknown()
    return path


def _unknown() -> Problem:
    return Problem(404, "unknown_mail", "there is no such mail")


async def _message(request: web.Request) -> tuple[str, EmailMessage]:
    path = _path(request)
    return path.stem, _parsed(await asyncio.to_thread(path.read_bytes))


def _parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def _lines(kept: KeptMail) -> list[MailLine]:
    return [_line(path) for path in kept.newest()[:LISTED_MAX]]


def _line(path: Path) -> MailLine:
    message = _parsed(path.read_bytes())
    kept_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    at = instant(int(kept_at.timestamp() * 1000))
    return MailLine(path.stem, str(message["To"]), str(message["Subject"]), at)


def _answer(mail_id: str, message: EmailMessage) -> MailAnswer:
    text = message.get_body(("plain",))
    return MailAnswer(
        mail_id,
        str(message["To"]),
        str(message["Subject"]),
        {name: str(value) for name, value in message.items()},
        text.get_content() if text is not None else "",
        [part.get_filename() or "" for part in message.iter_attachments()],
    )


def _page(title: str, body: str) -> web.Response:
    shown = html.escape(title)
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{shown}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><h1>{shown}</h1>{body}</html>"
    )
    headers = {"Content-Security-Policy": _PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
    return web.Response(text=text, content_type=_HTML, headers=headers)


_KEPT = "/dev/mail/{mail_id}"

ROUTES = [
    Route(
        "GET",
        "/v1/dead-mails",
        list_dead,
        ADMINS,
        "Mails that were given up",
        answers={200: list[DeadMailAnswer]},
    ),
    Route(
        "POST",
        "/v1/dead-mails/{mail_id}/retry",
        try_again,
        ADMINS,
        "Try to send it again",
        answers={200: dict[str, str]},
    ),
    Route(
        "GET",
        "/dev/mail",
        list_kept,
        ANYONE,
        "The latest mails, where no mail server is set",
        development_only=True,
        answers={200: list[MailLine]},
        media=(JSON, _HTML),
    ),
    Route(
        "GET",
        _KEPT,
        read_kept,
        ANYONE,
        "A mail",
        development_only=True,
        answers={200: MailAnswer},
        media=(JSON, _HTML),
    ),
    Route(
        "GET",
        f"{_KEPT}/html",
        kept_html,
        ANYONE,
        "What it shows",
        development_only=True,
        answers={200: None},
        media=(_HTML,),
    ),
    Route(
        "GET",
        f"{_KEPT}/raw",
        kept_source,
        ANYONE,
        "Its source",
        development_only=True,
        answers={200: None},
        media=("message/rfc822",),
    ),
]
