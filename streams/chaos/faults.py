"""
The faults: what each does to the house, what it needs, and how it shows that it struck.

`FAULTS` is the table; plans name its lines. A fault leaves the house as it found it: what it
stopped runs again, what it slowed is quick. One that cannot be had here raises `Skipped`, one that
did not hit raises `Missed`: neither ever counts as passed. What the house did wrong while a fault
lasted, and nothing shows afterwards, raises `Wrong`.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import NamedTuple

from schemas.errors import OrderflowError
from streams.chaos.crew import Crew, Worker
from streams.chaos.links import Link
from streams.chaos.servers import Server, Servers
from streams.feed.pushing import Pushes

#: A worker is ready again within this, s.
READY_WITHIN_S = 90.0
#: A named place is visited within this while orders flow, s.
VISITED_WITHIN_S = 60.0
#: Keepers of a crew that nobody scales.
KEEPERS = 2
#: The most there are while somebody does.
KEEPERS_MAX = 4
_CUT_WITHIN_S = 60.0
#: What is cut on the line to a server.
_CUT = {"postgres": "COMMITs", "kafka": "sends"}
#: What was acknowledged before a broker ended is answered within this.
_LAST_ANSWERS_S = 2.0
#: A push that meets the absence of the broker comes within so many seconds more.
_LOOKS_MAX = 20
_KIB = 1024
_FILL_BYTES = 64 * _KIB
_FAKETIME = (
    Path(__file__).parents[2] / ".local" / "tools" / "libfaketimeMT.so.1",
    *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
)


class Skipped(OrderflowError):  # noqa: N818  an outcome, not an error
    """The fault cannot be had here; the message says what is missing."""


class Missed(OrderflowError):  # noqa: N818  an outcome, not an error
    """The fault was tried and did not hit."""


class Wrong(OrderflowError):  # noqa: N818  an outcome, not an error
    """The fault struck, and the house did what it must not do."""


class Field(NamedTuple):
    """What can be broken, and what the gateway's callers hear meanwhile."""

    crew: Crew
    servers: Servers
    pushes: Pushes
    to_kafka: Link | None
    to_postgres: Link
    #: A small file system under the crew's logs and snapshots; None without the right to mount.
    disk: Path | None


Strike = Callable[[Field, Random], Awaitable[str]]


class Fault(NamedTuple):
    """One line of the table."""

    #: What it does, as a sentence.
    does: str
    #: About how long it takes, s; a plan's length is the sum.
    seconds: float
    strike: Strike
    #: After it a letter may come twice, because a worker ended or stood still with work at hand.
    repeats: bool = True


# --- Workers -------------------------------------------------------------------------------------


async def _kill(field: Field, dice: Random) -> str:
    worker = await _one_at_work(
        dice.choices(
            field.crew.all, [3 if w in field.crew.keepers else 1 for w in field.crew.all]
        )[0]
    )  # fmt: skip
    return f"{worker.name} (pid {worker.signal(signal.SIGKILL)}) killed"


async def _one_at_work(worker: Worker) -> Worker:
    """Return *worker* once it is up and has its partitions: who starts has nothing to lose yet."""
    await _ready(worker)
    if not worker.pid:
        raise Missed(f"{worker.name} was ready and is not running")
    return worker


async def _kill_all_keepers(field: Field, _: Random) -> str:
    await asyncio.gather(*(_ready(worker) for worker in field.crew.keepers))
    pids = [worker.signal(signal.SIGKILL) for worker in field.crew.keepers]
    if not all(pids):
        raise Missed("a keeper was not running")
    return f"{len(pids)} keepers killed at once"


async def _die_at(field: Field, dice: Random, *, place: str) -> str:
    """Let a worker come back with a failpoint, and wait until it has died of it."""
    crowds = {"keeper": field.crew.keepers, "gateway": field.crew.gateways}
    nth = dice.randint(5, 60)
    worker = dice.choice(crowds.get(place.partition("-")[0], field.crew.others))
    await worker.again({"ORDERFLOW_FAILPOINT": f"{place}:{nth}"})
    ended = await worker.ends_by_itself(VISITED_WITHIN_S)
    if ended == -signal.SIGKILL:
        return f"{worker.name} died at visit {nth} of {place}"
    if ended is not None:
        raise Missed(f"{worker.name} ended with {ended}, before visit {nth} of {place}")
    await worker.again()
    raise Missed(f"{worker.name} did not come to visit {nth} of {place}")


