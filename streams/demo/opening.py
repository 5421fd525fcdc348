"""
The open house after the demo: the workers again, and the console over what the demo left.

Promises: the console listens on this machine alone; its first user gets a password that is told
this once; and whoever ends the demo, by Ctrl-C, SIGTERM or Enter, has everything ended that it
started.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, NamedTuple

from pydantic import SecretStr

from schemas.errors import Unavailable
from streams.console.accounts import Accounts
from streams.console.serving import lasting
from streams.demo.troupe import Troupe
from streams.readiness import HERE, free_port, is_ready
from streams.stage import Stage

#: The workers and the console are ready within this.
READY_S = 60.0
_LOOK_EVERY_S = 0.2


class Open(NamedTuple):
    """Where people may look, and as whom."""

    address: str
    name: str
    password: str


@asynccontextmanager
async def open_house(stage: Stage, users: SecretStr, folder: Path) -> AsyncIterator[Open]:
    """
    Let the workers and the console run while the block lasts.

    *users* is the address at which the console keeps its users. Raises Unavailable.
    """
    async with Accounts(users.get_secret_value(), lasting(stage.settings)) as accounts:
        made = await accounts.first()
    if made is None:
        raise AssertionError("a fresh installation has no user")
    troupe = Troupe(stage, folder)
    troupe.start()
    try:
        async with _console(stage, folder) as port:
            if not await troupe.ready(READY_S):
                raise Unavailable(f"The workers were not ready within {READY_S:.0f} s.")
            yield Open(f"http://{HERE}:{port}", *made)
    finally:
        await troupe.stop()


@asynccontextmanager
async def _console(stage: Stage, folder: Path) -> AsyncIterator[int]:
    """Let the console run; its port."""
    port = free_port(stage.settings.console_port)
    mine = {
        "ORDERFLOW_CONSOLE_HOST": HERE,
        "ORDERFLOW_CONSOLE_PORT": str(port),
        "ORDERFLOW_CONSOLE_COOKIES_SECURE": "false",  # no proxy does TLS here
        "ORDERFLOW_IMPORT_FOLDER": str(folder / "uploads"),
    }
    # The terminal is for what the demo says.
    with (folder / "console.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streams.cli", "console",
            env={**os.environ, **stage.env, **mine}, stdout=log, stderr=log,
            start_new_session=True,  # a Ctrl-C is ours, and we end it
        )  # fmt: skip
    try:
        if not await _answers(port, process):
            raise Unavailable(f"The console was not ready; see {folder / 'console.log'}.")
        yield port
    finally:
        await _end(process, stage.settings.grace.total_seconds())


async def _answers(port: int, process: asyncio.subprocess.Process) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_S
    while loop.time() < deadline and process.returncode is None:
        if await is_ready(port):
            return True
        await asyncio.sleep(_LOOK_EVERY_S)
    return False


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def until_told(entered: IO[str] | None) -> None:
    """
    Wait for SIGINT, SIGTERM or a line from *entered*, a terminal.

    The signals are ours from then on: whoever presses Ctrl-C twice leaves nothing behind.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    if entered is None:
        await told.wait()
        return

    def entering() -> None:
        entered.readline()
        told.set()

    loop.add_reader(entered, entering)
    try:
        await told.wait()
    finally:
        loop.remove_reader(entered)
