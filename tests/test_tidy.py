"""The rules of the house as tests: who may look into whom, by where a file stands."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("engine", "gateway", "persistence", "loadtests", "benchmarks", "tests")
COMPOSITION = {
    *(ROOT / "gateway" / name for name in ("__main__.py", "node.py", "departures.py")),
    *(ROOT / "gateway" / "parts").glob("*.py"),
}
LINES_MAX = 450
IMPURE = {
    "asyncio",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "sys",
    "threading",
    "time",
}
BANNED_NAMES = re.compile(
    r"(Manager|Service|Impl|Abstract\w*|^I[A-Z][a-z]\w*)$|^(utils|helpers|common|base)$|_(v2|legacy)$"
)


def _files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "__pycache__" not in path.parts]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sorted((ROOT / "engine").glob("*.py")), ids=_name)
def test_the_core_is_pure(path: Path) -> None:
    for module in _imports(path):
        top = module.split(".")[0]
        assert top in {"engine", "msgspec"} or top in sys.stdlib_module_names, module
        assert top not in IMPURE, module
        assert not module.startswith("engine.runtime"), module


@pytest.mark.parametrize("path", sorted((ROOT / "engine" / "runtime").glob("*.py")), ids=_name)
def test_the_runtime_knows_no_driver(path: Path) -> None:
    for module in _imports(path):
        top = module.split(".")[0]
        assert top in {"engine", "msgspec"} or top in sys.stdlib_module_names, module


@pytest.mark.parametrize("path", _files("gateway", "persistence"), ids=_name)
def test_gateway_and_persistence_meet_only_in_the_composition_root(path: Path) -> None:
    if path in COMPOSITION:
        return
    other = "persistence" if path.is_relative_to(ROOT / "gateway") else "gateway"
    outside = {other, "loadtests", "benchmarks", "tests"}
    assert not [module for module in _imports(path) if module.split(".")[0] in outside]


@pytest.mark.parametrize("path", _files("engine", "gateway", "persistence"), ids=_name)
def test_the_house_needs_none_of_its_visitors(path: Path) -> None:
    visitors = {"loadtests", "benchmarks", "tests"}
    assert not [module for module in _imports(path) if module.split(".")[0] in visitors]


@pytest.mark.parametrize("path", _files(*ROOMS), ids=_name)
def test_a_file_opens_with_what_it_is_for_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring at the top"
    assert text.count("\n") <= LINES_MAX


@pytest.mark.parametrize("path", _files("engine", "gateway", "persistence"), ids=_name)
def test_names_say_what_a_thing_is(path: Path) -> None:
    assert not BANNED_NAMES.search(path.stem)
    classes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
    assert not [c.name for c in classes if BANNED_NAMES.search(c.name)]


def test_nothing_of_the_workshop_is_in_the_project() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert ".venv" not in listed.stdout.split("\n"), "a link to somebody's own is not ignored"
    registries = [".".join(host) for host in (("pypi", "org"), ("pythonhosted", "org"))]
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yml", ".lock", ".sql", ""}:
            text = path.read_text(errors="ignore")
            assert not [host for host in registries if host in text], name
