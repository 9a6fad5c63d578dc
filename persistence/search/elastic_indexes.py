"""The indexes behind one alias on Elasticsearch: made, written to, and replaced without a pause.

Searches go by the alias; each index has a name of its own, never used again. A document carries its
version with it (`external`), so a late one never wins, and what may not be found is kept, marked
so: a deleted document's version would be forgotten.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from elastic_transport import AiohttpHttpNode, ApiResponseMeta, HttpHeaders
from elastic_transport._node import NodeApiResponse
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError, TransportError

from engine import wording
from engine.catalogue import to_ms
from engine.finding import Document
from persistence.search import texts
from persistence.search.elastic import Json
from persistence.search.fallback import SearchUnavailable
from persistence.search.writing import NO_PRICE

ALIAS = "stampede-events"
REFRESH = "500ms"
TIMEOUT_S = 10.0
_CONFLICT = 409

_WORDS = {"type": "keyword", "doc_values": False}
_SORTED = {"type": "keyword"}
_AMOUNT = {"type": "long"}
_FLAG = {"type": "boolean"}

BODY: Json = {
    "settings": {
        "number_of_shards": 1,
        "number_of_replicas": 0,
        "refresh_interval": REFRESH,
        "max_result_window": 10_000,
    },
    "mappings": {
        "dynamic": "strict",
        "properties": {
            "event_id": _SORTED,
            "findable": _FLAG,
            "available": _FLAG,
            "category": _SORTED,
            "city": _SORTED,
            "city_key": _SORTED,
            "start_time": {"type": "date"},
            "min_price": {**_AMOUNT, "index": False},
            "max_price": {**_AMOUNT, "index": False},
            "price_key": _AMOUNT,
            "prices": _AMOUNT,
            "near": {"type": "geo_point"},
            "title": _WORDS,
            "place": _WORDS,
            "about": _WORDS,
            "title_joined": _SORTED,
            "title_shown": {**_WORDS, "index": False},
        },
    },
}


def source_of(document: Document) -> Json:
    """A document as it is kept."""
    words, prices, near = texts.words_of(document), document.prices, document.near
    source: Json = {
        "event_id": document.event_id,
        "findable": document.findable,
        "available": document.available,
        "category": document.category,
        "city": document.city,
        "city_key": wording.key(document.city),
        "start_time": to_ms(document.start_time),
        "min_price": prices[0] if prices else None,
        "max_price": prices[-1] if prices else None,
        "price_key": prices[0] if prices else NO_PRICE,
        "prices": list(prices),
        "title": words.title,
        "place": words.place,
        "about": words.about,
        "title_joined": wording.joined(document.title),
        "title_shown": document.title,
    }
    if near is not None:
        source["near"] = {"lat": near.latitude, "lon": near.longitude}
    return source


class PlainJsonNode(AiohttpHttpNode):
    """For servers of another name: they know only plain JSON, and do not say that name."""

    async def perform_request(  # type: ignore[override]
        self, method: str, target: str, body: bytes | None = None, headers: Any = None, **more: Any
    ) -> NodeApiResponse:
        sent = HttpHeaders(headers or {})
        for name in ("accept", "content-type"):
            if name in sent:
                lines = "ndjson" in sent[name]
                sent[name] = "application/x-ndjson" if lines else "application/json"
        meta, content = await super().perform_request(method, target, body, sent, **more)
        named = HttpHeaders({**meta.headers, "x-elastic-product": "Elasticsearch"})
        told = ApiResponseMeta(meta.status, meta.http_version, named, meta.duration, meta.node)
        return NodeApiResponse(told, content)


def connect(url: str, *, plain_json: bool) -> AsyncElasticsearch:
    """`plain_json`: for OpenSearch and its like."""
    node_class = PlainJsonNode if plain_json else AiohttpHttpNode
    return AsyncElasticsearch(
        url, node_class=node_class, request_timeout=TIMEOUT_S, max_retries=1, retry_on_timeout=False
    )


class ElasticIndexes:
    """Every method raises SearchUnavailable where the server does not do what it is asked."""

    def __init__(self, client: AsyncElasticsearch, alias: str = ALIAS) -> None:
        self._client = client
        self._alias = alias

    async def current(self) -> str | None:
        """The index that searches go to."""
        try:
            found = await self._client.indices.get_alias(name=self._alias)
        except NotFoundError:
            return None
        except (ApiError, TransportError) as error:
            raise SearchUnavailable(str(error)) from error
        return max(found.body) if found.body else None

    async def make(self) -> str:
        """A new, empty index that no search goes to yet."""
        name = f"{self._alias}-{datetime.now(UTC):%Y%m%d%H%M%S%f}"
        await self._do(self._client.indices.create(index=name, body=BODY))
        return name

    async def switch_to(self, name: str) -> None:
        """Searches go to this index from now on, at once; the others end."""
        await self._do(self._client.indices.refresh(index=name))
        before = await self.current()
        actions: list[Json] = [{"add": {"index": name, "alias": self._alias}}]
        if before is not None:
            actions.append({"remove_index": {"index": before}})
        await self._do(self._client.indices.update_aliases(actions=actions))

    async def write(
        self, name: str, documents: Sequence[Document], *, refresh: bool = False
    ) -> None:
        operations: list[Json] = []
        for document in documents:
            about: Json = {"_index": name, "_id": document.event_id}
            about |= {"version": document.version, "version_type": "external"}
            operations += ({"index": about}, source_of(document))
        if not operations:
            return
        answer = await self._do(self._client.bulk(operations=operations, refresh=refresh))
        for item in answer["items"] if answer["errors"] else ():
            outcome = item["index"]
            if "error" in outcome and outcome["status"] != _CONFLICT:
                raise SearchUnavailable(str(outcome["error"]))

    @staticmethod
    async def _do(asked: Any) -> Any:
        try:
            return (await asked).body
        except (ApiError, TransportError) as error:
            raise SearchUnavailable(str(error)) from error
