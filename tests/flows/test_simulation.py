"""
Three hundred towns: the engine's own workers under seeded faults, every invariant after every step.

A seed that fails is told, and lived through again with `python -m tests.simulation --seed N`.
`make simulate SEEDS=5000` tries more of them, on all cores.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.mutants.table import ROOT

SEEDS, AT_A_TIME = 300, 60


def simulated(*args: str) -> dict[str, Any]:
    """Run the simulation as a person does; return what it says at the end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--jobs", "1", "--json", *args],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.parametrize("first", range(0, SEEDS, AT_A_TIME))
def test_a_town_keeps_its_books_whatever_dies_or_comes_too_late(first: int) -> None:
    said = simulated("--from", str(first), "--seeds", str(AT_A_TIME))

    assert said["seeds"] == AT_A_TIME
    # A town in which nothing goes wrong proves nothing.
    for fault in ("kill", "stop", "rejoin", "rebalance", "join", "cut", "late_commits", "repeats"):
        assert said[fault] > AT_A_TIME / 4, fault
    assert said["compacted"] > 0


#: In the first a recovery was broken off behind what a stopped worker had written; in the next
#: three ends of changelogs were told to a recovery whose partitions had moved. Each of these has a
#: test of its own in `test_late_recoveries.py`: a town takes another course with every change of
#: the plan. In 3059 a worker was stopped for longer than it may read what another had written;
#: it ends, as it should. In the last an edit was refused, the order expired, and was paid: each SKU
#: was asked for twice in one attempt (`test_reservation_flow.py`).
@pytest.mark.parametrize("seed", [2660, 32, 129, 224, 3059, 3976])
def test_a_town_that_was_violated_once_is_not_again(seed: int) -> None:
    assert simulated("--seed", str(seed))["seeds"] == 1


def test_one_seed_is_one_run() -> None:
    first, again = (simulated("--seeds", "3") for _ in range(2))

    assert first["print"] == again["print"]
    assert first["steps"] == again["steps"]


def test_a_number_that_is_none_is_bad_input() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "begin at 1" in done.stderr
