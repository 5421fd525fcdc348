"""
Plants every seeded bug, one after the other, and prints by which town and invariant it is caught.

    python -m tests.mutants             # the table of docs/proof.md
    python -m tests.mutants float       # those with the word in their name

Exit code 1: one of them survives, or is caught by an invariant that it does not break.
"""

import sys
import tempfile
from pathlib import Path

from tests.mutants.simulated import found
from tests.mutants.table import MUTANTS


def main() -> int:
    """Print one row a bug; return the exit code."""
    words, wrong = sys.argv[1:], 0
    print("| bug | what is without its guard | caught by | in town |\n| --- | --- | --- | --- |")
    for mutant in MUTANTS:
        if words and not any(word in mutant.name for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            verdict = found(mutant, Path(folder))
        wrong += verdict is None or verdict.invariant not in mutant.red
        by = f"{verdict.invariant} | {verdict.seed}" if verdict else "**nothing** |"
        print(f"| {mutant.number or '+'}. {mutant.name} | {mutant.guard} | {by} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
