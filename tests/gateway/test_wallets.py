"""Tickets in phones' wallets: what is signed can be checked by anybody, and only holders get it."""

import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey
from PIL import Image

from gateway.settings import Settings, SettingsError
from gateway.wallets import wallets_of
from tests.server import running
from tests.shop import Shop

on_a_server = pytest.mark.asyncio(loop_scope="module")

PASS_TYPE, TEAM, ISSUER = "pass.org.example.tickets", "TEAM123456", "3388000000012345678"


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate(
    names: dict[x509.ObjectIdentifier, str],
    key: rsa.RSAPrivateKey,
    above: tuple[x509.Name, rsa.RSAPrivateKey] | None = None,
) -> x509.Certificate:
    """Without anybody above, an authority that has signed itself."""
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in names.items()])
    issuer, signer = above or (subject, key)
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=above is None, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )


class Papers:
    """What an installation has from Apple and Google, of our own making."""

    def __init__(self, folder: Path) -> None:
        above, own, self.google = _key(), _key(), _key()
        authority = _certificate({NameOID.COMMON_NAME: "Authority"}, above)
        names = {
            NameOID.USER_ID: PASS_TYPE,
            NameOID.ORGANIZATIONAL_UNIT_NAME: TEAM,
            NameOID.ORGANIZATION_NAME: "Example Tickets",
        }
        signer = _certificate(names, own, (authority.subject, above))
        self.authority = folder / "authority.pem"
        self.certificate = folder / "pass.pem"
        self.account = folder / "account.json"
        pem = serialization.Encoding.PEM
        self.authority.write_bytes(authority.public_bytes(pem))
        self.certificate.write_bytes(signer.public_bytes(pem) + _pem(own))
        account = {
            "type": "service_account",
            "client_email": "wallet@example.iam.gserviceaccount.com",
            "private_key_id": "key-1",
            "private_key": _pem(self.google).decode(),
        }
        self.account.write_text(json.dumps(account))

    def settings(self, prefix: str = "") -> dict[str, str]:
        named = {
            "apple_pass_certificate": str(self.certificate),
            "apple_intermediate_certificate": str(self.authority),
            "google_wallet_key": str(self.account),
            "google_wallet_issuer": ISSUER,
        }
        return {(prefix + n).upper() if prefix else n: value for n, value in named.items()}


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    folder = tmp_path_factory.mktemp("wallets") / "data"
    async with (
        running(folder, papers.settings("STAMPEDE_")) as server,
        aiohttp.ClientSession() as http,
    ):
        yield Shop(server.url, http)


async def _ticket(house: Shop) -> dict[str, Any]:
    event_id, (tier_id,) = await house.on_sale({"name": "VIP"}, title="Rock & Röll")
    attendees = [{"name": "Ann Ängström"}]
    placed = await house.order(event_id, tier_id, attendees=attendees)
    await house.pay(placed.body["order_id"])
    (ticket,) = (await house.read(placed.body["order_id"]))["tickets"]
    found: dict[str, Any] = ticket
    return found


@on_a_server
async def test_a_pass_is_signed_by_its_certificate_and_shows_the_token(
    house: Shop, papers: Papers, tmp_path: Path
) -> None:
    ticket = await _ticket(house)
    path = f"/v1/tickets/{ticket['ticket_id']}/pass.pkpass"
    got = await house.call("GET", path, token=await house.token("buyer", "ann"))
    assert (got.status, got.headers["Content-Type"]) == (200, "application/vnd.apple.pkpass")
    assert got.headers["Cache-Control"] == "private, no-store"
    packed = zipfile.ZipFile(io.BytesIO(got.body))
    files = {name: packed.read(name) for name in packed.namelist()}
    manifest, signature = files.pop("manifest.json"), files.pop("signature")
    assert json.loads(manifest) == {n: hashlib.sha1(c).hexdigest() for n, c in files.items()}

    (tmp_path / "manifest.json").write_bytes(manifest)
    (tmp_path / "signature").write_bytes(signature)
    assert _verified(tmp_path, papers.authority)
    (tmp_path / "manifest.json").write_bytes(manifest + b" ")
    assert not _verified(tmp_path, papers.authority), "negative control"

    described = json.loads(files["pass.json"])
    assert (described["passTypeIdentifier"], described["teamIdentifier"]) == (PASS_TYPE, TEAM)
    assert described["serialNumber"] == ticket["ticket_id"]
    (code,) = described["barcodes"]
    assert (code["format"], code["message"]) == ("PKBarcodeFormatQR", ticket["token"])
    shown = described["eventTicket"]
    assert shown["primaryFields"][0]["value"] == "Rock & Röll"
    assert [field["value"] for field in shown["auxiliaryFields"]] == ["VIP", "Ann Ängström"]
    for name, side in (("icon.png", 29), ("icon@2x.png", 58)):
        assert Image.open(io.BytesIO(files[name])).size == (side, side)


