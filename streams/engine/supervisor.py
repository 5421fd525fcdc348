"""
Keeps local worker processes running: starts them, starts them again with back-off, ends them.

Promise: it signals only processes it started itself, by their handles; it never restarts one that
says its installation is wrong; and on SIGTERM everything is ended within the grace time, because
a Faust worker without a broker can hang for ever.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from streams.engine.serving import EXIT_MISCONFIGURED

logger = logging.getLogger(__name__)

#: Pause before a restart: first, longest.
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 30.0
#: A worker that ran this long was healthy: its next restart is prompt again.
HEALTHY_S = 60.0


class Command(NamedTuple):
    """One worker process: what to run, and what its environment has beside ours."""

    argv: Sequence[str]
    env: Mapping[str, str] = {}

    @property
    def name(self) -> str:
        """How log lines call it."""
        return self.env.get("ORDERFLOW_SLOT") or " ".join(self.argv)


async def supervise(
    commands: Sequence[Command],
    grace: timedelta,
    stop: asyncio.Event | None = None,
) -> int:
    """
    Run *commands* until SIGTERM, or *stop*; return 0, or the code of one that refused to start.

    One that refuses ends all: half an installation is not what was asked for.
    """
    stopping = stop or asyncio.Event()
    if stop is None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
    codes = await asyncio.gather(*(_keep(command, grace, stopping) for command in commands))
    return max(codes, default=0)


async def _keep(command: Command, grace: timedelta, stopping: asyncio.Event) -> int:
    """Keep one process running; return EXIT_MISCONFIGURED if it refuses, else 0 when stopped."""
    pause = BACKOFF_S_MIN
    while not stopping.is_set():
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command.argv, env={**os.environ, **command.env}, start_new_session=True
        )
        code = await _until_ended(process, grace, stopping)
        if stopping.is_set():
            return 0
        if code == EXIT_MISCONFIGURED:
            logger.critical("%s refuses to start; it is not started again", command.name)
            stopping.set()
            return code
        if time.monotonic() - began >= HEALTHY_S:
            pause = BACKOFF_S_MIN
        logger.warning("%s ended with %d; again in %.1f s", command.name, code, pause)
        await _rest(pause, stopping)
        pause = min(pause * 2, BACKOFF_S_MAX)
    return 0


async def _until_ended(
    process: asyncio.subprocess.Process, grace: timedelta, stopping: asyncio.Event
) -> int:
    """Wait for *process*; once *stopping*, ask it to end, and insist after *grace*."""
    ended = asyncio.ensure_future(process.wait())
    asked = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            process.terminate()
            await asyncio.wait([ended], timeout=grace.total_seconds())
        if not ended.done():
            logger.error("process %d did not end within %s", process.pid, grace)
            process.kill()
        return await ended
    finally:
        asked.cancel()


async def _rest(seconds: float, stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
