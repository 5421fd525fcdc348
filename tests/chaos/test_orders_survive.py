"""
The short chaos of every run: the whole chain under load, broken by a seeded plan, exact to a unit.

The plan is `slice`, and its seed follows the commit, so that other faults are met with every
change. Replay a run with `ORDERFLOW_TEST_SEED=<seed> make test ARGS="-k survive"`, or with what it
printed: `orderflow chaos --plan slice --seed <seed>`.
"""

import json
import os
import subprocess
import sys

import pytest

from streams.chaos.act import commit
from tests.integration.databases import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.chaos, pytest.mark.alone]

ORDERS = 2_500


def _seed() -> int:
    if told := os.environ.get("ORDERFLOW_TEST_SEED"):
        return int(told)
    try:
        return int(commit().rstrip("+"), 16) % (1 << 30)
    except ValueError:
        return 1


def test_orders_survive_kills_stops_and_crashes_of_servers() -> None:
    """T48, T51: nothing is lost or done twice, and each order's events stay in their order."""
    seed = _seed()
    print(f"seed {seed}")
    done = subprocess.run(
        [
            sys.executable, "-m", "streams.cli", "chaos", "--plan", "slice",
            "--seed", str(seed), "--orders", str(ORDERS), "--json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )  # fmt: skip
    said = f"seed {seed}:\n{done.stderr[-6000:]}"
    assert done.returncode == 0, said
    outcome = json.loads(done.stdout.splitlines()[-1])
    (part,) = outcome["parts"]
    assert outcome["ok"], said
    assert part["complete"], said
    assert part["orders"] >= ORDERS
    assert part["parked"] == part["poison"] > 0
    assert all(line["bytes"] for line in part["lines"].values())
