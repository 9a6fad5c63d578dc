"""The nemesis for half a minute; and that its verdict can fail, in whole and in its parts."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from loadtests.nemesis.liveness import Struck, longest_silence, recovery, too_slow
from loadtests.nemesis.network import way_out
from loadtests.nemesis.schedule import OVERLAPS, Kind, Planned, schedule
from loadtests.nemesis.unfenced import without_fence
from loadtests.nemesis.watch import Watch
from loadtests.nemesis.witness import Durable, Witness
from loadtests.seen import Tickets
from persistence.journal import PostgresJournal
from tests.system.test_demo import ORDER, answer

RUN_S_MAX = 170
# An owner killed, its requests cut, a zombie, answers cut, Postgres crashed.
HALF_A_MINUTE = ("--minutes", "0.5", "--seed", "19", "--no-namespaces")
# The owner's packets to and from Postgres lost past its lease, and on top of it a gateway's.
PACKETS_LOST = ("--minutes", "0.3", "--seed", "11083", "--gateways", "2", "--engines", "1")


def nemesis(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtests.nemesis", *arguments],
        env={**os.environ, "STAMPEDE_DATA_DIR": str(folder)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )


@pytest.mark.parametrize("nodes", [(), ("--gateways", "1", "--engines", "2")])
def test_every_promise_holds_whatever_breaks(tmp_path: Path, nodes: tuple[str, ...]) -> None:
    ended = nemesis(tmp_path / "nemesis", *HALF_A_MINUTE, *nodes)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert "every promise held" in ended.stdout
    report = msgspec.json.decode((tmp_path / "nemesis" / "nemesis-report.json").read_bytes())
    assert report["holds"]
    assert len(report["faults"]) == 5
    assert {fault["missed"] for fault in report["faults"]} == {None}
    assert (tmp_path / "nemesis" / "nemesis-report.html").exists()


@pytest.mark.skipif(way_out() is None, reason="no network namespaces: `unshare --net` is refused")
def test_every_promise_holds_where_packets_are_lost_without_a_word(tmp_path: Path) -> None:
    ended = nemesis(tmp_path / "nemesis", *PACKETS_LOST)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    report = msgspec.json.decode((tmp_path / "nemesis" / "nemesis-report.json").read_bytes())
    assert report["apart"]
    done = {fault["kind"] for fault in report["faults"] if fault["missed"] is None}
    assert done == {"SPLIT_POSTGRES", "SPLIT_ALL"}


def test_without_the_fence_zombies_are_found_out(tmp_path: Path) -> None:
    arguments = ("--fence-off", "--zombies", "1", "--engines", "2")
    ended = nemesis(tmp_path / "nemesis", *arguments)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    report = msgspec.json.decode((tmp_path / "nemesis" / "nemesis-report.json").read_bytes())
    wrong = [sentence for check in report["checks"] for sentence in check["wrong"]]
    assert any("its epoch goes back" in sentence for sentence in wrong), wrong


# Its parts.


def test_shards_are_taken_over_once_each_has_a_later_epoch() -> None:
    watch = Watch("")
    for shard_id in (1, 2):
        watch.saw(shard_id, 5, "engine-1", 10)
    watch.saw(3, 5, "engine-2", 10)
    before, owned = dict(watch.epoch_by_shard), watch.shards_of("engine-1")
    assert owned == {1, 2}
    watch.saw(1, 6, "engine-2", 10)
    assert not watch.grown_since(before, owned)
    watch.saw(2, 6, "engine-2", 10)
    assert watch.grown_since(before, owned)


def test_a_seed_is_a_schedule_and_every_kind_comes_before_one_comes_again() -> None:
    planned = schedule(5, 600)
    assert planned == schedule(5, 600)
    assert planned != schedule(6, 600)
    assert len(planned) >= 40
    assert {fault.kind for fault in planned[: len(Kind)]} == set(Kind)
    share = sum(fault.overlaps for fault in planned) / len(planned)
    assert abs(share - OVERLAPS) < 0.12


def struck(number: int, began_s: float, healed_s: float) -> Struck:
    plan = Planned(number, Kind.ZOMBIE, began_s, healed_s - began_s, 0, overlaps=False)
    return Struck(plan, "engine-1", began_s, healed_s)


def sold(*times: float) -> list[Durable]:
    return [Durable(time_s - 0.1, time_s) for time_s in times]


def test_the_slowest_event_tells_when_all_are_served_again() -> None:
    fault = struck(1, 10.0, 12.0)
    durable = {"a": sold(9.9, 10.5, 12.5), "b": sold(9.8, 10.05, 15.0)}
    found = recovery(fault, [fault], durable, 60.0)
    assert found.after_start_s == pytest.approx(5.0)
    assert found.after_healing_s == pytest.approx(3.0)


@pytest.mark.parametrize("times", [(9.0,), (9.0, 30.0)])
def test_an_event_that_is_not_served_in_time_is_found(times: tuple[float, ...]) -> None:
    faults = [struck(1, 10.0, 12.0)]
    told, wrong = too_slow(faults, {"a": sold(11.0, 12.5), "b": sold(*times)}, 60.0)
    assert (told, len(wrong)) == (1, 1)


def test_a_fault_on_top_of_another_says_nothing_of_the_first() -> None:
    faults = [struck(1, 10.0, 12.0), struck(2, 14.0, 15.0)]
    told, wrong = too_slow(faults, {"a": sold(16.0)}, 60.0)
    assert (told, wrong) == (1, [])


def test_the_longest_silence_is_that_of_all_events_together() -> None:
    durable = {"a": sold(1.0, 2.0, 9.0), "b": sold(1.5, 5.0)}
    assert longest_silence(durable, 10.0) == (5.0, 9.0)
    assert longest_silence(durable, 20.0) == (9.0, 20.0)


def test_an_epoch_that_was_given_up_is_silent() -> None:
    watch = Watch("")
    watch.saw(3, 1, "one", 10)
    watch.saw(3, 1, "two", 10)
    watch.saw(3, 2, "two", 10)
    watch.saw(3, 2, "two", 11)
    watch.saw(3, 2, None, 11)
    assert watch.wrong == []
    watch.saw(3, 2, None, 12)
    assert watch.wrong == ["shard 3: epoch 2 was given up, and written with"]


def test_an_epoch_that_goes_back_is_seen() -> None:
    watch = Watch("")
    watch.saw(3, 2, "two", 10)
    watch.saw(3, 1, "one", 10)
    assert watch.wrong == ["shard 3: its epoch went back from 2 to 1"]


def test_an_order_that_turns_back_is_seen() -> None:
    witness = Witness()
    confirmed = Tickets(ORDER, "CONFIRMED", None, ())
    pending = Tickets(ORDER, "PENDING", None, ())
    asked_before_s = witness.now_s
    witness.read(ORDER, answer(200, confirmed), witness.now_s)
    witness.read(ORDER, answer(200, pending), asked_before_s)  # under way at the same time
    assert witness.seen.contradictions == []
    witness.read(ORDER, answer(200, confirmed), witness.now_s)
    witness.read(ORDER, answer(200, pending), witness.now_s)
    witness.read(ORDER, answer(404, {"code": "unknown_order"}), witness.now_s)
    assert len(witness.seen.contradictions) == 2


def test_the_control_takes_the_fence_and_nothing_else_out_of_the_statement() -> None:
    statement = without_fence(PostgresJournal.append_statement)
    assert "s.epoch = b.epoch" not in statement
    assert "b.seq" not in statement
