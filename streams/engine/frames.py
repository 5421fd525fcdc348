"""
Frames: whole runs of records through Faust, instead of one event per record.

Faust spends several tasks and about a tenth of a millisecond on everything it delivers. What it
delivers here is all that one poll brought of the inboxes, whatever the partitions, and of a
changelog, whose offsets its recovery counts, a run a partition.

A poll's offset is its number. Faust drops what lies below the offset it last saw in a partition;
polls only ever count up, so it drops none, whatever was sought meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP

#: What one poll brought of the inboxes: partition -> its run of records.
Poll = dict[TP, list[Any]]


class Frame:
    """Looks to Faust like one record of *tp*; its value is what was fetched."""

    __slots__ = (
        "checksum",
        "headers",
        "key",
        "offset",
        "partition",
        "serialized_key_size",
        "serialized_value_size",
        "timestamp",
        "timestamp_type",
        "topic",
        "value",
    )

    def __init__(self, tp: TP, offset: int, value: Any) -> None:
        self.topic = tp.topic
        self.partition = tp.partition
        self.offset = offset
        self.timestamp = None
        self.timestamp_type = None
        self.headers = ()
        self.key = None
        self.value = value
        self.checksum = None
        self.serialized_key_size = 0
        self.serialized_value_size = 0


class FrameScheduler(DefaultSchedulingStrategy):
    """Hands out what one poll brought: the inboxes' records in one frame, changelogs' in runs."""

    def __init__(self, is_changelog: Callable[[TP], bool]) -> None:
        self._is_changelog = is_changelog
        #: How many polls brought anything of the inboxes.
        self.polls = 0

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Frame]]:
        """Yield a frame per changelog partition, and one of all that is left."""
        poll: Poll = {}
        for tp, run in records.items():
            if not run:
                continue
            if self._is_changelog(tp):
                yield tp, Frame(tp, run[-1].offset, run)
            else:
                poll[tp] = run
        if poll:
            tp = next(iter(poll))
            self.polls += 1
            yield tp, Frame(tp, self.polls, poll)
