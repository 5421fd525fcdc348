"""
The troupe: the demo's worker processes, and the accident that befalls one of them.

Promise: only a process that was started here is killed, by the id it wrote down itself.
"""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from streams.engine.supervised import commands
from streams.engine.supervisor import Command, supervise
from streams.readiness import HERE, free_ports, is_ready
from streams.roles import ROLES
from streams.stage import Stage

#: As many as there are cores to speak of; each has every role, and half of the partitions.
WORKERS = 2
_LOOK_EVERY_S = 0.1
_READY_EVERY_S = 0.5


class Troupe:
    """The workers of one demo."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage = stage
        self._folder = folder
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[int] | None = None
        self._names = [f"{stage.prefix}{number}" for number in range(WORKERS)]
        self._ports = free_ports(WORKERS)

    def log(self, number: int) -> Path:
        """Return where a worker logs."""
        return self._folder / f"worker-{number}.log"

    def start(self) -> None:
        """Start all workers, supervised."""
        grace = self._stage.settings.grace
        made = [self._command(number) for number in range(WORKERS)]
        self._task = asyncio.create_task(supervise(made, grace, self._stopping))

    def _command(self, number: int) -> Command:
        options = ("--pid-file", str(self._pid_file(number)), "--log", str(self.log(number)))
        (command,) = commands(self._stage.settings, list(ROLES), [self._names[number]], *options)
        health = {
            "ORDERFLOW_HEALTH_HOST": HERE,
            "ORDERFLOW_HEALTH_PORT": str(self._ports[number]),
        }
        return command._replace(env={**self._stage.env, **command.env, **health})

    async def ready(self, within_s: float) -> bool:
        """Wait until every worker says that it has its partitions, all at once and twice."""
        loop = asyncio.get_running_loop()
        deadline, said = loop.time() + within_s, 0
        while loop.time() < deadline and not self.ended:
            all_ready = all(await asyncio.gather(*(is_ready(port) for port in self._ports)))
            said = said + 1 if all_ready else 0
            if said > 1:
                return True
            await asyncio.sleep(_READY_EVERY_S)
        return False

    def _pid_file(self, number: int) -> Path:
        return self._folder / f"worker-{number}.pid"

    def pid(self, number: int) -> int | None:
        """Return the process id of a worker, None while it starts."""
        with suppress(FileNotFoundError, ValueError):
            return int(self._pid_file(number).read_text("ascii"))
        return None

    def kill(self, number: int) -> int:
        """Kill a worker as a crash would; return the id it had."""
        pid = self.pid(number)
        if pid is None or not _is_child(pid):
            raise ProcessLookupError(f"worker {number} is not running")
        os.kill(pid, signal.SIGKILL)
        return pid

    async def back(self, number: int, before: int, within_s: float) -> int | None:
        """Return the id of the worker that took the killed one's place."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while loop.time() < deadline:
            pid = self.pid(number)
            if pid is not None and pid != before:
                return pid
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    @property
    def ended(self) -> bool:
        """Did the workers end by themselves?"""
        return self._task is not None and self._task.done()

    async def stop(self) -> None:
        """Let every worker end its round and go."""
        self._stopping.set()
        if self._task is not None:
            await self._task


def _is_child(pid: int) -> bool:
    """Say whether *pid* is a process that this one started."""
    with suppress(OSError, ValueError, IndexError):
        # The name in parentheses may hold anything; state and parent follow its end.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return int(fields[1]) == os.getpid()
    return False
