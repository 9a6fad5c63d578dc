"""The on-sale: buyers come as they came to a real one, take places, and pay, or think better of it.

Each looks, reserves two places, and then pays seven times of ten, gives up, or just leaves; and is
followed by another buyer. How many there are at once follows the curve of a recorded sale.
"""

from random import random

from locust import FastHttpUser, between, task

from loadtests.arrivals import recorded
from loadtests.locust.scenario import Shape, hold, keyed, sign_in
from loadtests.locust.told import told

PAYS, GIVES_UP = 0.7, 0.15
RESERVATION_P99_MS_MAX = 250

hold({("POST", "order"): RESERVATION_P99_MS_MAX})


class Curve(Shape):
    """As many at once as the recorded sale had coming in, the peak being what was asked for."""

    def users(self, share: float) -> int:
        shape = recorded()
        return round(told().users * shape[int(share * len(shape))] / max(shape))


class Buyer(FastHttpUser):
    wait_time = between(0.1, 0.5)

    @task
    def buy(self) -> None:
        scenario = told()
        event = f"/v1/events/{scenario.event_id}"
        headers = sign_in(self, "buyer")
        self.client.get(f"{event}/availability", name="availability")
        order_id = self._reserve(event, scenario.tier_id, headers)
        if order_id is None:
            return
        chance = random()
        if chance < PAYS:
            self._pay(order_id, headers)
        elif chance < PAYS + GIVES_UP:
            self.client.delete(f"/v1/orders/{order_id}", headers=headers, name="give up")

    def _reserve(self, event: str, tier_id: str, headers: dict[str, str]) -> str | None:
        body = {"selections": [{"tier_id": tier_id, "quantity": 2}]}
        call = self.client.post(
            f"{event}/orders", json=body, headers=keyed(headers), name="order", catch_response=True
        )
        with call as answer:
            if answer.status_code == 409 and answer.json()["code"] == "sold_out":
                answer.success()
            placed = answer.status_code == 201
            return answer.json()["order_id"] if placed else None

    def _pay(self, order_id: str, headers: dict[str, str]) -> None:
        path = f"/v1/orders/{order_id}"
        call = self.client.post(
            f"{path}/payment", json={"method": "card"}, headers=keyed(headers), name="payment"
        )
        paid = {"outcome": "succeed"}
        self.client.post(
            f"/v1/sandbox/payments/{call.json()['payment_id']}", json=paid, name="bank"
        )
        with self.client.get(path, headers=headers, name="tickets", catch_response=True) as answer:
            if len(answer.json().get("tickets", ())) != 2:
                answer.failure("paid, and no tickets")
