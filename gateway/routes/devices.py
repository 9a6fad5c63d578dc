"""The devices at the doors of an event: invited by a code, enrolled once, revoked at once."""

import asyncio
import io
import time
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import segno
from aiohttp import web
from msgspec import Meta, Struct

from engine.catalogue import Stored, from_ms, to_ms
from engine.commands import Role
from engine.fleet import Device, Profile
from engine.rejections import Rejection
from gateway.answers import REPLAYED_HEADER
from gateway.auth import Principal, forbidden
from gateway.catalogue import id_once, once, refuse_body, respond_page
from gateway.devices import code_digest
from gateway.http import (
    KEY_HEADER,
    Body,
    answer,
    decode,
    decode_bytes,
    instant,
    page_cursor,
    page_limit,
    unknown,
)
from gateway.ownership import refuse_stranger
from gateway.ports import Ports
from gateway.problems import Problem, refused
from gateway.rates import Rate, RateLimiter
from gateway.routing import ANYONE, ORGANIZERS, Route, ports_of, principal_of

CODE_LIFE = timedelta(hours=24)
CREDENTIAL_LIFE = timedelta(days=30)  # after the event's end, for what is told late
ENROLLING = Rate(per_second=1, burst=20)  # of one address
_QR_SCALE = 6

Label = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]


class NewDevice(Body, frozen=True):
    name: Label
    gate: Label | None = None
    profile: Profile = Profile.SCAN


class EnrolBody(Body, frozen=True):
    code: Annotated[str, Meta(min_length=1, max_length=64)]


class DeviceAnswer(Struct, frozen=True):
    device_id: str
    event_id: str
    name: str
    gate: str | None
    profile: Profile
    status: str
    created_at: str
    code_expires_at: str
    enrolled_at: str | None
    revoked_at: str | None
    last_seen_at: str | None
    battery: float | None
    queued: int | None
    clock_offset_ms: int | None


class Invitation(DeviceAnswer, frozen=True):
    """`code`: shown this once. `qr_svg`: as a picture, of the scanner page's address with the code
    behind `#` where that address is known, else of the code.
    """

    code: str
    qr_svg: str


class Enrolment(Struct, frozen=True):
    """`event_public_key`: raw Ed25519, base64url."""

    device_id: str
    token: str
    event_public_key: str
    event_id: str
    name: str
    gate: str | None
    profile: Profile
    expires_at: str


async def invite(request: web.Request) -> web.Response:
    principal, event_id = principal_of(request), request.match_info["event_id"]
    raw = await request.read()
    body = decode_bytes(raw, NewDevice)
    refusal = await refuse_stranger(request, event_id)
    if refusal is not None:
        return refused(refusal)
    ports = ports_of(request)
    first = once(request, raw, principal, _shown, 201)
    now = from_ms(ports.clock.now_ms())
    device = Device(
        id_once("dev", first), event_id, body.name, body.gate, body.profile, now + CODE_LIFE, now
    )
    digest = code_digest(ports.fleet.secrets.code(device.device_id))
    made = await ports.fleet.books.add(device, digest, first)
    if isinstance(made, Rejection):
        return refused(made)
    if isinstance(made, Stored):
        shown = msgspec.json.decode(made.body, type=DeviceAnswer)
        return answer(await _invitation(shown, ports), 201, {REPLAYED_HEADER: "true"})
    return answer(await _invitation(_shown(made), ports), 201)


async def _invitation(shown: DeviceAnswer, ports: Ports) -> Invitation:
    code = ports.fleet.secrets.code(shown.device_id)
    public_url = ports.settings.public_url
    picture = await asyncio.to_thread(_qr_svg, f"{public_url}/door#{code}" if public_url else code)
    return Invitation(**msgspec.structs.asdict(shown), code=code, qr_svg=picture)


def _qr_svg(text: str) -> str:
    image = io.BytesIO()
    segno.make_qr(text, error="m").save(image, kind="svg", scale=_QR_SCALE, xmldecl=False)
    return image.getvalue().decode()


