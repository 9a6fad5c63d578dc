"""Network namespaces: each node on a machine of its own, as far as its packets can tell.

Rules of this file:

- Nothing of the host's network is touched: the whole run moves into a namespace that the host does
  not see, made by `unshare`, for anybody who may make user namespaces. It ends with its processes.
- The namespace of a node is held by a process that ends with us, however we end; a node that is
  killed comes back into the same one.
- A node is joined by a pair of its own. What is lost is lost by rules at our end, in silence:
  no connection is reset, and nobody's address becomes unreachable.
- Needed are util-linux and iproute2 alone.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from msgspec import Struct

POSTGRES, VALKEY, CROWD = "10.99.0.1", "10.99.0.2", "10.99.0.3"
HTTP_PORT = 8000
HOMES = "NEMESIS_HOMES"  # where nodes are told of them: by name, as JSON

# Rules are asked in the order of their numbers; usually our own addresses come before all of them.
_LOCAL_RULE, _FIRST_RULE = 32_000, 100
_OUR_END = (
    "link set lo up",
    *(f"addr add {address}/32 dev lo" for address in (POSTGRES, VALKEY, CROWD)),
    f"rule add pref {_LOCAL_RULE} lookup local",
    "rule del pref 0",
)
# Both ends have one address and ask nobody for it: a neighbour that is not found would be told of.
_LINK_ADDRESS = "02:00:00:00:00:01"
_CLONE_NEWNET = 0x40000000
_WAYS_OUT = (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"])
_PROBE = (
    "unshare --net true && ip link set lo up && ip link add end1 type veth peer name end2"
    f" && ip rule add pref {_FIRST_RULE} from {POSTGRES} to {VALKEY} blackhole"
)


class Home(Struct, frozen=True):
    """Where a node lives: `holder` is a process in its namespace."""

    address: str
    holder: int


def way_out() -> list[str] | None:
    """What to put before a command to give it a network of its own; None: it is not allowed."""
    for prefix in _WAYS_OUT:
        try:
            subprocess.run([*prefix, "sh", "-c", _PROBE], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return prefix
    return None


def move_out(prefix: Sequence[str], module: str, arguments: Sequence[str]) -> None:
    """Become `python -m MODULE`, this process still, in a network of its own."""
    os.execvp(prefix[0], [*prefix, sys.executable, "-m", module, *arguments])


def short(name: str) -> str:
    """A node's name without its machine's."""
    return name.rpartition("/")[2]


def enter(home: Home) -> None:
    """As long as there is one thread: a namespace is a thread's. Raises OSError."""
    namespace = os.open(f"/proc/{home.holder}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "can't enter a network namespace")
    os.close(namespace)


class Network:
    """Only in a network of our own. `home_by_name`: of nodes, by what they are called here."""

    def __init__(self) -> None:
        self.home_by_name: dict[str, Home] = {}

    @contextmanager
    def laid(self, names: Sequence[str]) -> Iterator[None]:
        """Raises OSError, CalledProcessError."""
        _ip(_OUR_END)
        with ExitStack() as stack:
            for number, name in enumerate(names, 1):
                holder = stack.enter_context(_held_namespace())
                home = self.home_by_name[name] = Home(f"10.99.1.{number}", holder)
                _join(home, f"node{number}")
            yield

    def name_at(self, address: str) -> str | None:
        homes = self.home_by_name.items()
        return next((name for name, home in homes if home.address == address), None)

    @contextmanager
    def losing(self, ways: Sequence[tuple[str, str]], number: int) -> Iterator[None]:
        """Every packet from the first address of each to the second. `number`: no other's."""
        rules = [f"pref {_FIRST_RULE + number} from {a} to {b} blackhole" for a, b in ways]
        _ip([f"rule add {rule}" for rule in rules])
        try:
            yield
        finally:
            _ip([f"rule del {rule}" for rule in rules])


@contextmanager
def _held_namespace() -> Iterator[int]:
    """The process that holds it: it reads until nobody can write to it any more."""
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield holder.pid


def _join(home: Home, ours: str) -> None:
    ends = f"{ours} address {_LINK_ADDRESS} type veth peer name eth0 address {_LINK_ADDRESS}"
    _ip(
        [
            f"link add {ends} netns {home.holder}",
            f"link set {ours} arp off up",
            f"route add {home.address}/32 dev {ours} src {CROWD}",
        ]
    )
    _ip(
        [
            "link set lo up",
            "link set eth0 arp off up",
            f"addr add {home.address}/32 dev eth0",
            "route add default dev eth0",
        ],
        ["nsenter", f"--net=/proc/{home.holder}/ns/net"],
    )


def _ip(commands: Sequence[str], within: Sequence[str] = ()) -> None:
    lines = "\n".join(commands).encode()
    subprocess.run([*within, "ip", "-batch", "-"], input=lines, capture_output=True, check=True)
