"""Apple Wallet passes: a zip of pass.json, pictures, their SHA-1 and a detached PKCS #7 signature.

https://developer.apple.com/documentation/walletpasses/building-a-pass. The pass type and the team
stand in the certificate that Apple has issued (UID and OU of its subject), so they are no settings.
"""

import hashlib
import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from gateway.phrases import clean, place
from gateway.settings import SettingsError
from gateway.wallets.ticket import WalletTicket

MEDIA = "application/vnd.apple.pkpass"
_ICON_SIDES = {"icon.png": 29, "icon@2x.png": 58, "icon@3x.png": 87}
_INK = (28, 32, 38)
_DATE = (2000, 1, 1, 0, 0, 0)  # of the files in the zip: it tells nobody anything


class ApplePasses:
    """Signs passes of one pass type."""

    def __init__(
        self, certificate: x509.Certificate, key: RSAPrivateKey, intermediate: x509.Certificate
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._intermediate = intermediate
        self._pass_type = _named(certificate, NameOID.USER_ID)
        self._team = _named(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
        self._organization = _named(certificate, NameOID.ORGANIZATION_NAME)

    @classmethod
    def read(cls, path: str, intermediate_path: str) -> Self:
        """`path`: PEM, the pass type's certificate and its private key; the other one, Apple's own
        (WWDR). Raises SettingsError.
        """
        try:
            papers = Path(path).read_bytes()
            certificate = x509.load_pem_x509_certificate(papers)
            key = serialization.load_pem_private_key(papers, None)
            between = x509.load_pem_x509_certificate(Path(intermediate_path).read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(f"setting STAMPEDE_APPLE_PASS_CERTIFICATE: {error}") from None
        if not isinstance(key, RSAPrivateKey) or key.public_key() != certificate.public_key():
            raise SettingsError("setting STAMPEDE_APPLE_PASS_CERTIFICATE: the key is not its own")
        return cls(certificate, key, between)

    def pass_of(self, ticket: WalletTicket) -> bytes:
        """The .pkpass file: some milliseconds of CPU."""
        files = {"pass.json": msgspec.json.encode(self._described(ticket))}
        files |= {name: _square(side, _INK) for name, side in _ICON_SIDES.items()}
        digests = {name: hashlib.sha1(content).hexdigest() for name, content in files.items()}
        files["manifest.json"] = msgspec.json.encode(digests)
        files["signature"] = self._signature(files["manifest.json"])
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name, _DATE), content)
        return packed.getvalue()

    def _signature(self, manifest: bytes) -> bytes:
        return (
            pkcs7.PKCS7SignatureBuilder()
            .set_data(manifest)
            .add_signer(self._certificate, self._key, hashes.SHA256())
            .add_certificate(self._intermediate)
            .sign(
                serialization.Encoding.DER,
                [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary],
            )
        )

    def _described(self, ticket: WalletTicket) -> dict[str, object]:
        event, venue = ticket.event, ticket.venue
        title, starts = clean(event.title), event.start_time.isoformat()
        described: dict[str, object] = {
            "formatVersion": 1,
            "passTypeIdentifier": self._pass_type,
            "teamIdentifier": self._team,
            "organizationName": self._organization,
            "serialNumber": ticket.ticket_id,
            "description": title,
            "relevantDate": starts,
            "expirationDate": event.end_time.isoformat(),
            "sharingProhibited": True,
            "foregroundColor": "rgb(255, 255, 255)",
            "backgroundColor": f"rgb{_INK}",
            "barcodes": [
                {
                    "format": "PKBarcodeFormatQR",
                    "message": ticket.token,
                    "messageEncoding": "iso-8859-1",
                }
            ],
            "eventTicket": {
                "primaryFields": [{"key": "event", "label": "EVENT", "value": title}],
                "secondaryFields": [
                    {"key": "venue", "label": "VENUE", "value": place(venue)},
                    {
                        "key": "starts",
                        "label": "STARTS",
                        "value": starts,
                        "dateStyle": "PKDateStyleMedium",
                        "timeStyle": "PKDateStyleShort",
                    },
                ],
                "auxiliaryFields": [
                    {"key": "tier", "label": "TICKET", "value": clean(ticket.tier)},
                    *_holder(ticket),
                ],
                "backFields": [{"key": "id", "label": "Ticket", "value": ticket.ticket_id}],
            },
        }
        if venue.latitude is not None and venue.longitude is not None:
            described["locations"] = [{"latitude": venue.latitude, "longitude": venue.longitude}]
        return described


def _holder(ticket: WalletTicket) -> list[dict[str, str]]:
    if ticket.holder is None:
        return []
    return [{"key": "holder", "label": "NAME", "value": clean(ticket.holder)}]


def _named(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    """Raises SettingsError."""
    found = certificate.subject.get_attributes_for_oid(oid)
    if not found:
        raise SettingsError(f"setting STAMPEDE_APPLE_PASS_CERTIFICATE: no {oid._name} in it")
    return str(found[0].value)


def _square(side: int, ink: tuple[int, int, int]) -> bytes:
    """A PNG of one colour (https://www.w3.org/TR/png-3/): a pass must have an icon."""
    rows = (b"\0" + bytes(ink) * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
