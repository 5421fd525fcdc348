"""
Seeded bugs: guards of ours, taken out one at a time, to prove that the checks can fail.

`table.py` has them: what each guards against, the text that takes it out, which battery must catch
it (the simulation, a plan of chaos, named tests), and by what. `batteries.py` plants them. A mutant
is text replaced in a copy of the tree, so that whatever is started from that copy (one process or
twenty, in a simulation or on a real broker) has the bug, and no other process has.
"""

from tests.mutants.table import MUTANTS, Edit, Mutant, planted

__all__ = ["MUTANTS", "Edit", "Mutant", "planted"]
