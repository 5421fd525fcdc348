"""
Every seeded bug turns its battery red, by what it breaks.

A battery that cannot fail proves nothing. Each bug of the table is planted in a copy of the tree,
and its battery is run there. Those that need neither the stack nor minutes are planted here, with
the town that is known to show them; `python -m tests.mutants` plants all, and prints the table.
"""

from pathlib import Path

import pytest

from tests.mutants import MUTANTS, Edit, Mutant, planted
from tests.mutants.batteries import found, is_red


@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in MUTANTS if mutant.is_cheap],
    ids=lambda mutant: mutant.name.replace(" ", "-"),
)
def test_a_seeded_bug_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    verdict = found(mutant, tmp_path, known=True)

    assert verdict is not None, f"nothing catches it: {mutant.guard}"
    assert is_red(mutant, verdict), verdict


@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in MUTANTS if not mutant.is_cheap],
    ids=lambda mutant: mutant.name.replace(" ", "-"),
)
def test_a_seeded_bug_that_needs_the_stack_can_still_be_planted(
    mutant: Mutant, tmp_path: Path
) -> None:
    assert planted(mutant, tmp_path) == tmp_path


def test_the_bugs_that_every_battery_must_catch_are_in_the_table() -> None:
    assert set(range(1, 13)) <= {mutant.number for mutant in MUTANTS}


def test_a_bug_whose_place_is_gone_is_said_to_be_stale(tmp_path: Path) -> None:
    stale = Mutant("stale", 0, "", (), (Edit("agents/frames.py", "no such line", ""),))

    with pytest.raises(ValueError, match="has 0 times"):
        planted(stale, tmp_path)
