"""The API's description of itself: whole, sound, and readable without anything from elsewhere."""

import ast
import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gateway
from gateway.openapi import describe, status_by_code
from gateway.routes import ROUTES
from tests.shop import Shop

on_the_server = pytest.mark.asyncio(loop_scope="session")

DOCUMENT: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(describe(ROUTES)))
OPERATIONS = [
    (method, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]


def _within(found: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(found, dict):
        yield found
    for inner in found.values() if isinstance(found, dict) else found:
        if isinstance(inner, dict | list):
            yield from _within(inner)


def _resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def _codes_in_the_source() -> Iterator[str]:
    """What is raised as `Problem(status, code, ...)` or `unprocessable(code, ...)`."""
    for path in Path(gateway.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"Problem": 1, "unprocessable": 0}.get(node.func.id)
                code = node.args[place] if place is not None else None
                if isinstance(code, ast.Constant):
                    yield str(code.value)


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method.upper(), path) for method, path, _ in OPERATIONS}
    assert described == {(route.method, route.path) for route in ROUTES}


def test_every_reference_resolves() -> None:
    references = [found["$ref"] for found in _within(DOCUMENT) if "$ref" in found]
    assert references
    assert all(_resolve(reference) for reference in references)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_says_what_it_does_takes_and_answers(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation["summary"]
    in_path = {p["name"] for p in operation["parameters"] if p.get("in") == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    assert any(status.startswith("2") for status in operation["responses"])
    for status, response in operation["responses"].items():
        json = response.get("content", {}).get("application/json")
        assert json is None or "schema" in json, (method, path, status)
    assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}


def test_every_operation_has_its_own_id() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_a_key_is_required_where_a_request_must_not_happen_twice() -> None:
    required = {"$ref": "#/components/parameters/KeyRequired"}
    found = {path for _, path, operation in OPERATIONS if required in operation["parameters"]}
    assert {
        "/v1/events/{event_id}/orders",
        "/v1/orders/{order_id}/payment",
        "/v1/orders/{order_id}/refund",
        "/v1/tickets/{ticket_id}/reissue",
    } <= found


def test_every_code_that_the_edge_raises_is_listed() -> None:
    assert set(_codes_in_the_source()) <= set(status_by_code())


@on_the_server
async def test_the_server_gives_the_document(shop: Shop) -> None:
    found = await shop.call("GET", "/v1/openapi.json")
    assert found.status == 200
    assert found.body == DOCUMENT


@on_the_server
async def test_the_page_names_every_call_and_asks_for_nothing_else(shop: Shop) -> None:
    found = await shop.call("GET", "/docs")
    html = found.body.decode()
    assert found.status == 200
    assert found.headers["Content-Type"] == "text/html; charset=utf-8"
    assert all(f"<code>{route.path}</code>" in html for route in ROUTES)
    assert not re.findall(
        r"<script|<link|<img|@import|url\(|style=|\son\w+=|(?:src|href)=.http", html
    )
    anchors = set(re.findall(r'id="([^"]+)"', html))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= anchors


@on_the_server
async def test_the_page_is_bound_to_its_own_styles(shop: Shop) -> None:
    found = await shop.call("GET", "/docs")
    policy = found.headers["Content-Security-Policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", found.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy
