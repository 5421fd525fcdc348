"""
Frames: one per partition and poll, instead of one event per record.

Faust spends four tasks and about 100 microseconds on everything it delivers. What it delivers
here is a whole run of records, so an empty agent costs about 3 microseconds a record.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP


class Frame:
    """Looks to Faust like one record: its value is the records, its offset the last one's."""

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

    def __init__(self, tp: TP, records: Sequence[Any]) -> None:
        last = records[-1]
        self.topic = tp.topic
        self.partition = tp.partition
        self.offset = last.offset
        self.timestamp = last.timestamp
        self.timestamp_type = last.timestamp_type
        self.headers = ()
        self.key = None
        self.value = records
        self.checksum = None
        self.serialized_key_size = 0
        self.serialized_value_size = 0


class FrameScheduler(DefaultSchedulingStrategy):
    """Hands out what one poll brought, a frame a partition."""

    def iterate(self, records: Mapping[TP, Sequence[Any]]) -> Iterator[tuple[TP, Frame]]:
        """Yield one frame per partition that brought something."""
        for tp, run in records.items():
            if run:
                yield tp, Frame(tp, run)