async def _stand_still(field: Field, dice: Random, *, seconds: float) -> str:
    """SIGSTOP for longer than a session: others take over, then it wakes up and writes late."""
    worker = await _one_at_work(dice.choice(field.crew.all))
    pid = worker.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
        if worker.pid != pid:
            raise Missed(f"{worker.name} (pid {pid}) ended while it stood still")
    finally:
        worker.signal(signal.SIGCONT)
    return f"{worker.name} (pid {pid}) stood still for {seconds:.0f} s"


async def _restart_in_turn(field: Field, _: Random) -> str:
    for worker in field.crew.all:
        await worker.again()
        await _ready(worker)
    return f"{len(field.crew.all)} workers restarted by SIGTERM, one after the other"


async def _scale(field: Field, _: Random, *, keepers: Sequence[int]) -> str:
    for count in keepers:
        await field.crew.scale(count)
        await asyncio.gather(*(_ready(worker) for worker in field.crew.keepers))
    await field.crew.scale(KEEPERS)
    return "keepers " + " → ".join(str(count) for count in (*keepers, KEEPERS))


async def _ready(worker: Worker) -> None:
    if not await worker.ready(READY_WITHIN_S):
        raise Missed(f"{worker.name} was not ready within {READY_WITHIN_S:.0f} s")


async def _other_clock(field: Field, dice: Random, *, ahead: str) -> str:
    """Let one keeper live in another time; its monotonic clock stays true."""
    library = next((path for path in _FAKETIME if path.exists()), None)
    if library is None:
        raise Skipped("libfaketime is not there; `deploy/stack.py tools` fetches it")
    worker = dice.choice(field.crew.keepers)
    worker.from_now_on(
        {"LD_PRELOAD": str(library), "FAKETIME": ahead, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    )
    try:
        await worker.again()
        await _ready(worker)
        await asyncio.sleep(10)
    finally:
        worker.from_now_on({})
    await worker.again()
    return f"{worker.name} lived {ahead} for a while"


async def _disk_full(field: Field, _: Random) -> str:
    if field.disk is None:
        raise Skipped("a small file system can be mounted by root only")
    filler = field.disk / "filler"
    try:
        # Unbuffered: what a buffer could not write it would try once more when it is closed.
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(_FILL_BYTES))
        left = shutil.disk_usage(field.disk).free
        if left > _FILL_BYTES:
            raise Missed(f"{left // _KIB} KiB were still free under logs and snapshots")
        await asyncio.sleep(15)
    finally:
        filler.unlink(missing_ok=True)
    return f"{left // _KIB} KiB were free under logs and snapshots for 15 s"


# --- Servers -------------------------------------------------------------------------------------


def _ours(field: Field, server: Server) -> Servers:
    if field.servers.given(server):
        raise Skipped(f"{server} was not started by `make up`, so it is not ours to break")
    return field.servers


async def _crash_of(field: Field, dice: Random, *, server: Server) -> str:
    servers = _ours(field, server)
    await servers.kill(server)
    await asyncio.sleep(dice.uniform(0, 3))
    await servers.start(server)
    return f"{server} killed and started"


async def _outage_of(field: Field, _: Random, *, server: Server, seconds: float) -> str:
    servers = _ours(field, server)
    if server == "kafka":
        # What it promises meanwhile is looked at, so it has to be there.
        await asyncio.gather(*(_ready(gateway) for gateway in field.crew.gateways))
    await servers.stop(server)
    began = time.monotonic()
    try:
        said = await _no_promise(field, seconds) if server == "kafka" else await _silence(seconds)
    except (Wrong, Missed):
        await servers.start(server)
        raise
    away_s = time.monotonic() - began
    await servers.start(server)
    return f"{server} away for {away_s:.0f} s{said}"


