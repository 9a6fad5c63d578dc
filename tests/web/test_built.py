"""The page's own tests, and its files made anew: where Node's packages are at hand."""

import subprocess
from pathlib import Path

from tests.gateway.test_door_page import BUILT, SOURCES


def npm(*words: str) -> None:
    done = subprocess.run(["npm", *words], cwd=SOURCES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_that_need_no_browser_hold() -> None:
    npm("test")


def test_the_sources_make_just_these_files(tmp_path: Path) -> None:
    npm("exec", "tsc", "--", "--noEmit")
    npm("exec", "vite", "build", "--", "--outDir", str(tmp_path), "--logLevel", "warn")
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in BUILT.iterdir()}
