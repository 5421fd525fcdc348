"""
The audit of one SKU's trail: its entries folded from zero, and the first that does not follow.

Pure: entries come in as rows, in the order of their versions; what they come to, and what is
wrong with them, comes out. `orderflow ledger verify` and the reconciler both stand on it.

An entry follows when its version is the next one, its balance is the one before with its move made,
and its chain seals it. Promise: the *first* entry that does not is named, whatever comes after; and
what a person confirmed once, with a reason, is counted as corrected and not found again.
"""

from collections.abc import Mapping
from typing import NamedTuple

from agents.chain import GENESIS, seal_of
from schemas.ledger import MoveRow, Ms

#: The buckets in the order of every balance here; the last counts down.
BUCKETS = ("available", "locked", "occupied", "reserved", "frozen", "shortfall")
Balance = tuple[int, int, int, int, int, int]
EMPTY: Balance = (0, 0, 0, 0, 0, 0)

_PLACE = {bucket: place for place, bucket in enumerate(BUCKETS)}
_SIGN = (1, 1, 1, 1, 1, -1)
#: Verbs that take from a hold, and end it where it does not go on with less.
_ENDS = frozenset({"release", "expire", "ship"})
_OF_HOLDS = _ENDS | {"hold", "occupy"}
#: Verb of a quota -> what it does to what the quota has left.
_OF_QUOTAS = {"allot": 1, "restore": 1, "give_back": -1, "draw": -1}


class Held(NamedTuple):
    """What one order holds of the SKU after its latest move, or held when it ended."""

    quantity: int
    bucket: str
    open: bool
    deadline_ms: Ms | None
    version: int
    verb: str
    #: Versions of its moves with a space between them.
    moves: str
    #: When the latest of them was.
    at: Ms

    def words(self) -> str:
        """Return what is held, for a person."""
        return f"{self.quantity} {self.bucket}" if self.open else "nothing"

    @property
    def void(self) -> bool:
        """Say whether it is a row without a move, ended by a repair."""
        return not self.open and not self.moves


#: Stands in for a hold that is not there.
NO_HOLD = Held(0, "", open=False, deadline_ms=None, version=0, verb="", moves="", at=0)


class BalanceRow(NamedTuple):
    """What stands beside the trail: the current balance, and the head of the chain."""

    version: int
    changed_at: Ms
    balance: Balance
    chain: bytes


#: Stands in for a balance that is not there, or was made void.
NO_ROW = BalanceRow(0, 0, EMPTY, GENESIS)


class Fault(NamedTuple):
    """An entry that does not follow from the ones before."""

    sku: str
    version: int
    #: What is wrong, in one clause.
    what: str
    expected: str
    found: str
    #: Found less expected, in the first bucket that differs; 0: no unit is astray.
    amount: int
    #: The entry is as it was written, and only *available* does not follow: the keeper's own
    #: balance was another one, and a correction there sets it right.
    by_keeper: bool = False


class Corrections(NamedTuple):
    """What persons have confirmed: by how much *available* was set right, and where it shows."""

    #: (SKU, version of the entry that did not follow) -> units.
    by_version: Mapping[tuple[str, int], int] = {}
    #: Id of the operator's command that set it right -> units.
    by_command: Mapping[str, int] = {}


NONE = Corrections()


