"""
What a new mapping does to those that are there: it wins for its time, and theirs is cut. Pure.

Promise: of one SKU of theirs at most one mapping holds at any instant, and nothing outside the
time that was named changes.
"""

from collections.abc import Sequence
from typing import NamedTuple

#: Before and after every instant that is meant.
_FIRST, _LAST = -(1 << 62), 1 << 62


class Held(NamedTuple):
    """A mapping that is there: theirs is *ours* from an instant to before another, ms."""

    id: int
    ours: str
    #: None: from the beginning, or for good.
    from_ms: int | None
    until_ms: int | None


class Moved(NamedTuple):
    """A mapping that is there and holds for another time; none at all: it never held."""

    id: int
    from_ms: int | None
    until_ms: int | None
    withdrawn: bool = False


class Added(NamedTuple):
    """A new mapping."""

    ours: str
    from_ms: int | None
    until_ms: int | None


Change = Moved | Added


def when(
    held: Sequence[Held], from_ms: int | None, until_ms: int | None, now_ms: int
) -> tuple[int | None, int | None]:
    """
    Return from when to when a mapping holds for which a person named no time, or one end of it.

    The first one of a SKU always held: nothing was mapped otherwise, and orders wait for it. A
    change holds from now on. Either ends where the next one, planned before, begins.
    """
    if from_ms is None and held:
        from_ms = now_ms
    if until_ms is None:
        begins = [each.from_ms for each in held if each.from_ms is not None]
        later = [begin for begin in begins if begin > (_FIRST if from_ms is None else from_ms)]
        until_ms = min(later, default=None) if from_ms is not None else None
    return from_ms, until_ms


def painted(
    held: Sequence[Held], ours: str | None, from_ms: int | None, until_ms: int | None
) -> list[Change]:
    """Return what changes where theirs shall be *ours* (None: nothing) for that time."""
    begin, end = _span(from_ms, until_ms)
    changes: list[Change] = []
    for each in held:
        first, last = _span(each.from_ms, each.until_ms)
        if last <= begin or end <= first:
            continue
        if ours is not None and each.ours == ours and first <= begin and end <= last:
            return []
        if first < begin:
            changes.append(Moved(each.id, each.from_ms, from_ms))
            if end < last:
                changes.append(Added(each.ours, until_ms, each.until_ms))
        elif end < last:
            changes.append(Moved(each.id, until_ms, each.until_ms))
        else:
            changes.append(Moved(each.id, each.from_ms, each.until_ms, withdrawn=True))
    if ours is not None:
        changes.append(Added(ours, from_ms, until_ms))
    return changes


def _span(from_ms: int | None, until_ms: int | None) -> tuple[int, int]:
    return (
        _FIRST if from_ms is None else from_ms,
        _LAST if until_ms is None else until_ms,
    )
