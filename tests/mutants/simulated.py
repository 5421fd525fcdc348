"""Plants a bug and lets the simulation look for it, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.mutants.table import Mutant, planted

#: A bug that so many towns do not show is not caught.
WITHIN_SEEDS = 100


class Verdict(NamedTuple):
    """The first town that a bug violated."""

    seed: int
    invariant: str
    what: str


def found(mutant: Mutant, folder: Path) -> Verdict | None:
    """Return the first town that *mutant*, planted in the empty *folder*, violates; None: none."""
    tree = planted(mutant, folder)
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
    if done.returncode not in (0, 1):
        raise AssertionError(f"the simulation does not run: {done.stderr}")
    said = json.loads(done.stdout.splitlines()[-1])
    return Verdict(*said["failed"][0]) if said["failed"] else None
