"""A process that is measured may consist of several: they stand still, count and end together."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from streams.bench.processes import Child, Sampler
from streams.processes import argv, family

#: A parent that waits for a child, which works.
TWO = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "while True: pass"])
"""
_WITHIN_S = 30.0


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + _WITHIN_S
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def two() -> Child:
    return Child("two", (sys.executable, "-c", TWO), {})


def both_at_work(parent: int) -> bool:
    """Not the moment of a fork, in which a parent cannot be stopped."""
    pids = family(parent)
    return len(pids) == 2 and argv(pids[1])[-1:] == ["while True: pass"]


def test_what_a_process_has_started_stands_still_and_goes_on_with_it():
    with two() as child:
        assert until(lambda: both_at_work(child.pid))
        pids = family(child.pid)

        child.hold()
        assert until(lambda: all(state(pid) == "T" for pid in pids))

        child.go()
        assert until(lambda: all(state(pid) != "T" for pid in pids))
        os.kill(pids[1], 9)  # its parent then ends by itself


def test_the_cpu_of_a_process_is_also_that_of_what_it_has_started():
    with two() as child:
        assert until(lambda: both_at_work(child.pid))
        began = time.time() * 1000

        with Sampler({"both": [child.pid], "unknown": [child.pid, None]}) as sampler:
            assert until(lambda: (sampler.between("both", began, time.time() * 1000) or 0) > 0.1)
        unknown = sampler.between("unknown", began, time.time() * 1000)
        os.kill(family(child.pid)[1], 9)

    assert unknown is None
