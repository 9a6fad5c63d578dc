"""What stops a start is told in one line, with exit code 1, and leaves nothing half made."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from aiohttp import ClientSession

from tests.server import running
from tests.shop import Shop


def _up(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {n: v for n, v in os.environ.items() if not n.startswith("STAMPEDE_")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "up", *arguments],
        env={**clean, "STAMPEDE_DATA_DIR": str(folder), "STAMPEDE_HTTP_PORT": "0", **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _one_line(told: subprocess.CompletedProcess[str]) -> str:
    assert told.returncode == 1, told
    assert told.stdout == ""
    (line,) = told.stderr.splitlines()
    return line


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    told = _up(tmp_path / "data", STAMPEDE_ORDER_HOLD="5")
    assert "STAMPEDE_ORDER_HOLD" in _one_line(told)
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = _up(tmp_path / "data", STAMPEDE_HTTP_PORT=str(port))
    assert f"127.0.0.1:{port}" in _one_line(told)
    assert not (tmp_path / "data").exists()


def test_more_cores_than_there_are_is_told(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    line = _one_line(_up(tmp_path / "data", "--own-cores", f"--engines={cores}"))
    assert line.endswith(f"have {cores}")
    assert f"{cores + 2} cores are needed" in line
    assert not (tmp_path / "data").exists()


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert str(tmp_path) in _one_line(_up(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    assert "DATABASE_URL" in _one_line(_up(tmp_path / "data", DATABASE_URL=nowhere))


async def test_a_postgres_that_cannot_start_is_told(tmp_path: Path) -> None:
    async with running(tmp_path / "data"):
        pass
    (tmp_path / "data" / "postgres" / "PG_VERSION").write_text("9\n")
    assert "postgres" in _one_line(_up(tmp_path / "data")).lower()


async def test_without_redis_it_sells_all_the_same(tmp_path: Path) -> None:
    nowhere = {"REDIS_URL": "redis://127.0.0.1:1"}
    async with running(tmp_path / "data", nowhere) as server, ClientSession() as session:
        shop = Shop(server.url, session)
        event_id, (tier_id,) = await shop.on_sale()
        assert (await shop.order(event_id, tier_id)).status == 201
        availability = await shop.call("GET", f"/v1/events/{event_id}/availability")
        assert availability.body["tiers"][0]["held_quantity"] == 1
        ready = await shop.call("GET", "/readyz")
        assert (ready.status, ready.body["parts"]["redis"]) == (200, "away")
