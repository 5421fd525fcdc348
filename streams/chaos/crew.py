"""
The crew: the workers and the gateway of one run, and what befalls them.

Each is started again half a second after it ended, as a supervisor would, until it is sent home.
Promise: only a process that was started here is signalled, by its own handle, so that a pid which
the system gave away again is never met; none outlives the crew.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from schemas.errors import Unavailable
from streams.ending import end
from streams.engine.serving import EXIT_MISCONFIGURED
from streams.readiness import HERE, is_ready

#: Kind of process -> what `orderflow` is told to be.
KINDS: Final[Mapping[str, Sequence[str]]] = {
    "keeper": ("worker", "--bare", "--roles", "orders,stock"),
    "other": ("worker", "--bare", "--roles", "intake,ledger,availability"),
    "gateway": ("gateway",),
}
#: Between the end of a process and the start of the next in its place, s.
RESTART_AFTER_S = 0.5
#: SIGTERM to SIGKILL, s.
GRACE_S = 15.0
_LOOK_EVERY_S = 0.1
_LAST_WORDS = 1_500


class Worker:
    """One place in the crew: a process, and the next one when it ends."""

    def __init__(self, name: str, kind: str, env: Mapping[str, str], log: Path, port: int) -> None:
        self.name = name
        #: One of `KINDS`.
        self.kind = kind
        self.restarts = 0
        self._env = {
            **os.environ,
            **env,
            "ORDERFLOW_SLOT": name,
            "ORDERFLOW_HEALTH_HOST": HERE,
            "ORDERFLOW_HEALTH_PORT": str(port),
            "ORDERFLOW_GATEWAY_HOST": HERE,
            "ORDERFLOW_GATEWAY_PORT": str(port),
        }
        self._log = log
        self.port = port
        self._once: dict[str, str] = {}
        self._always: dict[str, str] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        #: How many processes were begun, each with the environment of that moment, and which runs.
        self._begun = self._running = 0

    def start(self) -> None:
        """Keep a process running from now on."""
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            env, self._once = {**self._env, **self._always, **self._once}, {}
            self._begun += 1
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "streams.cli", *KINDS[self.kind],
                    env=env, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            self._running = self._begun
            code = await self._process.wait()
            if code == EXIT_MISCONFIGURED:
                raise Unavailable(f"{self.name} refuses to start: {self.last_words()}")
            self.restarts += 1
            await asyncio.sleep(RESTART_AFTER_S)

    def last_words(self) -> str:
        """The end of what it has logged."""
        return self._log.read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace")

    @property
    def pid(self) -> int:
        """The id of the process there is, 0 where there is none at the moment."""
        process = self._process
        return 0 if process is None or process.returncode is not None else process.pid

    def signal(self, number: signal.Signals) -> int:
        """Signal the process there is; return its id, 0 where there is none at the moment."""
        pid = self.pid
        if pid and self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
        return pid

    async def again(self, once: Mapping[str, str] | None = None) -> None:
        """End the process by SIGTERM and start the next, with *once* in its environment."""
        self._once = dict(once or {})
        wanted = self._begun + 1
        # One that was being begun meanwhile has not got it, and is ended too.
        while self._running < wanted:
            self.check()
            await self._end_process()
            await asyncio.sleep(_LOOK_EVERY_S)

    def from_now_on(self, env: Mapping[str, str]) -> None:
        """Give every later process *env*, instead of what was given before."""
        self._always = dict(env)

    async def ends_by_itself(self, within_s: float) -> int | None:
        """Wait until the process there is has ended; return how, None when it did not."""
        if self._process is not None:
            with suppress(TimeoutError):
                return await asyncio.wait_for(self._process.wait(), within_s)
        return None

    async def ready(self, within_s: float) -> bool:
        """Wait until it says that it has its partitions."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not await is_ready(self.port):
                    self.check()
                    await asyncio.sleep(_LOOK_EVERY_S)
                return True
        return False

    def check(self) -> None:
        """Raise what ended the keeping of it."""
        if self._keeping is not None and self._keeping.done() and not self._keeping.cancelled():
            self._keeping.result()

    async def go_home(self) -> None:
        """End the process, and start no other."""
        if self._keeping is not None:
            await self._end_process()
            await end(self._keeping)
        await self._end_process()

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE_S)
        except TimeoutError:
            process.kill()
            await process.wait()


class Crew:
    """All processes of a run. Keepers come and go; the others stay."""

    def __init__(self, prefix: str, env: Mapping[str, str], folder: Path) -> None:
        self._prefix = prefix
        self._env = env
        self._folder = folder
        self._free: list[int] = []
        self._gone = 0
        self.keepers: list[Worker] = []
        self.others: list[Worker] = []
        self.gateways: list[Worker] = []

    def start(self, keepers: int, others: int, gateways: int, ports: Sequence[int]) -> None:
        """Start so many of each, listening on *ports* for whoever asks how they are."""
        self._free = list(ports)
        for kind, crowd, count in (
            ("other", self.others, others),
            ("gateway", self.gateways, gateways),
            ("keeper", self.keepers, keepers),
        ):
            while len(crowd) < count:
                crowd.append(self._new(kind, len(crowd)))

    def _new(self, kind: str, number: int) -> Worker:
        name = f"{self._prefix}{kind}-{number}"
        log = self._folder / f"{kind}-{number}.log"
        worker = Worker(name, kind, self._env, log, self._free.pop())
        worker.start()
        return worker

    @property
    def all(self) -> list[Worker]:
        """Everybody."""
        return [*self.keepers, *self.others, *self.gateways]

    def running(self) -> Iterator[tuple[str, int]]:
        """Yield the kind and the pid of everybody who runs."""
        for worker in self.all:
            if worker.pid:
                yield worker.kind, worker.pid

    @property
    def restarts(self) -> int:
        """How many processes were started in the place of one that ended."""
        return self._gone + sum(worker.restarts for worker in self.all)

    async def scale(self, keepers: int) -> None:
        """Have so many keepers."""
        while len(self.keepers) < keepers:
            self.keepers.append(self._new("keeper", len(self.keepers)))
        while len(self.keepers) > keepers:
            await self._let_go(self.keepers.pop())

    async def _let_go(self, worker: Worker) -> None:
        await worker.go_home()
        self._gone += worker.restarts
        self._free.append(worker.port)

    async def ready(self, within_s: float) -> bool:
        """Wait until everybody is."""
        return all(await asyncio.gather(*(worker.ready(within_s) for worker in self.all)))

    async def go_home(self) -> None:
        """End everybody."""
        await asyncio.gather(*(worker.go_home() for worker in self.all))
