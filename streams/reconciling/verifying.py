"""
`orderflow ledger verify`: every entry of the trail, in one snapshot of PostgreSQL.

Needs nothing but the reader's rights. Promises to name the first bad entry, by SKU and version.
"""

import time
from collections.abc import Callable

from msgspec import Struct

from agents.audit import NO_ROW, BalanceRow, Fault, Trail
from streams.postgres.trails import snapshot

#: Hears how many entries were read, and at which SKU the reading is.
Progress = Callable[[int, str], None]


class Verdict(Struct):
    """What was read, and what is wrong with it."""

    entries: int = 0
    skus: int = 0
    #: Entries, and heads, that do not follow.
    bad: int = 0
    #: Entries that do not follow, and a person has said why.
    corrected: int = 0
    first: Fault | None = None
    seconds: float = 0.0

    def add(self, trail: Trail) -> None:
        """Count one SKU in; they come in order."""
        self.skus += 1
        self.bad += trail.faults
        self.corrected += trail.corrected
        self.first = self.first or trail.fault


def _silence(entries: int, sku: str) -> None:
    """Nobody wants to hear how far it is."""


async def verify(dsn: str, sku: str | None = None, progress: Progress = _silence) -> Verdict:
    """Verify one SKU's entries, or all. Raises LedgerUnavailable, Misconfigured."""
    began, verdict = time.monotonic(), Verdict()
    async with snapshot(dsn) as moment:
        balances = await moment.balances(sku)
        corrections = await moment.corrections()
        trail: Trail | None = None
        async for stretch in moment.entries(sku):
            for entry, chain in stretch:
                if trail is None or trail.sku != entry.sku:
                    _close(verdict, trail, balances)
                    trail = Trail(entry.sku, corrections)
                trail.take(entry, chain)
            verdict.entries += len(stretch)
            progress(verdict.entries, stretch[-1][0].sku)
        _close(verdict, trail, balances)
        for name in list(balances):
            _close(verdict, Trail(name), balances)
    verdict.seconds = time.monotonic() - began
    return verdict


def _close(verdict: Verdict, trail: Trail | None, balances: dict[str, BalanceRow]) -> None:
    """Compare a trail's end with its balance, which is struck out."""
    if trail is None:
        return
    row = balances.pop(trail.sku, NO_ROW)
    trail.close(row.version, row.chain, row.balance)
    verdict.add(trail)
