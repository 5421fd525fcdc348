"""
Ending tasks: what is told to end does end, and what it failed with is handed on.

A cancellation can get lost. In Python 3.11 `asyncio.wait_for` gives back a result that came in the
same turn of the loop, and the task goes on as if nobody had asked (python/cpython issue 86296). So
a task is asked until it has ended.
"""

import asyncio
from typing import Any

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
