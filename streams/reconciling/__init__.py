"""
Audit: the ledger proved, and the stores that repeat each other compared.

    verifying.py    `orderflow ledger verify`: chain, versions and sums of every entry
    keepers.py      the keepers' rows, from their changelogs
    looking.py      one look: the five comparisons, without a false alarm while the system works
    book.py         what was found, and what a person did about it: the table `drifts`
    confirming.py   carries out what a drift proposes
    watching.py     `orderflow reconcile --every`: looks again and again, with metrics

The rules stand in `agents/audit.py` and `agents/comparing.py`, pure.
"""
