"""
What the kernel says: of a process its CPU, memory, files and port; of the machine what is left.

CPU is user and system time of all threads (/proc, ticks of 10 ms). Promise: where there is no
/proc, or the process is gone or elsewhere, a figure is None and not a guess.
"""

import os
import re
import socket
from pathlib import Path

from schemas.errors import Misconfigured

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")
_LISTENS = "0A"


def cpu_s(pid: int, *, ended: bool = False) -> float | None:
    """
    Return the CPU seconds, user and system, that a process and its threads have taken.

    With *ended* also those of its children that have ended.
    """
    try:
        # The name in brackets may hold anything; what follows it is numbers.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[11 : 15 if ended else 13])) * _TICK_S


def argv(pid: int) -> list[str]:
    """Return the words that a process was started with."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().decode().rstrip("\0").split("\0")
    except OSError:
        return []


def family(pid: int) -> list[int]:
    """Return a process and all below it that are running."""
    found = [pid]
    for parent in found:  # grows while it is walked
        for below in (_PROC / str(parent)).glob("task/*/children"):
            try:
                found += map(int, below.read_text().split())
            except OSError:  # it has ended
                continue
    return found


def memory_mib(pid: int) -> float | None:
    """Return how much memory a process has resident, MiB."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return None
    return round(pages * _PAGE_BYTES / 2**20, 1)


def peak_mib(pid: int) -> float | None:
    """Return the most memory a process ever had resident, MiB."""
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return None
    met = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return round(int(met[1]) / 1024, 1) if met else None


def files_open(pid: int) -> int | None:
    """Return how many files and sockets a process has open; None where it cannot be seen."""
    try:
        return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return None


def listener(address: str) -> int | None:
    """Return the process that listens at *address* (`host:port`), if it runs on this machine."""
    host, _, port = address.rpartition(":")
    try:
        if not socket.gethostbyname(host).startswith("127."):
            return None
        inodes = _listening(int(port))
    except (OSError, ValueError):
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for directory in _PROC.glob("[0-9]*"):
        if wanted & open_paths(pid := int(directory.name)):
            return pid
    return None


def _listening(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        path = _PROC / "net" / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def open_paths(pid: int) -> set[str]:
    """Return what a process has open, as far as it can be seen: paths, and `socket:[inode]`."""
    files = set()
    try:
        for link in (_PROC / str(pid) / "fd").iterdir():
            files.add(str(link.readlink()))
    except OSError:
        return files
    return files


def enough_memory(needed_mib: int) -> None:
    """Raise Misconfigured where the machine has less than *needed_mib* left for a run."""
    lines = (_PROC / "meminfo").read_text("ascii").splitlines()
    left = {name: value for name, _, value in (line.partition(":") for line in lines)}
    mib = int(left["MemAvailable"].split()[0]) // 1024
    if mib < needed_mib:
        raise Misconfigured(
            f"{mib:,} MiB of memory are available and a run takes {needed_mib:,}; end something."
        )
