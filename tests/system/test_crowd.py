"""Five thousand at the door of a sale of five hundred places, all in the same moment."""

import itertools
import json
import resource
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from benchmarks import generator
from tests.server import running
from tests.shop import Shop

BUYERS = 5_000
PLACES = 500


async def test_five_thousand_at_once_get_what_there_is_and_an_honest_no(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with running(tmp_path / "data") as server, aiohttp.ClientSession() as session:
        shop = Shop(server.url, session)
        event_id, (tier_id,) = await shop.on_sale({"total_quantity": PLACES})
        body = json.dumps({"selections": [{"tier_id": tier_id, "quantity": 1}]}).encode()
        requests = generator.post(
            f"/v1/events/{event_id}/orders",
            {"Authorization": f"Bearer {await shop.box_office()}"},
            lambda number: (f"buyer-{number}", body),
        )
        parts = urlsplit(server.url)
        assert parts.hostname is not None
        assert parts.port is not None
        outcome = await generator.run(
            parts.hostname,
            parts.port,
            itertools.islice(requests, BUYERS),
            connections=BUYERS,
            seconds=60,
            keep_status=409,
        )
        assert dict(outcome.statuses) == {201: PLACES, 409: BUYERS - PLACES}
        assert {json.loads(refusal)["code"] for refusal in outcome.bodies} == {"sold_out"}
        doors = await shop.call("GET", f"/v1/events/{event_id}/availability")
        assert doors.body["tiers"][0]["held_quantity"] <= PLACES
