"""
Settlement files that come by page: kept, looked at and taken, each by a process of its own.

Promises: no file, however large or foul, makes the pages slow, and a page waits for so long at
most; what the process says is told in its own words, without where the file lies.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from schemas.errors import Misconfigured, OrderflowError, Rejected, Unavailable
from streams.operations.operation import Refused
from streams.settings import Settings
from streams.settlements.reading import Reading

#: Processes at a time; further ones wait their turn.
AT_ONCE: Final = 1
#: A look or a match takes no longer, s; and a page waits for its turn no longer.
_WITHIN_S: Final = 600.0
_TURN_WITHIN_S: Final = 60.0
_SAID_MAX: Final = 1_000
_TOKEN = re.compile(r"[0-9a-f-]{36}")
_ENDING: Final = ".upload"


class Desk:
    """What finance's pages let be done."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.import_folder
        self._turns = asyncio.Semaphore(AT_ONCE)

    def path_of(self, token: str) -> Path:
        """Return where the file lies that *token* stands for; raises Rejected, Misconfigured."""
        if self._folder is None:
            raise Misconfigured(
                "Set ORDERFLOW_IMPORT_FOLDER to the folder that uploaded files are kept in."
            )
        if _TOKEN.fullmatch(token) is None:
            raise Rejected("no_file")
        return self._folder / f"{token}{_ENDING}"

    async def look(self, path: Path, name: str, reading: Reading) -> dict[str, Any]:
        """Say what a file would be taken as; raises Rejected where it cannot be used at all."""
        return await self._asked(path, name, reading, "--dry-run")

    async def take(self, path: Path, name: str, reading: Reading, by: str) -> dict[str, Any]:
        """Take a file, and let it go; raises Rejected, and nothing of it is taken then."""
        if not await asyncio.to_thread(path.is_file):
            raise Rejected("no_file")
        found = await self._asked(path, name, reading, f"--name={name}", f"--operator={by}")
        await asyncio.to_thread(path.unlink, missing_ok=True)
        return found

    async def _asked(self, path: Path, name: str, reading: Reading, *more: str) -> dict[str, Any]:
        options = [
            f"--platform={reading.platform}", f"--shop={reading.shop}",
            *(f"--pass-over={each}" for each in reading.passes), *more,
        ]  # fmt: skip
        for option, said in (
            ("encoding", reading.encoding), ("sheet", reading.sheet), ("zone", reading.zone),
        ):  # fmt: skip
            if said:
                options.append(f"--{option}={said}")
        return await self._done("upload", *options, "--", str(path), hidden=(path, name))

    async def match(self, platform: str, shop: str) -> dict[str, Any]:
        """Judge all orders of a shop anew."""
        return await self._done("match", f"--platform={platform}", f"--shop={shop}")

    async def withdraw(self, id_: str, by: str, reason: str) -> dict[str, Any]:
        """Let a file count no more; raises Rejected."""
        return await self._done("withdraw", f"--operator={by}", f"--reason={reason}", "--", id_)

    async def _done(
        self, command: str, *options: str, hidden: tuple[Path, str] | None = None
    ) -> dict[str, Any]:
        async with self._turn():
            code, out, said = await _process("settlement", command, "--json", *options)
        last = out.strip().rpartition(b"\n")[2]
        if last:
            found: dict[str, Any] = orjson.loads(last)
            return found
        raise _error(code, said, hidden)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_TURN_WITHIN_S):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Refused("settling_busy") from error
        try:
            yield
        finally:
            self._turns.release()


async def _process(*words: str) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams.cli", *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_WITHIN_S):
            out, said = await process.communicate()
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        if isinstance(error, TimeoutError):
            raise Unavailable("a settlement was not done in time") from error
        raise
    return process.returncode or 0, out, said


def _error(code: int, said: bytes, hidden: tuple[Path, str] | None) -> OrderflowError:
    """Return what a process said on its last line, as the error that it was."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    sentence = (lines[-1] if lines else "").removeprefix("orderflow: ")[:_SAID_MAX]
    if hidden is not None:
        path, name = hidden
        sentence = sentence.replace(str(path), name).replace(path.name, name)
    if code == 2:
        return Rejected(sentence)
    return Unavailable(f"a settlement process ended with {code}: {sentence}")