def _verified(folder: Path, authority: Path) -> bool:
    """By OpenSSL, which has no part in making it."""
    asked = ["openssl", "smime", "-verify", "-inform", "DER", "-in", "signature"]
    asked += ["-content", "manifest.json", "-CAfile", str(authority), "-purpose", "any"]
    told = subprocess.run(asked, cwd=folder, capture_output=True, check=False)
    return told.returncode == 0


@on_a_server
async def test_a_link_for_google_is_signed_by_the_service_account(
    house: Shop, papers: Papers
) -> None:
    ticket = await _ticket(house)
    path = f"/v1/tickets/{ticket['ticket_id']}/google-wallet"
    got = await house.call("GET", path, token=await house.token("buyer", "ann"))
    assert got.status == 200
    start, _, token = got.body["save_url"].rpartition("/")
    assert start == "https://pay.google.com/gp/v/save"
    public = RSAKey.import_key(
        papers.google.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    told = jwt.decode(token, public, algorithms=["RS256"])
    assert told.header["kid"] == "key-1"
    assert (told.claims["aud"], told.claims["typ"]) == ("google", "savetowallet")
    (event,) = told.claims["payload"]["eventTicketClasses"]
    (shown,) = told.claims["payload"]["eventTicketObjects"]
    assert event["id"] == shown["classId"] == f"{ISSUER}.{ticket['event_id']}"
    assert shown["barcode"] == {"type": "QR_CODE", "value": ticket["token"]}
    assert shown["ticketHolderName"] == "Ann Ängström"


@on_a_server
async def test_only_who_holds_a_good_ticket_gets_it_into_a_wallet(house: Shop) -> None:
    ticket = await _ticket(house)
    ann, ben = await house.token("buyer", "ann"), await house.token("buyer", "ben")
    for file in ("pass.pkpass", "google-wallet"):
        path = f"/v1/tickets/{ticket['ticket_id']}/{file}"
        assert (await house.call("GET", path)).code == "unauthenticated"
        assert (await house.call("GET", path, token=ben)).code == "unknown_ticket"
        organizer = await house.organize("GET", path)
        assert (organizer.status, organizer.code) == (403, "forbidden")
    given = await house.call(
        "POST",
        f"/v1/tickets/{ticket['ticket_id']}/transfer",
        {"attendee_name": "Ben", "attendee_email": "ben@example.org", "buyer_id": "ben"},
        token=ann,
        key=uuid4().hex,
    )
    assert given.status == 201
    for file in ("pass.pkpass", "google-wallet"):
        old = f"/v1/tickets/{ticket['ticket_id']}/{file}"
        new = f"/v1/tickets/{given.body['ticket_id']}/{file}"
        assert (await house.call("GET", old, token=ann)).code == "ticket_not_valid"
        assert (await house.call("GET", new, token=ann)).code == "forbidden"
        assert (await house.call("GET", new, token=ben)).status == 200


@pytest.mark.asyncio(loop_scope="session")
async def test_without_papers_there_are_no_passes(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    for file in ("pass.pkpass", "google-wallet"):
        path = f"/v1/tickets/{ticket['ticket_id']}/{file}"
        got = await shop.call("GET", path, token=await shop.token("buyer", "ann"))
        assert (got.status, got.code) == (404, "wallet_not_configured")


def test_papers_that_do_not_fit_stop_the_start(papers: Papers, tmp_path: Path) -> None:
    good = papers.settings()
    assert wallets_of(Settings(**good)).apple is not None  # type: ignore[arg-type]
    wrong_key = tmp_path / "wrong.pem"
    own = papers.certificate.read_bytes().partition(b"-----BEGIN PRIVATE")[0]
    wrong_key.write_bytes(own + _pem(_key()))
    for change in (
        {"apple_intermediate_certificate": None},
        {"apple_pass_certificate": str(wrong_key)},
        {"apple_pass_certificate": str(tmp_path / "none.pem")},
        {"google_wallet_issuer": None},
        {"google_wallet_key": str(wrong_key)},
    ):
        with pytest.raises(SettingsError):
            wallets_of(Settings(**{**good, **change}))  # type: ignore[arg-type]
