"""Workers as processes: killed, stopped, joined by others. The totals must come out exactly."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from streams.engine.supervisor import Command, supervise
from streams.settings import Settings
from tests.integration import shop
from tests.integration.conftest import ROOT
from tests.integration.counting import Add

pytestmark = pytest.mark.stack

WORKER = (sys.executable, "-m", "tests.integration.worker")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    return {
        "ORDERFLOW_KAFKA": settings.kafka,
        "ORDERFLOW_TOPIC_PREFIX": settings.topic_prefix,
        "ORDERFLOW_PARTITIONS": str(settings.partitions),
        "ORDERFLOW_SESSION_TIMEOUT": "PT6S",
        "ORDERFLOW_HEARTBEAT_INTERVAL": "PT1S",
        "ORDERFLOW_FOREIGN_CHECK_EVERY": "PT0.5S",
        "ORDERFLOW_ROUND_RECORDS_MAX": "200",
        "ORDERFLOW_POLL_RECORDS_MAX": "50",
        # As often as can be: whatever is broken, it is broken beside a snapshot.
        "ORDERFLOW_SNAPSHOTS": str(settings.snapshots),
        "ORDERFLOW_SNAPSHOT_EVERY": "PT0S",
        "PYTHONPATH": str(ROOT),
        **more,
    }


@pytest.fixture
def topics(topics: Settings, tmp_path: Path) -> Settings:
    """Settings whose topics exist, and a disk for snapshots."""
    return topics.model_copy(update={"snapshots": tmp_path})


@asynccontextmanager
async def a_worker(settings: Settings, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *WORKER, env={**os.environ, **environment(settings, **more)}, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def supervised(settings: Settings, envs: Sequence[dict[str, str]]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    commands = [Command(WORKER, environment(settings, **env)) for env in envs]
    running = asyncio.ensure_future(supervise(commands, timedelta(seconds=8), stop))
    try:
        yield
    finally:
        stop.set()
        code = await running
    assert code == 0


def commands(n: int, filler: bytes = b"") -> list[Add]:
    return [Add(f"k{i % 40}", 1, filler=filler) for i in range(n)]


def exactly(n: int) -> dict[str, int]:
    return {f"k{i}": n // 40 for i in range(40)}


async def all_said(settings: Settings, n: int, within: float = 90.0) -> None:
    """Wait until the last total of every counter is what it must be, and no letter is missing."""

    async def said() -> bool:
        return await shop.totals(settings) == exactly(n)

    await shop.until(said, within)


PLACES = [
    "keeper-before-letters", "keeper-mid-batch", "keeper-after-letters", "keeper-after-changelog",
]  # fmt: skip
#: Rounds that are large enough for the next one not to wait.
LARGE = {"ORDERFLOW_ROUND_RECORDS_MAX": "1000", "ORDERFLOW_POLL_RECORDS_MAX": "500"}


@pytest.mark.parametrize("place", PLACES)
async def test_a_worker_killed_at_any_place_counts_everything_once(topics: Settings, place: str):
    await killed_at(topics, place, commands(4000), {})

    assert await counted(topics) == exactly(4000)
    assert await shop.letters_are_whole(topics)


@pytest.mark.parametrize("place", PLACES)
async def test_it_does_so_where_the_next_round_is_decided_before_the_last_is_committed(
    topics: Settings, place: str
):
    await killed_at(topics, place, commands(20_000), LARGE)

    assert await counted(topics) == exactly(20_000)
    assert await shop.letters_are_whole(topics)


async def test_a_worker_killed_between_two_commits_of_one_frame_counts_everything_once(
    topics: Settings,
):
    """A frame of 9 kB commands is cut: it would not fit one batch of the changelog."""
    asked = commands(2_000, filler=b"-" * 9_000)
    await killed_at(topics, "keeper-after-changelog", asked, LARGE)

    assert await counted(topics) == exactly(2_000)
    assert await shop.letters_are_whole(topics)


async def killed_at(settings: Settings, place: str, asked: list[Add], env: dict[str, str]) -> None:
    """Let a worker die at its third round, and the third of every next life; then let it live."""
    await shop.send(settings, asked)
    slot = {**env, "ORDERFLOW_SLOT": "a"}
    async with supervised(settings, [{**slot, "ORDERFLOW_FAILPOINT": f"{place}:3"}]):
        await asyncio.sleep(7)
    async with supervised(settings, [slot]):
        await all_said(settings, len(asked))


async def counted(settings: Settings) -> dict[str, int]:
    rows = await shop.changelog_rows(settings)
    return {key.decode(): row.total for key, row in rows.items()}


async def test_t48_partitions_move_between_workers_and_nothing_is_lost_or_doubled(topics: Settings):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(a_worker(topics))
        for batch in range(6):
            await shop.send(topics, commands(2000))
            if batch == 1:
                second = await stack.enter_async_context(a_worker(topics))
            if batch == 4:
                # It has its share by now, however slowly it came: else nothing would move.
                await shop.until(lambda: shared_by(topics, 2))
                second.terminate()
                assert await asyncio.wait_for(second.wait(), 10) == 0
            await asyncio.sleep(1)

        await all_said(topics, 12_000)

    assert await shop.letters_are_whole(topics)


async def shared_by(settings: Settings, workers: int) -> bool:
    """Say whether so many members have shared the keeper's partitions out among them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        (said,) = await admin.describe_consumer_groups([settings.group_prefix + "stock"])
    finally:
        await admin.close()
    (group,) = said.to_object()["groups"]
    return group["state"] == "Stable" and len(group["members"]) == workers


async def test_a_stopped_worker_that_wakes_up_changes_nothing(topics: Settings):
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(a_worker(topics))
        await stack.enter_async_context(a_worker(topics))
        await shop.send(topics, commands(2000))
        await all_said(topics, 2000)

        feeding = asyncio.ensure_future(_feed(topics, 20, 400))
        await asyncio.sleep(0.3)
        first.send_signal(signal.SIGSTOP)
        await asyncio.sleep(9)
        first.send_signal(signal.SIGCONT)
        await feeding

        await all_said(topics, 10_000)
    assert await shop.letters_are_whole(topics)


async def _feed(settings: Settings, times: int, n: int) -> None:
    for _ in range(times):
        await shop.send(settings, commands(n))
        await asyncio.sleep(0.1)


async def test_sigterm_ends_a_worker_within_its_time(topics: Settings):
    async with a_worker(topics) as worker:
        await shop.send(topics, commands(400))
        await all_said(topics, 400)
        worker.terminate()

        assert await asyncio.wait_for(worker.wait(), 6) == 0


async def test_a_worker_that_is_misconfigured_is_not_started_again(topics: Settings):
    wrong = Command(WORKER, environment(topics, ORDERFLOW_PARTITIONS="5"))

    code = await asyncio.wait_for(supervise([wrong], timedelta(seconds=3), asyncio.Event()), 20)

    assert code == 78
