"""`./run test`: two processes share the tests; what needs the machine for itself comes after."""

import sys

import pytest

_TOGETHER = ["-n2", "--no-loadscope-reorder", "-mnot alone"]
_ALONE = ["-malone"]


def main(asked: list[str]) -> int:
    """The exit code: that of what failed, if anything did."""
    codes: set[int] = set()
    for chosen in (_TOGETHER, _ALONE):
        codes.add(pytest.main([*chosen, *asked]))
        if pytest.ExitCode.INTERRUPTED in codes:
            break
    return min(codes - {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED} or codes)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