async def _silence(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return ""


async def _no_promise(field: Field, seconds: float) -> str:
    """
    See to it that for *seconds*, while the broker is away, the gateway promises nothing.

    Where nobody has pushed until then, because there is no processor left to, the broker stays
    away for a while longer.
    """
    answers = field.pushes.answers
    await asyncio.sleep(_LAST_ANSWERS_S)
    before = answers.copy()
    await asyncio.sleep(seconds - _LAST_ANSWERS_S)
    for _ in range(_LOOKS_MAX):
        if (answers - before)["503"]:
            break
        await asyncio.sleep(1)
    now = answers - before
    if now["200"]:
        raise Wrong(f"with the broker away the gateway answered {now['200']} pushes with 200")
    if not now["503"]:
        raise Missed("with the broker away nobody pushed, so nobody was refused")
    return f", the gateway answered 503 to {now['503']} pushes"


async def _immediate_restart(field: Field, _: Random) -> str:
    await _ours(field, "postgres").restart_at_once("postgres")
    return "postgres restarted without good order"


async def _empty_redis(field: Field, _: Random) -> str:
    await _ours(field, "redis").empty_redis()
    return "Redis emptied"


# --- Lines ---------------------------------------------------------------------------------------


async def _cut(field: Field, _: Random, *, server: Server, times: int) -> str:
    """Cut a line in what counts there, by turns before the server hears it and after."""
    link = _line(field, server)
    before = link.cut
    for when in islice(cycle(("before", "after")), times):
        link.cut_next("before" if when == "before" else "after")
    try:
        async with asyncio.timeout(_CUT_WITHIN_S):
            await link.all_cut.wait()
    except TimeoutError:
        raise Missed(f"only {link.cut - before} of {times} cuts were met") from None
    finally:
        link.forget_cuts()
    return f"{link.cut - before} {_CUT[server]} cut"


def _line(field: Field, server: Server) -> Link:
    if server == "postgres":
        return field.to_postgres
    if field.to_kafka is None:
        raise Skipped("the broker has no listener for a line between; use the one of `make up`")
    return field.to_kafka


async def _slow_line(field: Field, _: Random, *, server: Server, seconds: float) -> str:
    link = _line(field, server)
    before = link.bytes
    async with link.slow(0.25):
        await asyncio.sleep(seconds)
    if link.bytes == before:
        raise Missed(f"nothing went over the line to {server}")
    return f"{(link.bytes - before) // _KIB:,} KiB went over a line of 500 ms there and back"


async def _silent_line(field: Field, _: Random, *, server: Server, seconds: float) -> str:
    async with _line(field, server).silent():
        await asyncio.sleep(seconds)
    return f"nothing went to {server} and nothing came back for {seconds:.0f} s"


async def _reset_line(field: Field, _: Random, *, server: Server) -> str:
    if not (count := _line(field, server).reset()):
        raise Missed(f"there was no connection to {server}")
    return f"{count} connections to {server} reset"


def _die(place: str) -> Fault:
    return Fault(f"a process dies by kill -9 at {place}", 12, partial(_die_at, place=place))


def _still(does: str, seconds: float, strike: Strike) -> Fault:
    """Return a fault at which every worker goes on, so that no letter may come twice."""
    return Fault(does, seconds, strike, repeats=False)


FAULTS: dict[str, Fault] = {
    "kill": Fault("kill -9 of a worker", 3, _kill),
    "kill-keepers": Fault("kill -9 of every keeper at once", 5, _kill_all_keepers),
    "keeper-before-letters": _die("keeper-before-letters"),
    "keeper-mid-batch": _die("keeper-mid-batch"),
    "keeper-after-letters": _die("keeper-after-letters"),
    "keeper-after-changelog": _die("keeper-after-changelog"),
    "ledger-before-commit": _die("ledger-before-commit"),
    "ledger-after-commit": _die("ledger-after-commit"),
    "intake-before-ack": _die("intake-before-ack"),
    "intake-after-ack": _die("intake-after-ack"),
    "gateway-before-ack": _die("gateway-before-ack"),
    "gateway-after-ack": _die("gateway-after-ack"),
    "stop-9": Fault("a worker stands still for 9 s", 9, partial(_stand_still, seconds=9)),
    "stop-30": Fault("a worker stands still for 30 s", 30, partial(_stand_still, seconds=30)),
    "stop-90": Fault("a worker stands still for 90 s", 90, partial(_stand_still, seconds=90)),
    "rolling-restart": Fault("SIGTERM to every worker in turn", 40, _restart_in_turn),
    "scale": Fault("keepers 1, 2, 4, 3, 1 in turn", 60, partial(_scale, keepers=(1, 2, 4, 3, 1))),
    "clock-hour-ahead": Fault(
        "a keeper's clock an hour ahead", 25, partial(_other_clock, ahead="+1h")
    ),
    "clock-hour-behind": Fault(
        "a keeper's clock an hour behind", 25, partial(_other_clock, ahead="-1h")
    ),
    "clock-year-ahead": Fault(
        "a keeper's clock 400 days ahead", 25, partial(_other_clock, ahead="+400d")
    ),
    "disk-full": _still("no room for logs and snapshots for 15 s", 16, _disk_full),
    "broker-kill": Fault("kill -9 of the broker", 12, partial(_crash_of, server="kafka")),
    "broker-away-6": Fault(
        "the broker away for 6 s", 16, partial(_outage_of, server="kafka", seconds=6)
    ),
    "broker-away-70": Fault(
        "the broker away for 70 s", 80, partial(_outage_of, server="kafka", seconds=70)
    ),
    "postgres-restart": _still("PostgreSQL restarts without good order", 6, _immediate_restart),
    "postgres-kill": _still("kill -9 of PostgreSQL", 8, partial(_crash_of, server="postgres")),
    "postgres-away-60": _still(
        "PostgreSQL away for 60 s", 65, partial(_outage_of, server="postgres", seconds=60)
    ),
    "commits-cut": _still(
        "the line cut in 20 COMMITs", 10, partial(_cut, server="postgres", times=20)
    ),
    "sends-cut": _still(
        "the line to the broker cut in 20 sends", 10, partial(_cut, server="kafka", times=20)
    ),
    "redis-away-30": _still(
        "Redis away for 30 s", 32, partial(_outage_of, server="redis", seconds=30)
    ),
    "redis-emptied": _still("FLUSHALL", 1, _empty_redis),
    "kafka-slow": _still(
        "250 ms each way to the broker", 15, partial(_slow_line, server="kafka", seconds=15)
    ),
    "kafka-silent": Fault(
        "a black hole before the broker", 20, partial(_silent_line, server="kafka", seconds=20)
    ),
    "kafka-reset": _still(
        "connections to the broker reset", 2, partial(_reset_line, server="kafka")
    ),
    "postgres-slow": _still(
        "250 ms each way to PostgreSQL", 15, partial(_slow_line, server="postgres", seconds=15)
    ),
    "postgres-silent": _still(
        "a black hole before PostgreSQL", 20, partial(_silent_line, server="postgres", seconds=20)
    ),
    "postgres-reset": _still(
        "connections to PostgreSQL reset", 2, partial(_reset_line, server="postgres")
    ),
}


def mount(folder: Path, mib: int) -> bool:
    """Mount a file system of *mib* MiB on *folder*; False without the right to."""
    program = shutil.which("mount")
    if program is None or os.geteuid() != 0:
        return False
    done = subprocess.run(  # noqa: S603  arguments of our own making
        [program, "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "orderflow-chaos", str(folder)],
        check=False, capture_output=True,
    )  # fmt: skip
    return done.returncode == 0


def unmount(folder: Path) -> None:
    """Take it away again, as soon as nobody has a file open on it."""
    program = shutil.which("umount")
    if program is not None:
        subprocess.run([program, "--lazy", str(folder)], check=False)  # noqa: S603
