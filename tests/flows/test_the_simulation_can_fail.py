"""
Every seeded bug turns the simulation red, by the invariant that it breaks.

A simulation that cannot fail proves nothing. Each bug of the table is planted in a copy of the
tree, and towns are lived through there until one is violated.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, Mutant, planted

#: A bug that so many towns do not show is not caught.
WITHIN_SEEDS = 60


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_seeded_bug_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    tree = planted(mutant, tmp_path)

    done = subprocess.run(
        [
            sys.executable, "-m", "tests.simulation", "--seeds", str(WITHIN_SEEDS),
            "--jobs", "1", "--stop-at", "1", "--json",
        ],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip

    assert done.returncode in (0, 1), done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["failed"], f"nothing catches it: {mutant.guard}"
    ((seed, invariant, what),) = said["failed"]
    assert invariant in mutant.red, f"seed {seed}: {what}"


def test_the_bugs_that_every_battery_must_catch_are_in_the_table() -> None:
    """The simulation's share; the rest needs a broker, a gateway, a signature."""
    assert {1, 2, 3, 6, 7, 8, 10, 11} <= {mutant.number for mutant in MUTANTS}
