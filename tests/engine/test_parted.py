"""A dict in parts is a dict, and growing it costs no long stop."""

from hypothesis import given
from hypothesis import strategies as st

from engine.parted import PartedDict

ENTRIES = 180_000

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


def test_its_parts_are_of_a_size() -> None:
    parted: PartedDict[int] = PartedDict()
    parted.add({f"{n:x}": n for n in range(ENTRIES)})
    sizes = [len(part) for part in vars(parted)["_parts"].values()]
    assert sum(sizes) == ENTRIES
    assert max(sizes) < ENTRIES / 10
