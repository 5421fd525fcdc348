"""The supervisor: starts again, ends in time, and touches nobody else's processes."""

import asyncio
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from streams.engine.supervisor import Command, supervise
from tests.integration.shop import until

GRACE = timedelta(seconds=0.5)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


async def test_a_worker_that_ends_is_started_again(tmp_path: Path):
    log = tmp_path / "starts"
    stop = asyncio.Event()
    code = f"open({str(log)!r}, 'a').write('x'); raise SystemExit(70)"
    running = asyncio.ensure_future(supervise([Command(python(code))], GRACE, stop))

    await until(lambda: log.exists() and len(log.read_text()) >= 3)
    stop.set()

    assert await running == 0


async def test_a_worker_that_does_not_end_is_killed_after_the_grace_time(tmp_path: Path):
    started = tmp_path / "started"
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(started)!r}, 'w'); time.sleep(60)"
    )
    stop = asyncio.Event()
    running = asyncio.ensure_future(supervise([Command(python(code))], GRACE, stop))
    await until(started.exists)

    began = time.monotonic()
    stop.set()

    assert await running == 0
    assert 0.4 < time.monotonic() - began < 5


async def test_one_that_refuses_to_start_ends_all_with_its_code():
    stop = asyncio.Event()
    commands = [
        Command(python("raise SystemExit(78)"), {"ORDERFLOW_SLOT": "wrong"}),
        Command(python("import time; time.sleep(60)"), {"ORDERFLOW_SLOT": "right"}),
    ]

    assert await asyncio.wait_for(supervise(commands, GRACE, stop), 10) == 78


@pytest.mark.parametrize("slots", [1, 3])
async def test_every_slot_has_its_environment(tmp_path: Path, slots: int):
    code = (
        "import os, time; open(os.path.join("
        f"{str(tmp_path)!r}, os.environ['ORDERFLOW_SLOT']), 'w'); time.sleep(60)"
    )
    stop = asyncio.Event()
    commands = [Command(python(code), {"ORDERFLOW_SLOT": f"s{n}"}) for n in range(slots)]
    running = asyncio.ensure_future(supervise(commands, GRACE, stop))

    await until(lambda: len(list(tmp_path.iterdir())) == slots)
    stop.set()

    assert await running == 0
