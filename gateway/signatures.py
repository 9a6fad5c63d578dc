"""How webhooks are signed, in and out: `t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">`.

Stripe's scheme (https://docs.stripe.com/webhooks#verify-manually): the time is signed too, so an
old call can't be repeated later.
"""

import hashlib
import hmac


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    return hmac.new(secret, b"%d." % seconds + body, hashlib.sha256).hexdigest()


def signed(secret: bytes, seconds: int, body: bytes) -> str:
    """The header's value."""
    return f"t={seconds},v1={signature(secret, seconds, body)}"
