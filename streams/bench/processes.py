"""
The processes that a measurement starts, and the machine they run on.

Promise: it signals only processes it started itself, by their handles.
"""

import os
import platform
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schemas.errors import Unavailable
from streams.processes import cpu_s, family, open_paths

_CPU_INFO = Path("/proc/cpuinfo")
#: How much of a failed process's last words is repeated.
_LAST_WORDS = 2_000
_ENDS_WITHIN_S = 15.0
_KAFKA_JAR = re.compile(r"/kafka_\d+\.\d+-(\d+\.\d+\.\d+)\.jar$")


class ProcessEnded(Unavailable):
    """A process that was being measured ended by itself."""


class Child:
    """
    A process started for a measurement, as a context; its output goes to a file of its own.

    A *folder* is its own too, and goes when it has gone.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        folder: "tempfile.TemporaryDirectory[str] | None" = None,
    ) -> None:
        self.name = name
        self._folder = folder
        self._argv = list(argv)
        self._env = {**os.environ, **env}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed when the process is gone
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603  arguments of our own making
            self._argv, env=self._env, stdout=self._said, stderr=self._said, start_new_session=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._running()
        if process.poll() is None:
            self.go()
            process.terminate()
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                process.wait()
        self._said.close()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    def hold(self) -> None:
        """Let it, and what it has started, stand still until `go`."""
        self._signal(signal.SIGSTOP)

    def go(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def ended(self) -> bool:
        """Has it ended without an error? Raises ProcessEnded if it failed."""
        code = self._running().poll()
        if code:
            raise ProcessEnded(f"{self.name} ended with {code}: {self.last_words()}")
        return code == 0

    def wait(self) -> None:
        """Block until it has ended. Raises ProcessEnded if it failed."""
        self._running().wait()
        self.ended()

    def check(self) -> None:
        """Raise ProcessEnded unless it is running."""
        if self.ended():
            raise ProcessEnded(f"{self.name} ended: {self.last_words()}")

    def last_words(self) -> str:
        """The end of what it has printed."""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - _LAST_WORDS))
        return self._said.read().decode(errors="replace").strip()

    def _signal(self, number: signal.Signals) -> None:
        """Tell it and what it has started, which is of its group as long as nobody has moved."""
        if self._running().poll() is None:  # not reaped, so the group is still its own
            os.killpg(self.pid, number)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError(f"{self.name} was not started")
        return self._process


class Sampler(threading.Thread):
    """
    Reads the CPU of some processes over and over: then it is known for any span.

    A name stands for one or more processes, each with what it has started before the sampling; None
    among them is a process that is unknown, and makes the whole name's figure unknown.
    """

    EVERY_S = 0.02

    def __init__(self, pids: Mapping[str, Sequence[int | None]]) -> None:
        super().__init__(daemon=True)
        self._pids = {
            name: [each for pid in its if pid is not None for each in family(pid)]
            for name, its in pids.items()
            if None not in its
        }
        self._samples: dict[str, list[tuple[float, float]]] = {name: [] for name in pids}
        self._enough = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._enough.set()
        self.join()

    def run(self) -> None:
        """Sample until the context ends."""
        while not self._enough.wait(self.EVERY_S):
            for name, its in self._pids.items():
                used = [cpu_s(pid) for pid in its]
                if used[0] is not None:
                    taken = sum(each for each in used if each is not None)
                    self._samples[name].append((time.time() * 1000, taken))

    def between(self, name: str, first_ms: float, last_ms: float) -> float | None:
        """Return the CPU seconds *name* took between two moments of the wall clock."""
        samples = self._samples[name]
        if len(samples) < 2:
            return None
        return _at(samples, last_ms) - _at(samples, first_ms)


def _at(samples: Sequence[tuple[float, float]], moment_ms: float) -> float:
    """Return the reading at a moment, on the line between the two samples around it."""
    before = samples[0]
    for after in samples:
        if after[0] >= moment_ms:
            span = after[0] - before[0]
            share = (moment_ms - before[0]) / span if span else 0.0
            return before[1] + max(0.0, share) * (after[1] - before[1])
        before = after
    return before[1]


def machine(broker: int | None) -> dict[str, Any]:
    """Return on what a measurement was made; Kafka's version only where the broker is local."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "kafka": _kafka_version(broker),
    }


def _cpu_name() -> str:
    try:
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _kafka_version(broker: int | None) -> str | None:
    files = open_paths(broker) if broker else set()
    versions = {met[1] for file in files if (met := _KAFKA_JAR.search(file))}
    return versions.pop() if versions else None
