"""The doors open: a fleet of scanners, most of it at once, and fewer as the crowd thins out.

Of ten scans nine are of tickets not seen before; the others of one that is in already, or of a
token that somebody has made up. A wrong answer at the door is a failure, as is a slow one.
"""

from collections import deque
from random import choice, random
from uuid import uuid4

from locust import FastHttpUser, constant, task
from locust.exception import StopUser

from loadtests.locust.scenario import Shape, hold, sign_in
from loadtests.locust.told import told

SCANNED_AGAIN, MADE_UP = 0.07, 0.03
CHECK_IN_P99_MS_MAX = 200
OPENING = 0.6  # of the time every scanner is at work, then half of them

hold({("POST", "check-in"): CHECK_IN_P99_MS_MAX})

_outside: deque[str] = deque(told().tokens)
_inside: list[str] = []


class DoorsOpen(Shape):
    def users(self, share: float) -> int:
        return told().users if share < OPENING else told().users // 2


class Scanner(FastHttpUser):
    wait_time = constant(0.02)

    def on_start(self) -> None:
        self.event = f"/v1/events/{told().event_id}"
        self.headers = sign_in(self, "scanner", told().event_id)

    @task
    def scan(self) -> None:
        chance = random()
        if chance < MADE_UP:
            self._scan(str(uuid4()), "INVALID")
        elif chance < MADE_UP + SCANNED_AGAIN and _inside:
            self._scan(choice(_inside), "ALREADY_ADMITTED")
        elif _outside:
            token = _outside.popleft()
            self._scan(token, "ADMIT")
            _inside.append(token)
        else:
            raise StopUser

    def _scan(self, token: str, result: str) -> None:
        body = {"token": token, "nonce": uuid4().hex, "gate": "North"}
        path = f"{self.event}/checkins"
        call = self.client.post(
            path, json=body, headers=self.headers, name="check-in", catch_response=True
        )
        with call as answer:
            if answer.status_code == 200 and answer.json()["result"] != result:
                answer.failure(f"{answer.json()['result']} instead of {result}")
