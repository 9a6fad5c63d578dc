"""What leaves the edge, whichever way it goes out."""

from aiohttp import web
from msgspec import Struct

REPLAYED_HEADER = "Idempotency-Replayed"
CODE = web.ResponseKey("code", str)  # a problem's code, for the request's log line


class Answer(Struct, frozen=True, gc=False):
    """What leaves by either way out: as an aiohttp response, or written as it is."""

    status: int
    body: bytes
    content_type: str = "application/json"
    code: str = ""  # a problem's
    retry_after_s: int | None = None
    replayed: bool = False

    def response(self) -> web.Response:
        response = web.Response(body=self.body, status=self.status, content_type=self.content_type)
        if self.code:
            response[CODE] = self.code
        if self.retry_after_s is not None:
            response.headers["Retry-After"] = str(self.retry_after_s)
        if self.replayed:
            response.headers[REPLAYED_HEADER] = "true"
        return response
