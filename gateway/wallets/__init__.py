"""Tickets in phones' wallets: Apple's by a signed pass, Google's by a signed link.

Either is there only where its papers are set. Nothing is kept or sent: what is signed is made when
its holder asks for it.
"""

from msgspec import Struct

from gateway.settings import Settings, SettingsError
from gateway.wallets.apple import ApplePasses
from gateway.wallets.google import GoogleWallet


class Wallets(Struct, frozen=True):
    apple: ApplePasses | None
    google: GoogleWallet | None


def wallets_of(settings: Settings) -> Wallets:
    """Raises SettingsError where papers can't be read or do not fit together."""
    certificate, intermediate = (
        settings.apple_pass_certificate,
        settings.apple_intermediate_certificate,
    )
    key, issuer = settings.google_wallet_key, settings.google_wallet_issuer
    for name, one, other in (
        ("STAMPEDE_APPLE_...", certificate, intermediate),
        ("STAMPEDE_GOOGLE_WALLET_...", key, issuer),
    ):
        if (one is None) != (other is None):
            raise SettingsError(f"settings {name}: both or none")
    return Wallets(
        ApplePasses.read(certificate, intermediate) if certificate and intermediate else None,
        GoogleWallet.read(key, issuer) if key and issuer else None,
    )
