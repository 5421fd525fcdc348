"""
Time and turns: an event loop whose clock stands still until somebody moves it.

Nothing runs beside it and nothing is waited for, so one seed always gives one run. What the engine
reads of `time` comes from here too, and each worker's wall clock may be wrong by an amount of its
own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tests.builders import T0

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

#: Turns of the loop after which something turns for ever.
TURNS_MAX = 20_000
#: Whose task is running.
WORKER: "ContextVar[Worker | None]" = ContextVar("WORKER", default=None)


class Loop(asyncio.BaseEventLoop):
    """An event loop without a world outside."""

    def __init__(self) -> None:
        super().__init__()
        #: Seconds since the beginning.
        self.now = 0.0
        self._selector = self
        self._clock_resolution = 1e-9
        self.set_task_factory(_owned)
        self.set_exception_handler(lambda _loop, _context: None)

    def time(self) -> float:
        """The simulation's clock."""
        return self.now

    def select(self, timeout: float | None) -> Sequence[object]:
        """There is nothing to wait for; whoever steps the town moves the clock."""
        if timeout is None or timeout > 0:
            raise AssertionError("the town itself waits: nobody would move the clock")
        return ()

    def _process_events(self, _events: Sequence[object]) -> None:
        pass  # `select` brings none

    def _write_to_self(self) -> None:
        pass  # no other thread wakes this loop

    async def idle(self) -> None:
        """Let everybody run who can, without moving the clock."""
        await asyncio.sleep(0)
        for _ in range(TURNS_MAX):
            if not self._ready:  # type: ignore[attr-defined]
                return
            await asyncio.sleep(0)
        raise AssertionError(f"something has run for {TURNS_MAX} turns without waiting")


def _owned(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **more: Any
) -> "asyncio.Task[Any]":
    """Make a task that its worker knows of, so that it ends with it."""
    task = asyncio.Task(coro, loop=loop, **more)
    if (worker := WORKER.get()) is not None:
        worker.tasks.add(task)
        task.add_done_callback(worker.tasks.discard)
    return task


class Clock:
    """Stands where the engine's modules have `time`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def monotonic(self) -> float:
        """Seconds; the same for all, for nobody's monotonic clock is wrong."""
        return self._now()

    def time_ns(self) -> int:
        """The wall clock as the running worker has it."""
        worker = WORKER.get()
        skew_ms = worker.skew_ms if worker is not None else 0
        return (T0 + int(self._now() * 1000) + skew_ms) * 1_000_000

    def time(self) -> float:
        """The same in seconds."""
        return self.time_ns() / 1e9