class Trail:
    """One SKU's entries while they are read."""

    __slots__ = (
        "_corrections",
        "_mark",
        "at",
        "chain",
        "corrected",
        "entries",
        "fault",
        "faults",
        "folded",
        "holds",
        "marked",
        "quotas",
        "said",
        "sku",
        "version",
    )  # fmt: skip

    def __init__(self, sku: str, corrections: Corrections = NONE, mark: int | None = None) -> None:
        self.sku = sku
        self.version = 0
        self.at: Ms | None = None
        self.chain = GENESIS
        #: The balance as the latest entry states it, and as all moves come to from zero.
        self.said: Balance = EMPTY
        self.folded: Balance = EMPTY
        self.holds: dict[str, Held] = {}
        self.quotas: dict[str, int] = {}
        self.entries = self.faults = self.corrected = 0
        self.fault: Fault | None = None
        self._corrections = corrections
        self._mark = mark
        #: What stood after the entry of version *mark*: balance, holds, quotas.
        self.marked: tuple[Balance, dict[str, Held], dict[str, int]] | None = None
        if mark == 0:
            self.marked = (EMPTY, {}, {})

    def take(self, entry: MoveRow, chain: bytes) -> None:
        """Take the next entry; raises nothing: what does not follow is a fault."""
        self.entries += 1
        found = balance_of(entry)
        expected = moved(self.said, entry)
        self.folded = moved(self.folded, entry)
        corrected = found != expected and self._is_corrected(entry, expected, found)
        if entry.version != self.version + 1:
            self._blame(*self._gap(entry, expected, found))
        elif found != expected and not corrected:
            whole = found[1:] == expected[1:] and chain == seal_of(self.chain, entry)
            self._blame(entry.version, *_arithmetic(expected, found), by_keeper=whole)
        elif chain != (seal := seal_of(self.chain, entry)):
            self._blame(entry.version, "its chain does not seal it", seal.hex(), chain.hex(), 0)
        self.version, self.at, self.chain, self.said = entry.version, entry.at, chain, found
        self._hold(entry)
        if entry.quota is not None and (sign := _OF_QUOTAS.get(entry.verb)):
            self.quotas[entry.quota] = self.quotas.get(entry.quota, 0) + sign * entry.quantity
        if entry.version == self._mark:
            self.marked = (found, dict(self.holds), dict(self.quotas))

    def close(self, version: int, chain: bytes, balance: Balance) -> None:
        """Compare the end with the balance and the head that stand beside the ledger."""
        if version > self.version:
            self._blame(
                self.version + 1,
                f"entries {self.version + 1} to {version} are missing at the end",
                f"version {version}",
                f"version {self.version}",
                amount(balance, self.said),
            )
        elif chain != self.chain:
            self._blame(
                version + 1,
                "the head beside the balance is not the chain of the last entry",
                self.chain.hex(),
                chain.hex(),
                0,
            )
        elif version != self.version:
            self._blame(
                self.version,
                "the balance has another version than the last entry",
                f"version {self.version}",
                f"version {version}",
                amount(self.said, balance),
            )
        elif balance != self.said:
            what = difference(self.said, balance)
            self._blame(
                version + 1,
                f"the balance is not what the last entry says: {what}",
                words(self.said),
                words(balance),
                amount(self.said, balance),
            )

    def _gap(
        self, entry: MoveRow, expected: Balance, found: Balance
    ) -> tuple[int, str, str, str, int]:
        next_, version = self.version + 1, entry.version
        if version > next_:
            which = f"entries {next_} to {version - 1} are missing"
            what, first = f"{which}: {difference(expected, found) or 'no unit is astray'}", next_
        else:
            what, first = "its version stands there already", version
        return first, what, f"version {next_}", f"version {version}", amount(expected, found)

    def _is_corrected(self, entry: MoveRow, expected: Balance, found: Balance) -> bool:
        if found[1:] != expected[1:]:
            return False
        units = found[0] - expected[0]
        known = (
            self._corrections.by_version.get((entry.sku, entry.version)),
            self._corrections.by_command.get(entry.command_id or ""),
        )
        if units not in known:
            return False
        self.corrected += 1
        self.folded = (self.folded[0] + units, *self.folded[1:])
        return True

    def _blame(
        self,
        version: int,
        what: str,
        expected: str,
        found: str,
        amount: int,
        *,
        by_keeper: bool = False,
    ) -> None:
        self.faults += 1
        known = self.fault
        if known is None or version < known.version:
            self.fault = Fault(self.sku, version, what, expected, found, amount, by_keeper)

    def _hold(self, entry: MoveRow) -> None:
        order, verb = entry.order_key, entry.verb
        if order is None or verb not in _OF_HOLDS:
            return
        known, takes = self.holds.get(order), verb in _ENDS
        self.holds[order] = Held(
            entry.quantity if entry.held is None else entry.held,
            (entry.source if takes else entry.target) or "locked",
            not (takes and entry.held is None),
            entry.deadline_at,
            entry.version,
            verb,
            f"{known.moves} {entry.version}" if known else str(entry.version),
            entry.at,
        )


def balance_of(entry: MoveRow) -> Balance:
    """Return the balance that *entry* states."""
    return (
        entry.available, entry.locked, entry.occupied, entry.reserved, entry.frozen,
        entry.shortfall,
    )  # fmt: skip


def moved(before: Balance, entry: MoveRow) -> Balance:
    """Return *before* with the move of *entry* made."""
    after = list(before)
    for bucket, sign in ((entry.source, -1), (entry.target, 1)):
        if bucket is not None and (place := _PLACE.get(bucket)) is not None:
            after[place] += sign * _SIGN[place] * entry.quantity
    return tuple(after)  # type: ignore[return-value]


def difference(expected: Balance, found: Balance) -> str:
    """Return in words where two balances differ: `available 7 instead of 5 (+2)`."""
    return ", ".join(
        f"{bucket} {is_} instead of {should} ({is_ - should:+})"
        for bucket, should, is_ in zip(BUCKETS, expected, found, strict=True)
        if is_ != should
    )


def words(balance: Balance) -> str:
    """Return a balance for a person."""
    said = ", ".join(
        f"{bucket} {units}" for bucket, units in zip(BUCKETS, balance, strict=True) if units
    )
    return said or "nothing"


def _arithmetic(expected: Balance, found: Balance) -> tuple[str, str, str, int]:
    what = f"its balance does not follow: {difference(expected, found)}"
    return what, words(expected), words(found), amount(expected, found)


def amount(expected: Balance, found: Balance) -> int:
    """Return found less expected in the first bucket that differs."""
    return next((is_ - should for should, is_ in zip(expected, found, strict=True)
                 if is_ != should), 0)  # fmt: skip
