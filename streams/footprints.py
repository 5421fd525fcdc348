"""
How processes grow: their memory and their open files, looked at now and then.

A slope is taken within each process, after it has warmed up, and over all processes of its kind at
once (least squares with a mean of each process's own), because in a run of faults none lives long.
Promise: a slope that was seen for less than `SEEN_S` is not told: it would be noise.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from streams.processes import files_open, memory_mib

#: A process is looked at this often, and from this age on, s.
LOOK_EVERY_S, WARM_AFTER_S = 5.0, 60.0
#: All processes of a kind together were seen for so long, or nothing is said of their slope, s.
SEEN_S = 600.0
_HOUR_S = 3_600.0


class Look(NamedTuple):
    """One look at one process."""

    kind: str
    pid: int
    at_s: float
    resident_mib: float
    files: int


class Slope(NamedTuple):
    """How a kind of process grows. Nothing is said of what was seen too shortly."""

    kind: str
    processes: int
    #: Of all processes together, warm, s.
    seen_s: float
    resident_mib_max: float
    files_max: int
    mib_an_hour: float | None
    files_an_hour: float | None


class Footprints:
    """Looks now and then at every process that *running* returns, by kind and pid."""

    def __init__(self, running: Callable[[], Iterable[tuple[str, int]]]) -> None:
        self._running = running
        self._born: dict[int, float] = {}
        self.looks: list[Look] = []

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self, now_s: float) -> None:
        """Look once at whoever is warm."""
        for kind, pid in self._running():
            if now_s - self._born.setdefault(pid, now_s) >= WARM_AFTER_S:
                resident_mib, files = memory_mib(pid), files_open(pid)
                if resident_mib is not None and files is not None:  # else it has just ended
                    self.looks.append(Look(kind, pid, now_s, resident_mib, files))

    def slopes(self) -> list[Slope]:
        """Return how each kind of process grew."""
        kinds = sorted({look.kind for look in self.looks})
        return [slope(kind, [look for look in self.looks if look.kind == kind]) for kind in kinds]


def slope(kind: str, looks: Sequence[Look]) -> Slope:
    """Return how the processes of *kind* grew, by what was seen of them."""
    by_pid: dict[int, list[Look]] = {}
    for look in looks:
        by_pid.setdefault(look.pid, []).append(look)
    lives = list(by_pid.values())
    seen_s = sum(life[-1].at_s - life[0].at_s for life in lives)
    told = seen_s >= SEEN_S
    return Slope(
        kind,
        len(lives),
        round(seen_s),
        round(max(look.resident_mib for look in looks), 1),
        max(look.files for look in looks),
        round(_an_hour(lives, "resident_mib"), 2) if told else None,
        round(_an_hour(lives, "files"), 2) if told else None,
    )


def _an_hour(lives: Iterable[Sequence[Look]], what: str) -> float:
    above = below = 0.0
    for life in lives:
        times = [look.at_s for look in life]
        values = [float(getattr(look, what)) for look in life]
        time_, value = sum(times) / len(times), sum(values) / len(values)
        above += sum((t - time_) * (v - value) for t, v in zip(times, values, strict=True))
        below += sum((t - time_) ** 2 for t in times)
    return above / below * _HOUR_S if below else 0.0


def told(slopes: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a line a kind of process, for a person."""
    for each in slopes:
        seen = f"{each['processes']} of kind {each['kind']}, {each['seen_s'] / 60:,.0f} min warm"
        most = f"at most {each['resident_mib_max']:,.0f} MiB, {each['files_max']} files"
        grows = "too short for a slope"
        if each["mib_an_hour"] is not None:
            grows = f"{each['mib_an_hour']:+,.1f} MiB/h, {each['files_an_hour']:+,.1f} files/h"
        yield f"Memory and files: {grows}; {most} ({seen})."
