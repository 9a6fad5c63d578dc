"""Locust users: buyers who reserve and pay. `./run load` runs them against a server."""

import os
from uuid import uuid4

from locust import FastHttpUser, between, events, task
from locust.env import Environment

RESERVATION_P99_MS_MAX = 250


class Buyer(FastHttpUser):
    """Looks at what there is, takes two places, and pays seven times of ten."""

    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        asked = {"role": "buyer", "subject": f"buyer-{uuid4().hex[:12]}"}
        with self.client.post("/v1/dev/token", json=asked, catch_response=True) as answer:
            self.credential = {"Authorization": f"Bearer {answer.json()['token']}"}
        self.event = f"/v1/events/{os.environ['STAMPEDE_LOAD_EVENT']}"
        self.tier_id = os.environ["STAMPEDE_LOAD_TIER"]

    @task(3)
    def look(self) -> None:
        self.client.get(f"{self.event}/availability", name="availability")

    @task(7)
    def reserve_and_pay(self) -> None:
        order = self._reserve()
        if order is not None:
            self._pay(order)

    @task(3)
    def reserve_and_leave(self) -> None:
        self._reserve()

    def _reserve(self) -> str | None:
        body = {"selections": [{"tier_id": self.tier_id, "quantity": 2}]}
        headers = {**self.credential, "Idempotency-Key": uuid4().hex}
        call = self.client.post(
            f"{self.event}/orders", json=body, headers=headers, name="order", catch_response=True
        )
        with call as answer:
            if answer.status_code == 409:
                answer.success()  # sold out is an answer
            placed = answer.status_code == 201
            return answer.json()["order_id"] if placed else None

    def _pay(self, order_id: str) -> None:
        headers = {**self.credential, "Idempotency-Key": uuid4().hex}
        path = f"/v1/orders/{order_id}/payment"
        asked = self.client.post(path, json={"method": "card"}, headers=headers, name="payment")
        payment_id = asked.json()["payment_id"]
        body = {"outcome": "succeed"}
        self.client.post(f"/v1/sandbox/payments/{payment_id}", json=body, name="bank")


def hold_the_limits(environment: Environment, **_: object) -> None:
    """Exit code 1 where a request failed or reservations were too slow."""
    orders = environment.stats.get("order", "POST")
    slow = (orders.get_response_time_percentile(0.99) or 0) > RESERVATION_P99_MS_MAX
    environment.process_exit_code = 1 if slow or environment.stats.total.num_failures else 0


events.quitting.add_listener(hold_the_limits)  # type: ignore[no-untyped-call]  # locust has none
