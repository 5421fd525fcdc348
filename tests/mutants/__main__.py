"""
Plants every seeded bug, one after the other, and prints what caught it.

    python -m tests.mutants             # the table of docs/proof.md; needs the stack: `make up`
    python -m tests.mutants float       # those with the word in their name
    python -m tests.mutants --cheap     # what needs no stack

Exit code 1: one of them survives, is caught by something that it does not break, or was not
looked at.
"""

import sys
import tempfile
from pathlib import Path

from tests.mutants.batteries import NoStackError, found, is_red
from tests.mutants.table import MUTANTS, Mutant


def main() -> int:
    """Print one row a bug; return the exit code."""
    if "--help" in sys.argv:
        print(__doc__)
        return 0
    cheap = "--cheap" in sys.argv
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    print("| bug | its guard | caught by | where |\n| --- | --- | --- | --- |")
    caught = [
        _told(mutant)
        for mutant in MUTANTS
        if (mutant.is_cheap or not cheap)
        and (not words or any(word in mutant.name for word in words))
    ]
    return 0 if all(caught) else 1


def _told(mutant: Mutant) -> bool:
    """Print the row of *mutant*; say whether it was caught by what it breaks."""
    by, good = "**nothing** |", False
    with tempfile.TemporaryDirectory() as folder:
        try:
            verdict = found(mutant, Path(folder))
        except NoStackError:
            by = "not looked at: `make up` first |"
        else:
            if verdict is not None:
                good = is_red(mutant, verdict)
                by = f"{verdict.by}{'' if good else ', which it does not break'} | {verdict.where}"
    print(f"| {mutant.number or '+'} {mutant.name} | {mutant.guard} | {by} |", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
