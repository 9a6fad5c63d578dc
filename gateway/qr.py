"""The QR code of a ticket: its content is the token's text, nothing else.

Making one costs some milliseconds, so it is made when somebody wants to see it, not on the loop's
time, and the latest are kept.
"""

import io
from functools import lru_cache

import segno

KEPT_MAX = 512
_SCALE = 8
_BORDER = 4  # modules: what scanners need around it


@lru_cache(maxsize=KEPT_MAX)
def qr_image(token: str, kind: str) -> bytes:
    """`kind`: "svg" or "png"."""
    image = io.BytesIO()
    _code(token).save(image, kind=kind, scale=_SCALE, border=_BORDER)
    return image.getvalue()


def qr_rows(token: str) -> tuple[bytes, ...]:
    """Modules from the top, 1 is dark; without the border."""
    return tuple(bytes(row) for row in _code(token).matrix)


def _code(token: str) -> segno.QRCode:
    return segno.make_qr(token, error="m")
