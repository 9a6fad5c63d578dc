"""Films for Chromium's fake camera: uncompressed, a few frames of one QR code, over and over."""

from gateway.qr import qr_rows

_WIDTH, _HEIGHT = 640, 480
_BORDER = 4  # modules
_FRAMES = 3
_WHITE, _BLACK = 235, 16
_GREY = bytes([128]) * (_WIDTH * _HEIGHT // 2)  # both planes of colour, at a quarter each


def code(text: str) -> bytes:
    """A QR code as large as the frame is high."""
    rows = qr_rows(text)
    size = _HEIGHT // (len(rows) + 2 * _BORDER)
    margin = bytes([_WHITE])
    picture = []
    for row in rows:
        dark = b"".join(bytes([_BLACK if module else _WHITE]) * size for module in row)
        left = (_WIDTH - len(dark)) // 2
        line = margin * left + dark + margin * (_WIDTH - left - len(dark))
        picture.extend([line] * size)
    above = (_HEIGHT - len(picture)) // 2
    empty = margin * _WIDTH
    below = _HEIGHT - above - len(picture)
    return _film(b"".join([empty] * above + picture + [empty] * below))


def blank() -> bytes:
    return _film(bytes([_WHITE]) * (_WIDTH * _HEIGHT))


def _film(luma: bytes) -> bytes:
    head = f"YUV4MPEG2 W{_WIDTH} H{_HEIGHT} F15:1 Ip A1:1 C420mpeg2\n".encode()
    return head + (b"FRAME\n" + luma + _GREY) * _FRAMES
