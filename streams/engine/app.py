"""
Faust's app, one for each role of a process.

Promise: the role seeks when Faust is done with a rebalance and not before, and whatever fails ends
the process, for a reason that is kept.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import faust

from streams.engine.metrics import Metrics


class Backlog(Protocol):
    """What waits for a role."""

    @property
    def full(self) -> bool:
        """Is there enough to do, so that nothing more need be fetched?"""

    async def room(self, within: float) -> None:
        """Wait until there is room for more, at most *within* seconds."""


class Served(Protocol):
    """What a role is to those who read and recover for it."""

    @property
    def rounds(self) -> Backlog:
        """What waits for it."""

    def coming(self) -> None:
        """Partitions are being assigned."""

    def begin(self) -> None:
        """Seek and open what is assigned."""

    async def recovered(self, seconds: float) -> None:
        """Take note that the changelogs are read."""

    def close(self) -> None:
        """Close its partitions."""

    async def closed(self) -> None:
        """Wait until its round has ended, within a bound."""


class App(faust.App):
    """Faust's app, with the role it serves."""

    role: Served
    metrics: Metrics
    partition_of: Callable[[str, bytes], int]
    counts: Mapping[str, int]
    topic_ids: Mapping[str, bytes]
    poll_pause: float
    failed: "asyncio.Future[BaseException]"

    def _create_directories(self) -> None:
        """Leave the disk alone: nothing of ours is kept in Faust's folders."""

    def on_rebalance_end(self) -> None:
        """Let the role seek: only now has Faust cleared its queues and resumed the flow."""
        super().on_rebalance_end()
        self.role.begin()

    def fail(self, error: BaseException) -> None:
        """End the process, for this reason."""
        if not self.failed.done():
            self.failed.set_result(error)

    def watch(self, task: "asyncio.Task[Any]") -> None:
        """Let the end of *task* by an error be the process's end."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
