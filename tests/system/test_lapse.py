"""What time does to bookings by itself, on a real server."""

import asyncio
from pathlib import Path

import aiohttp

from tests.server import running
from tests.shop import Shop

TWO_SECONDS = {"STAMPEDE_BOOKING_REQUEST_DAYS": str(2 / 86_400)}


async def test_a_request_whose_deposit_nobody_pays_lapses_and_frees_the_hall(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "data", TWO_SECONDS) as server, aiohttp.ClientSession() as http:
        shop = Shop(server.url, http)
        venue = await shop.venue(deposit_amount=500)
        event = await shop.event(venue_id=venue["venue_id"])
        path = f"/v1/bookings/{event['booking_id']}"
        async with asyncio.timeout(30):
            while True:
                booking = (await shop.organize("GET", path)).body
                if booking["status"] == "CANCELLED":
                    break
                await asyncio.sleep(0.1)
        assert (booking["cancel_reason"], booking["refund"]) == ("lapsed", None)
        calendar = await shop.call("GET", f"/v1/venues/{venue['venue_id']}/calendar")
        assert calendar.body["items"] == []
        await shop.event(venue_id=venue["venue_id"])
