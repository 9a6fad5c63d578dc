"""The garbage collector of a process that serves."""

import gc


def calm() -> None:
    """What is loaded stays; what a request makes is freed by its references, not by searching. The
    youngest are few, so that one search is a short step.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)
