"""A dict in parts is a dict, and growing it costs no long stop."""

import time
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from engine.parted import PartedDict

ENTRIES = 180_000  # past the growth at 174,763

_keys = st.text("ab0", min_size=1, max_size=3)


@given(
    st.lists(st.tuples(st.sampled_from(["set", "del", "add", "get", "in"]), _keys, st.integers()))
)
def test_it_is_a_dict(steps: list[tuple[str, str, int]]) -> None:
    parted: PartedDict[int] = PartedDict()
    plain: dict[str, int] = {}
    for what, key, value in steps:
        match what:
            case "set":
                parted[key] = plain[key] = value
            case "add":
                parted.add({key: value, "c" + key: value})
                plain.update({key: value, "c" + key: value})
            case "del":
                assert parted.pop(key, None) == plain.pop(key, None)
            case "get":
                assert parted.get(key, -1) == plain.get(key, -1)
            case _:
                assert (key in parted) == (key in plain)
    assert dict(parted) == plain
    assert len(parted) == len(plain)
    assert sorted(parted.listed()) == sorted(plain)


def test_its_parts_are_few_whatever_is_asked_for() -> None:
    parted: PartedDict[int] = PartedDict()
    assert not any(parted.get(chr(code)) for code in range(1, 5_000))
    assert len(vars(parted)["_parts"]) <= 32


def test_what_was_there_is_listed_though_it_changes_meanwhile() -> None:
    parted: PartedDict[int] = PartedDict()
    parted.add({f"key-{n}": n for n in range(100)})
    told = []
    for n, key in enumerate(parted.listed()):
        told.append(key)
        parted[f"new-{n}x"] = n
        parted.pop(f"key-{n - 1}", None)
    assert len(told) == len(set(told))
    assert {key for key in parted if key.startswith("key-")} <= set(told)


def test_it_grows_in_shorter_steps_than_a_dict() -> None:
    """Measured in turns, the best of three: by the CPU of the longest step."""
    parted = min(_longest_step(lambda: PartedDict[int]().__setitem__) for _ in range(3))
    plain = min(_longest_step(lambda: dict[str, int]().__setitem__) for _ in range(3))
    assert parted < plain / 3


def _longest_step(fresh: Callable[[], Callable[[str, int], None]]) -> float:
    put, longest_ns = fresh(), 0
    for n in range(ENTRIES):
        began_ns = time.thread_time_ns()
        put(f"{n:x}", n)
        longest_ns = max(longest_ns, time.thread_time_ns() - began_ns)
    return longest_ns
