"""People who look around: search, what is trending, an event and what is left of it.

Their number grows in steps, so that the report shows what each of them costs.
"""

from random import choice

from locust import FastHttpUser, between, task

from loadtests.locust.scenario import Shape, hold
from loadtests.locust.told import told

STEPS = 4
WORDS = ("hot", "Hall", "Berlin", "hto", "concert")
AVAILABILITY_P99_MS_MAX, SEARCH_P99_MS_MAX = 250, 500

hold(
    {
        ("GET", "availability"): AVAILABILITY_P99_MS_MAX,
        ("GET", "search"): SEARCH_P99_MS_MAX,
    }
)


class Stairs(Shape):
    def users(self, share: float) -> int:
        return told().users * (int(share * STEPS) + 1) // STEPS


class Visitor(FastHttpUser):
    wait_time = between(0.1, 0.5)

    @task(3)
    def look_at_an_event(self) -> None:
        event = f"/v1/events/{told().event_id}"
        self.client.get(event, name="event")
        self.client.get(f"{event}/availability", name="availability")

    @task(3)
    def search(self) -> None:
        self.client.get(f"/v1/search/events?q={choice(WORDS)}", name="search")
        self.client.get("/v1/suggest?q=ho", name="suggest")

    @task(1)
    def come_home(self) -> None:
        self.client.get("/v1/home?city=Berlin", name="home")
        self.client.get("/v1/trending?city=Berlin", name="trending")

    @task(1)
    def leaf_through(self) -> None:
        self.client.get("/v1/events?limit=50", name="events")
