"""The doors' board: a page bound to its own script, and the counts that it follows."""

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

import pytest

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_board_runs_its_own_script_and_asks_its_own_server_alone(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    found = await shop.call("GET", f"/ops/events/{event_id}/doors")
    page, policy = found.body.decode(), found.headers["Content-Security-Policy"]
    assert found.status == 200
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert not re.findall(r"unsafe|\*", policy)
    own = files("gateway").joinpath("web/doors.html").read_text()
    assert not re.findall(r'innerHTML|(?:src|href)=|style="|\son\w+="', own)
    assert "uPlot (v1.6.32)" in page
    assert "/* uPlot */" not in page
    assert "MIT" in files("gateway").joinpath("web/uplot/LICENSE").read_text()


async def test_the_stream_tells_the_counts_as_they_change(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    headers = {"Authorization": f"Bearer {await shop.organizer()}"}
    url = f"{shop.url}/v1/events/{event_id}/doors/stream"
    async with shop._session.get(url, headers=headers) as stream:
        assert stream.content_type == "text/event-stream"
        told: list[dict[str, Any]] = []
        while len(told) < 2:
            line = (await stream.content.readline()).decode()
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: ")))
                if len(told) == 1:
                    await shop.scan(event_id, ticket["token"], gate="North")
    assert [counts["admitted"] for counts in told] == [0, 1]
    assert told[1]["by_gate"] == {"North": 1}
