"""
The comparison: every peer in turn, so many times over, and what is a figure of it.

Promise: a peer whose outcome was wrong once, or that failed in any of its runs, has no figure, and
it is said why. The rounds are interleaved, so that a slow minute of the machine is nobody's alone;
a ratio is the median of those of the single rounds.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from schemas.errors import Unavailable
from streams.bench.processes import machine
from streams.bench.reserve import Run, Say
from streams.chaos.act import commit
from streams.engine.admin import verify
from streams.processes import enough_memory, listener
from streams.settings import Settings
from tests.bench.peer import NotMeasured, Peer
from tests.bench.peers import OURS, PEERS
from tests.bench.versions import versions

#: The broker's page cache, the backlog in this process, and what else a run takes here.
_MEMORY_MIB = 700
_ORDERS_MIN = 100
_HOST = "127.0.0.1"
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Who is compared, and how much of it."""

    peers: tuple[Peer, ...]
    runs: int = 3
    skus: int = 1_000
    #: Of each peer's records.
    share: float = 1.0

    def records(self, peer: Peer) -> int:
        """Return how many orders a run of *peer* has."""
        return max(_ORDERS_MIN, round(peer.records * self.share))


class Tally:
    """Who is still in, the runs of each, and why the others have none."""

    def __init__(self, peers: Iterable[Peer]) -> None:
        self.runs: dict[str, list[Run]] = {peer.name: [] for peer in peers}
        self.reasons: dict[str, str] = {}
        #: Those that could be measured here, but failed or answered wrongly.
        self.refused: set[str] = set()

    def out(self, peer: Peer, error: Exception) -> None:
        """Take *peer* out: what it did in other runs is no figure any more."""
        self.reasons[peer.name] = str(error) or type(error).__name__
        self.runs.pop(peer.name, None)
        if not isinstance(error, NotMeasured):
            self.refused.add(peer.name)


def check(job: Job) -> None:
    """Raise Misconfigured (memory) or Unavailable (ports) where there is no room for *job*."""
    enough_memory(_MEMORY_MIB + max(peer.memory_mib for peer in job.peers))
    for peer in job.peers:
        for port in peer.ports:
            if _taken(port):
                pid = listener(f"{_HOST}:{port}")
                who = f"process {pid}" if pid else "something"
                raise Unavailable(
                    f"{peer.title} needs port {port}, where {who} listens: end it, or leave "
                    f"{peer.name} out (--peers)."
                )


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        # What has ended a moment ago (TIME_WAIT) takes no port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return True
    return False


def prepare(job: Job, tally: Tally, tell: Progress) -> None:
    """Get every peer ready; one that cannot be is out, and the others go on."""
    for peer in job.peers:
        tell(f"getting {peer.title} ready")
        try:
            peer.prepare(tell)
        except NotMeasured as reason:
            tally.out(peer, reason)


async def compare(settings: Settings, job: Job, tally: Tally, tell: Progress) -> dict[str, Any]:
    """Return the figures of *job*, of every peer that gave them in all of its runs."""
    load = os.getloadavg()[0]
    if listener(settings.kafka.split(",")[0]) is None:
        raise Unavailable(f"No broker runs on this machine at {settings.kafka}: `make up`.")
    await verify(settings, ())  # it is one, and nothing else that listens there
    for nth in range(1, job.runs + 1):
        for peer in job.peers:
            if peer.name in tally.runs:
                await _run(settings, job, peer, nth, tally, tell)
    return _facts(settings, job, tally, load)


async def _run(
    settings: Settings, job: Job, peer: Peer, nth: int, tally: Tally, tell: Progress
) -> None:
    where, began = f"run {nth} of {job.runs}, {peer.title}", time.monotonic()
    try:
        found = await peer.measure(settings, job.records(peer), job.skus, Say(tell, where))
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001  whatever befell a peer is why it has no figure
        tally.out(peer, error)
        tell(f"{where}: no figure: {tally.reasons[peer.name]}\n")
        return
    tally.runs[peer.name].append(found)
    tell(f"{where}: {found.rate:,.0f} orders/s ({time.monotonic() - began:.0f} s)\n")


def _facts(settings: Settings, job: Job, tally: Tally, load: float) -> dict[str, Any]:
    ours = tally.runs.get(OURS)
    measured = [peer for peer in job.peers if peer.name in tally.runs]
    return {
        "peers": [_figures(peer, job, tally.runs[peer.name], ours) for peer in measured],
        "not_measured": [
            {"name": peer.name, "title": peer.title, "reason": tally.reasons[peer.name]}
            for peer in job.peers
            if peer.name in tally.reasons
        ],
        "refused": sorted(tally.refused),
        "left_out": [peer.title for peer in PEERS if peer not in job.peers],
        "runs": job.runs,
        "skus": job.skus,
        "partitions": settings.partitions,
        "load": round(load, 1),
        "at": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": machine(listener(settings.kafka.split(",")[0])),
        "versions": versions(settings),
    }


def _figures(
    peer: Peer, job: Job, runs: Sequence[Run], ours: Sequence[Run] | None
) -> dict[str, Any]:
    return {
        "name": peer.name,
        "title": peer.title,
        "crash": peer.crash,
        "kept": peer.kept,
        "records": job.records(peer),
        "rate": round(median(run.rate for run in runs)),
        "rates": [round(run.rate) for run in runs],
        "ratio": _ratio([run.rate for run in ours or ()], [run.rate for run in runs]),
        "client_cpu_us": _middle(run.client_cpu_us for run in runs),
        "server_cpu_us": _middle(run.broker_cpu_us for run in runs),
        "cpu_ratio": _ratio([_cpu(run) for run in runs], [_cpu(run) for run in ours or ()]),
        "memory_mib": _middle(run.memory_mib for run in runs),
    }


def _cpu(run: Run) -> float:
    """Return what an order takes of the CPU on both sides, µs; nothing where that is unknown."""
    if run.client_cpu_us is None or run.broker_cpu_us is None:
        return 0.0
    return run.client_cpu_us + run.broker_cpu_us


def _ratio(above: Sequence[float], below: Sequence[float]) -> float | None:
    """Return the median of the quotients of the single rounds."""
    if len(above) != len(below) or not all(above) or not all(below):
        return None
    return round(median(a / b for a, b in zip(above, below, strict=True)), 2)


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 1) if known else None
