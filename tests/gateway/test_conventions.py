"""API conventions: problems, credentials, bodies that don't fit, and what runs it."""

from uuid import uuid4

import pytest

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_problem_has_the_fields_of_rfc_9457_and_ours(shop: Shop) -> None:
    found = await shop.call("GET", "/v1/orders/nope", token=await shop.token("buyer", "ann"))
    assert found.status == 404
    assert found.headers["Content-Type"].startswith("application/problem+json")
    assert {"type", "title", "status", "detail", "code", "retryable"} <= set(found.body)
    assert (found.body["status"], found.code, found.body["retryable"]) == (
        404,
        "unknown_order",
        False,
    )


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"[]", "malformed"),
        (b'{"selections": []}', "$.selections"),
        (b'{"selections": [{"tier_id": "a", "quantity": 0}]}', "$.selections[0].quantity"),
        (b'{"selections": [{"tier_id": "a", "quantity": "1"}]}', "$.selections[0].quantity"),
        (b'{"selections": [{"tier_id": "a", "quantity": 1e400}]}', "$.selections[0].quantity"),
        (b'{"selections": [{"tier_id": "a", "quantity": 1}], "x": 1}', "x"),
        (b'{"selections": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", "$.selections[0]"),
        (b"[" * 100_000, "malformed"),
    ],
)
async def test_a_body_that_does_not_fit_is_a_400_that_names_the_field(
    shop: Shop, raw: bytes, names: str
) -> None:
    event_id, _ = await shop.on_sale()
    found = await shop.call(
        "POST",
        f"/v1/events/{event_id}/orders",
        raw=raw,
        token=await shop.token("buyer", "ann"),
        key=uuid4().hex,
    )
    assert (found.status, found.code) == (400, "malformed_request")
    assert names == "malformed" or names in found.body["detail"]


async def test_a_body_of_a_megabyte_is_refused(shop: Shop) -> None:
    found = await shop.call(
        "POST",
        "/v1/events/evt_0123456789abcdef/orders",
        raw=b"x" * 1_000_000,
        token=await shop.token("buyer", "ann"),
        key="k",
    )
    assert found.status == 413
    assert found.code == "body_too_large"


@pytest.mark.parametrize("key", [" ", "a b", "ä", "x" * 129])
async def test_an_idempotency_key_is_visible_ascii(shop: Shop, key: str) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    found = await shop.order(event_id, tier_id, key=key)
    assert found.status == 400


@pytest.mark.parametrize(
    "credential", ["nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwicm9sZSI6ImFkbWluIn0."]
)
async def test_a_credential_that_is_not_ours_is_a_401(shop: Shop, credential: str) -> None:
    found = await shop.call("GET", "/v1/orders/x", token=credential)
    assert (found.status, found.code) == (401, "unauthenticated")


async def test_an_unknown_path_is_a_problem_too(shop: Shop) -> None:
    assert (await shop.call("GET", "/v1/nothing")).code == "unknown_path"
    assert (await shop.call("PUT", "/healthz")).status == 405


async def test_it_tells_that_it_lives_and_serves(shop: Shop) -> None:
    assert (await shop.call("GET", "/healthz")).status == 200
    ready = await shop.call("GET", "/readyz")
    assert ready.status == 200
    assert ready.body["parts"] == {"postgres": "up", "redis": "up"}
    metrics = (await shop.call("GET", "/metrics")).body.decode()
    assert "stampede_http_requests_total" in metrics
    assert "evt_" not in metrics
