"""
The independent check: do the invariants hold, judged from the topics and PostgreSQL alone.

Nothing here shares a line with what it judges. It reads MessagePack as plain lists and JSON as
plain dicts, restates the layouts and the rules in its own words (`words.py`, `wire.py`), and
recomputes every balance, hold, story and row from the letters and events. A mistake in the
keepers can therefore not hide in a mistake they share with their judge; import-linter keeps it so.

    reading.py   every topic from its first record to the end it had when the check began
    checker.py   hands each record to the witnesses below, in one pass
    witnesses    lanes (I7) · stock (I1 I2 I3 T21) · orders (I6 I8) · journey (I4) · money (I10)
                 keeping (I5: changelogs and positions) · demands (T21) · details · feedlog
    ledger.py    PostgreSQL = what the events say (I8), each event once (I7), rights (I13)
    report.py    what was found: a figure and the first examples of every invariant

It judges a system at rest: while records wait, I5 says so and the verdict is no.
"""

from streams.check.report import Example, Finding, Report, render
from streams.check.run import run

__all__ = ["Example", "Finding", "Report", "render", "run"]
