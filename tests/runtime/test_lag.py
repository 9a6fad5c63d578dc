"""What a copy lacks is told once, however it changes while it is told."""

import random

import pytest

from engine.runtime.lag import Lag


def test_each_is_taken_once_and_again_when_it_has_changed() -> None:
    lag = Lag(["a", "b", "c"])
    lag.add(["b", "d"])
    assert lag.take(2) == ["a", "b"]
    lag.add(["a"])
    assert lag.take(9) == ["c", "d", "a"]
    assert not lag
    assert lag.take(9) == []


def test_whether_there_is_more_is_known_when_the_rest_has_ended() -> None:
    lag = Lag(["a", "b"])
    assert not lag.within(5)
    lag.take(2)
    assert lag
    assert lag.take(2) == []
    assert not lag
    lag.add(["a", "b", "c"])
    assert (lag.within(2), lag.within(3)) == (False, True)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_changes_meanwhile_is_told_afterwards(seed: int) -> None:
    chance = random.Random(seed)
    now = {f"{number}": 0 for number in range(100)}
    copy: dict[str, int] = {}
    lag = Lag(list(now))
    while lag:
        for _ in range(chance.choice((0, 0, 3))):
            name = f"{chance.randrange(120)}"
            now[name] = now.get(name, 0) + 1
            lag.add([name])
        taken = lag.take(chance.randint(1, 10))
        assert len(taken) == len(set(taken))
        copy |= {name: now[name] for name in taken}
    assert copy == now
