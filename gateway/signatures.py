"""How webhooks are signed, in and out: `t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">`.

Stripe's scheme (https://docs.stripe.com/webhooks#verify-manually): the time is signed too, so an
old call can't be repeated later. While a secret is being changed there are several signatures, or
several secrets: one that fits is enough.
"""

import hashlib
import hmac
from collections.abc import Sequence

TOLERANCE_S = 300


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    return hmac.new(secret, b"%d." % seconds + body, hashlib.sha256).hexdigest()


def signed(secret: bytes, seconds: int, body: bytes) -> str:
    """The header's value."""
    return f"t={seconds},v1={signature(secret, seconds, body)}"


def is_signed(header: str, body: bytes, secrets: Sequence[bytes], now_s: float) -> bool:
    """Whether one of the secrets has signed the body, no longer ago than the tolerance."""
    parts = [part.partition("=") for part in header.split(",")]
    told = next((value for name, _, value in parts if name == "t"), "")
    if not (told.isascii() and told.isdigit() and len(told) < 12):
        return False
    given = [v.encode(errors="surrogateescape") for name, _, v in parts if name == "v1"]
    ours = [signature(secret, int(told), body).encode() for secret in secrets]
    fits = [hmac.compare_digest(one, other) for one in ours for other in given]
    return any(fits) and abs(now_s - int(told)) <= TOLERANCE_S
