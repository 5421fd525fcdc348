"""
Supervised workers: which processes `orderflow worker` starts, and under which names.

A slot's name is the static member id of its consumers. The same name after a restart, of the
process or of its supervisor, moves no partitions and waits for no session to run out; two members
of one name would put each other out. So a name is the host's and a number, and a number is taken
by locking a file, which the system lets go when the supervisor ends, however it ends.
"""

import asyncio
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from schemas.errors import Misconfigured
from streams.engine.supervisor import Command, supervise
from streams.settings import Settings

#: More slots of one role on one host are a mistake.
SLOTS_MAX = 256


def run(settings: Settings, groups: Sequence[Sequence[str]], slots: int, *options: str) -> int:
    """Keep so many processes of each group of roles running until SIGTERM; return the code."""
    with ExitStack() as taken:
        made: list[Command] = []
        for roles in groups:
            names = taken.enter_context(slots_of(settings, roles, slots))
            made += commands(settings, roles, names, *options, first=len(made))
        return asyncio.run(supervise(made, settings.grace))


def commands(
    settings: Settings, roles: Sequence[str], names: Sequence[str], *options: str, first: int = 0
) -> list[Command]:
    """Return one process for each slot of *names*, each with all of *roles*, numbered on."""
    argv = (sys.executable, "-m", "streams.cli", "worker", "--bare", "--roles", ",".join(roles))
    return [
        Command(
            argv=(*argv, *options),
            env={"ORDERFLOW_SLOT": name, **_health(settings, number)},
        )
        for number, name in enumerate(names, first)
    ]


@contextmanager
def slots_of(settings: Settings, roles: Sequence[str], slots: int) -> Iterator[list[str]]:
    """Take so many free slot names for *roles*, and give them back at the end."""
    base = settings.slot or socket.gethostname()
    folder = Path(tempfile.gettempdir()) / f"orderflow-slots-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as locks:
        names: list[str] = []
        for number in range(SLOTS_MAX):
            if len(names) == slots:
                break
            name = f"{base}-{number}"
            taken = [_lock(folder / f"{settings.topic(role)}-{name}") for role in roles]
            for lock in taken:
                if lock is not None:
                    locks.enter_context(lock)
            if all(taken):
                names.append(name)
        if len(names) < slots:
            raise Misconfigured(f"There are only {SLOTS_MAX} slots of a role on one host.")
        yield names


def _lock(file: Path) -> IO[bytes] | None:
    """Return *file*, open and locked, or None where somebody else has it."""
    opened = file.open("ab")
    with suppress(BlockingIOError):
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return opened
    opened.close()
    return None


def _health(settings: Settings, number: int) -> dict[str, str]:
    """Each process has a port of its own, counted on from the one that is set."""
    if not settings.health_port:
        return {}
    return {"ORDERFLOW_HEALTH_PORT": str(settings.health_port + number)}
