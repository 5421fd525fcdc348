"""
Ending tasks: what is told to end does end, and what it failed with is handed on.

A cancellation can get lost. In Python 3.11 `asyncio.wait_for` gives back a result that came in the
same turn of the loop, and the task goes on as if nobody had asked (python/cpython issue 86296). So
a task is asked until it has ended.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: What a task does on its way out, such as leaving a group, may take so long, s.
ASK_AGAIN_AFTER_S = 3.0


async def end(*tasks: asyncio.Task[Any]) -> list[BaseException]:
    """Cancel *tasks* and wait until they have ended; return what they failed with."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=ASK_AGAIN_AFTER_S)
    failures = (None if task.cancelled() else task.exception() for task in tasks)
    return [failure for failure in failures if failure is not None]


async def unless_ended(
    work: Coroutine[Any, Any, T],
    clearing: asyncio.Event,
    *,
    ask_again_s: float = ASK_AGAIN_AFTER_S,
) -> T | None:
    """
    Do *work* and return what comes of it; on SIGINT or SIGTERM have it clear up, and return None.

    *work* sets *clearing* as soon as it ends what it started: then it must not be disturbed. Work
    that cannot say so is asked again only after as long as its clearing up may take, *ask_again_s*.
    """
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    working, ended = asyncio.create_task(work), asyncio.create_task(asked.wait())
    await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        await end(ended)
        return working.result()
    while not working.done() and not clearing.is_set():
        working.cancel()
        await asyncio.wait((working,), timeout=ask_again_s)
    await asyncio.wait((working,))
    if not working.cancelled() and (failure := working.exception()) is not None:
        raise failure
    return None
