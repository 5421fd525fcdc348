"""
Supervised workers: which processes `orderflow worker` starts, and under which names.

A slot's name is the static member id of its consumers: it stays the same when the process is
started again, so a quick restart moves no partitions. It differs between supervisors unless
ORDERFLOW_SLOT says otherwise, because two members of one name put each other out.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence

from streams.engine.supervisor import Command, supervise
from streams.settings import Settings


def commands(settings: Settings, roles: Sequence[str], slots: int, *options: str) -> list[Command]:
    """Return the processes that run *roles* in so many *slots*."""
    base = settings.slot or f"{socket.gethostname()}-{os.getpid()}"
    return [
        Command(
            argv=(
                sys.executable, "-m", "streams.cli",
                "worker", "--roles", ",".join(roles), "--bare", *options,
            ),
            env={"ORDERFLOW_SLOT": f"{base}-{number}", **_health(settings, number)},
        )
        for number in range(slots)
    ]  # fmt: skip


def _health(settings: Settings, number: int) -> dict[str, str]:
    """Each process has a port of its own, counted on from the one that is set."""
    if not settings.health_port:
        return {}
    return {"ORDERFLOW_HEALTH_PORT": str(settings.health_port + number)}


def run(settings: Settings, roles: Sequence[str], slots: int) -> int:
    """Keep *roles* running in so many *slots* until SIGTERM; return the exit code."""
    return asyncio.run(supervise(commands(settings, roles, slots), settings.grace))
