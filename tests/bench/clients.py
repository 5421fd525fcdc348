"""
Peers without a log: N clients, each of which asks for one reservation, waits, asks for the next.

A reservation is one transaction that checks the stock, changes the two rows and writes the answer
and the event; it is counted when the server has said that it is committed. The clients are the
connections of one process (`ways/`); it says on its last line when it began and ended, and what
CPU it and the server took meanwhile. What stands in the server's tables is read back afterwards.
"""

import asyncio
import json
import sys
from typing import Any

from streams.bench.processes import Child, ProcessEnded
from streams.bench.reserve import Run, Say
from streams.processes import memory_mib
from tests.bench.peer import ROOT

_WAIT_S = 0.05
#: So many reservations of a hundred are made before the clock runs.
_WARM_SHARE = 8


def warm(records: int) -> int:
    """Return how many reservations are made beforehand."""
    return records // _WARM_SHARE


def clients(module: str, address: str, server: int, count: int, records: int, skus: int) -> Child:
    """Return the process of *count* clients of the *server* (a process id), not yet started."""
    numbers = (server, count, warm(records), records, skus)
    argv = (sys.executable, "-m", f"tests.bench.ways.{module}", *map(str, numbers))
    # The address has a password in it, which the list of processes would show.
    return Child(f"{count} clients", argv, {"PYTHONPATH": str(ROOT), "BENCH_ADDRESS": address})


async def finished(child: Child, records: int, say: Say) -> Run:
    """Wait until the clients are done, and return what they found."""
    say(f"{records:,} reservations")
    resident = None
    while not child.ended():
        resident = memory_mib(child.pid) or resident
        await asyncio.sleep(_WAIT_S)
    try:
        said: dict[str, Any] = json.loads(child.last_words().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise ProcessEnded(f"{child.name} ended without a figure") from error
    return Run(said["rate"], said["client_cpu_us"], said["server_cpu_us"], resident)
