"""The search server of the tests: in memory, started in milliseconds, ended with its test."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from osmem_server import resolve_binary


@dataclass(frozen=True)
class SearchServer:
    url: str
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")


@contextmanager
def search_server(address: str = "127.0.0.1:0") -> Iterator[SearchServer]:
    command = [resolve_binary(), "--parent-pid", str(os.getpid()), "--no-ja", "--addr", address]
    with subprocess.Popen(
        [*command, "--no-stdin-watch"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            yield SearchServer(json.loads(process.stdout.readline())["url"], process)
        finally:
            process.kill()
