"""
Every seeded bug turns the simulation red, by the invariant that it breaks.

A simulation that cannot fail proves nothing. Each bug of the table is planted in a copy of the
tree, and towns are lived through there until one is violated. `python -m tests.mutants` prints
the same as a table.
"""

from pathlib import Path

import pytest

from tests.mutants import MUTANTS, Edit, Mutant, planted
from tests.mutants.simulated import found


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_seeded_bug_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    verdict = found(mutant, tmp_path)

    assert verdict is not None, f"nothing catches it: {mutant.guard}"
    assert verdict.invariant in mutant.red, verdict


def test_the_bugs_that_every_battery_must_catch_are_in_the_table() -> None:
    """The simulation's share; the rest needs a broker, a gateway, a signature."""
    assert {1, 2, 3, 6, 7, 8, 10, 11} <= {mutant.number for mutant in MUTANTS}


def test_a_bug_whose_place_is_gone_is_said_to_be_stale(tmp_path: Path) -> None:
    stale = Mutant("stale", 0, "", (), (Edit("agents/frames.py", "no such line", ""),))

    with pytest.raises(ValueError, match="has 0 times"):
        planted(stale, tmp_path)
