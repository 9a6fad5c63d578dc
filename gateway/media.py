"""Which of the forms of an answer the client would rather have (RFC 9110, Accept)."""

from aiohttp import web

JSON = "application/json"
PDF = "application/pdf"
CSV = "text/csv"
JSON_LINES = "application/x-ndjson"


def chosen(request: web.Request, *others: str) -> str:
    """One of `others` if it is asked for by name and not less than JSON, else JSON."""
    weight = _weights(request.headers.get("Accept", ""))
    json = weight.get(JSON, 0.0)
    best = max(others, key=lambda media: weight.get(media, 0.0))
    return best if weight.get(best, 0.0) > 0 and weight[best] >= json else JSON


def _weights(accept: str) -> dict[str, float]:
    weight: dict[str, float] = {}
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            weight[media] = float(quality)
        except ValueError:
            weight[media] = 0.0
    return weight
