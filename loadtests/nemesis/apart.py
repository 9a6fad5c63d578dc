"""The product, each node in the network namespace that was laid for it.

    python -m loadtests.nemesis.apart up ...

A gateway listens on an address of its own there, in place of the launcher's.
"""

import os
import sys

import msgspec

from gateway import launcher
from gateway.__main__ import main
from loadtests.nemesis.network import HOMES, HTTP_PORT, Home, enter, short


def _at_home(argument: str, home: Home) -> str:
    option, _, inherited = argument.partition("=")
    if option != "--listen-fd":
        return argument
    os.close(int(inherited))
    return f"{option}={launcher.listen(home.address, HTTP_PORT).detach()}"


if __name__ == "__main__":
    launcher.Node.module = "loadtests.nemesis.apart"
    if sys.argv[1] == "node":
        (named,) = (each for each in sys.argv if each.startswith("--name="))
        homes = msgspec.json.decode(os.environ[HOMES], type=dict[str, Home])
        its_home = homes[short(named.partition("=")[2])]
        enter(its_home)
        sys.argv = [_at_home(argument, its_home) for argument in sys.argv]
    main()