async def enrol(request: web.Request) -> web.Response:
    ports = ports_of(request)
    body = await decode(request, EnrolBody)
    if ports.settings.rate_limits == "on":
        _refuse_guessing(ports.fleet.enrolling, request.remote or "")
    digest = code_digest(body.code)
    event_id = await ports.fleet.books.event_by_code(digest)
    event = await ports.catalogue.event(event_id or "")
    if isinstance(event, Rejection):
        return unknown("code")
    now = from_ms(ports.clock.now_ms())
    key = request.headers.get(KEY_HEADER)
    under = code_digest(key) if key else None
    until = _whole_second(max(event.end_time, now) + CREDENTIAL_LIFE)
    device = await ports.fleet.books.enrol(digest, under, now, until)
    if isinstance(device, Rejection):
        return refused(device)
    replayed = {REPLAYED_HEADER: "true"} if device.enrolled_at != now else None
    token = ports.credentials.issue(_principal(device))
    public_key = ports.fleet.secrets.event_public_key(device.event_id)
    return answer(
        Enrolment(
            device.device_id,
            token,
            public_key,
            device.event_id,
            device.name,
            device.gate,
            device.profile,
            instant(_expires_at_s(device) * 1000),
        ),
        201,
        replayed,
    )


def _refuse_guessing(limiter: RateLimiter, address: str) -> None:
    wait_s = limiter.wait_s(address, ENROLLING, time.monotonic())
    if wait_s:
        raise Problem(
            429,
            "rate_limited",
            f"at most {ENROLLING.burst} codes at once from one address",
            retryable=True,
            retry_after_s=int(wait_s) + 1,
        )


def _principal(device: Device) -> Principal:
    return Principal(
        Role.SCANNER,
        device.device_id,
        _expires_at_s(device),
        device.event_id,
        device.profile is Profile.SUPERVISOR,
        enrolled=True,
        gate=device.gate,
    )


def _whole_second(when: datetime) -> datetime:
    return when.replace(microsecond=0)


def _expires_at_s(device: Device) -> int:
    assert device.expires_at is not None
    return to_ms(device.expires_at) // 1000


async def devices(request: web.Request) -> web.Response:
    event_id, limit = request.match_info["event_id"], page_limit(request)
    refusal = await refuse_stranger(request, event_id)
    if refusal is not None:
        return refused(refusal)
    books, after = ports_of(request).fleet.books, page_cursor(request) or ""
    found = await books.of_event(event_id, after, limit + 1)
    return respond_page(found, limit, _shown, lambda device: device.device_id)


async def revoke(request: web.Request) -> web.Response:
    refuse_body(await request.read())
    ports = ports_of(request)
    device = await ports.fleet.books.device(request.match_info["device_id"])
    if device is None:
        return unknown("device")
    refusal = await refuse_stranger(request, device.event_id)
    if refusal is not None:
        raise forbidden("this device works for another organizer's event")
    await ports.fleet.books.revoke(device.device_id, from_ms(ports.clock.now_ms()))
    return web.Response(status=204)


def _shown(device: Device) -> DeviceAnswer:
    return DeviceAnswer(
        device.device_id,
        device.event_id,
        device.name,
        device.gate,
        device.profile,
        _status(device),
        _text(device.created_at) or "",
        _text(device.code_expires_at) or "",
        _text(device.enrolled_at),
        _text(device.revoked_at),
        _text(device.seen_at),
        round(device.battery, 3) if device.battery is not None else None,
        device.queued,
        device.clock_offset_ms,
    )


def _status(device: Device) -> str:
    if device.revoked_at is not None:
        return "REVOKED"
    return "ENROLLED" if device.enrolled_at is not None else "INVITED"


def _text(when: datetime | None) -> str | None:
    return instant(to_ms(when)) if when is not None else None


ROUTES = [
    Route(
        "POST",
        "/v1/events/{event_id}/devices",
        invite,
        ORGANIZERS,
        "Invite a device, by a code that is good once",
        NewDevice,
        answers={201: Invitation},
    ),
    Route(
        "GET",
        "/v1/events/{event_id}/devices",
        devices,
        ORGANIZERS,
        "The devices of an event, and how they are",
        answers={200: list[DeviceAnswer]},
    ),
    Route(
        "POST",
        "/v1/devices/enrol",
        enrol,
        ANYONE,
        "Enrol a device by its code",
        EnrolBody,
        answers={201: Enrolment},
    ),
    Route(
        "DELETE",
        "/v1/devices/{device_id}",
        revoke,
        ORGANIZERS,
        "Revoke a device, everywhere within a second",
        answers={204: None},
    ),
]
