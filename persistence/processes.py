"""Names a process of this machine, so that another can tell for certain that it has died.

A pid alone may be another process in another container, or on another machine: the kernel's boot
and the pid namespace go with it (proc(5), pid_namespaces(7)).
"""

import os
from contextlib import suppress
from pathlib import Path


def name_process(pid: int) -> str | None:
    """`<boot> <pid namespace> <pid>`, or None where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()  # whose pid it is, as we see it
    except OSError:
        return None
    return f"{boot} {namespace} {pid}"


def is_dead(process: str | None) -> bool:
    """Whether it is certain: it was of this kernel and namespace, and its pid is nobody's.

    One whose pid was given away again is taken for living.
    """
    pid = int(process.rpartition(" ")[2]) if process is not None else 0
    if pid <= 0 or process != name_process(pid):
        return False
    with suppress(PermissionError):  # it lives, as somebody else
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
    return False
