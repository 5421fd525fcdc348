"""
Held messages: what intake sets aside while a shop is paused, and reads in order afterwards.

`raw-held` is a log that explains itself. A held record is a raw record whole, with the pause it
belongs to and the place it came from; it stands in the partition of the same number, so that who
reads that partition of the platform finds what was set aside there and nobody else has to. A mark
says how far one pause's records of one partition have been read, and whether that was all.

Promise: for each place there is one reading, in the order of the places. A crash sets a record
aside twice, or reads some of them twice; the lane skips what it had, and the keeper knows the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.letters import Headers

#: What an output that is set aside counts as.
HELD = "held"
_PAUSE, _ORIGIN, _RECEIVED, _KEY, _NULL = "pause", "origin", "received", "key", "null"
_THROUGH, _LAST, _ALL = "through", "last", "all"
_OURS = frozenset({_PAUSE, _ORIGIN, _RECEIVED, _KEY, _NULL})


class Record(Protocol):
    """What is read of a record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class Kept:
    """A raw record as it was received, whichever way it has taken since."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def held(
    pause: int, shop_key: bytes, topic: str, partition: int, record: Record
) -> tuple[bytes, bytes, Headers]:
    """Return key, value and headers under which *record* is set aside for *pause*."""
    headers = [
        (_PAUSE, b"%d" % pause),
        (_ORIGIN, f"{topic}/{partition}/{record.offset}".encode()),
        (_RECEIVED, b"%d" % record.timestamp),
    ]
    if record.key is not None:
        headers.append((_KEY, record.key))
    if record.value is None:
        headers.append((_NULL, b""))
    return shop_key, record.value or b"", [*headers, *record.headers]


class Lane:
    """How far one pause's records have been read in one partition of `raw-held`."""

    def __init__(self, pause: int, start: int) -> None:
        self._pause = b"%d" % pause
        #: The next offset of `raw-held` to be read.
        self.next = start
        #: Everything that was set aside has been read.
        self.is_all = False
        #: The last place that was read, of the platform's partition.
        self._last = -1

    def learn(self, record: Record) -> None:
        """Take what *record* says about how far this lane was read before."""
        said = dict(record.headers)
        if said.get(_PAUSE) != self._pause:
            return
        if _THROUGH in said:
            self.next = max(self.next, int(said[_THROUGH]))
            self._last = max(self._last, int(said[_LAST]))
            self.is_all = _ALL in said
        elif record.offset >= self.next and _offset(said) > self._last:
            self.is_all = False

    def read(self, record: Record) -> Kept | None:
        """Return the raw record that *record* holds; None: it is another's, or was read before."""
        if record.offset < self.next:
            return None
        self.next = record.offset + 1
        said = dict(record.headers)
        if said.get(_PAUSE) != self._pause or _THROUGH in said:
            return None
        offset = _offset(said)
        if offset <= self._last:
            return None
        self._last = offset
        return Kept(
            offset,
            int(said[_RECEIVED]),
            said.get(_KEY),
            None if _NULL in said else record.value or b"",
            [(name, value) for name, value in record.headers if name not in _OURS],
        )

    def mark(self, *, is_all: bool) -> Headers:
        """Return the headers of the record that says how far this lane has been read."""
        self.is_all = is_all
        headers = [
            (_PAUSE, self._pause),
            (_THROUGH, b"%d" % self.next),
            (_LAST, b"%d" % self._last),
        ]
        return [*headers, (_ALL, b"")] if is_all else headers


def _offset(said: dict[str, bytes]) -> int:
    return int(said[_ORIGIN].rpartition(b"/")[2])
