"""
What the hands need of the world, as Protocols. `streams` has the real ones, tests have lists.

A port speaks in our words and fails in our errors: `Unavailable` when waiting may help, nothing
else that a caller could mistake for it.
"""

from collections.abc import Iterable
from typing import Protocol

from schemas.errors import PartitionHalted, Rejected
from schemas.ledger import LedgerBatch, Start, TopicPartition


class RefusedByLedger(Rejected):
    """The ledger cannot store a value of this batch, and will not store it the next time."""


class FramesHalted(PartitionHalted):
    """Some partitions contradict themselves; everything else of the round is written."""

    def __init__(self, halted: dict[TopicPartition, str]) -> None:
        super().__init__("; ".join(halted.values()))
        #: Topic and partition -> what is wrong with it, in one sentence.
        self.halted = halted


class Ledger(Protocol):
    """The memory outside: rows and positions, written together or not at all."""

    async def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Start]:
        """
        Return where each partition goes on, and what was heard on it.

        Waits for a write that is still under way, whoever began it: what comes back is settled.
        Raises LedgerUnavailable.
        """
        ...

    async def write(self, batch: LedgerBatch) -> None:
        """
        Write *batch* in one transaction, if every partition still stands where it begins.

        Raises LedgerUnavailable when it may or may not be written (ask `starts`), RefusedByLedger
        when it is not written because of a value in it.
        """
        ...
