"""A worker that comes back goes on from its snapshots, and refuses those it cannot trust."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import PolicyViolationError
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.letters import State
from streams.engine import snapshots as module
from streams.engine.admin import apply
from streams.engine.keeper import Keeper
from streams.engine.snapshots import GROWN_RECORDS, Snapshot, SnapshotRefused, Snapshots
from streams.engine.store import Part, position_bytes, write_state
from streams.engine.topic_ids import topic_ids
from streams.settings import Settings
from streams.topics import changelog
from tests.integration import shop
from tests.integration.counting import TOPICS, Add

ID, OTHER_ID = b"\1" * 16, b"\2" * 16
HOUR = timedelta(hours=1)


def a_snapshot(rows: int = 12_000, end: int = 50_000) -> Snapshot:
    stored = {b"k%d" % n: position_bytes(n) + b"row %d" % n for n in range(rows)}
    return Snapshot(stored, write_state(State(rows), rows), end)


def kept_in(directory: Path, topic_id: bytes = ID, every: timedelta = HOUR) -> Snapshots:
    return Snapshots(directory, "stock-changelog", topic_id, every)


async def written(directory: Path, p: int = 3, rows: int = 12_000) -> Path:
    await kept_in(directory).write(p, a_snapshot(rows))
    return directory / f"stock-changelog.{p}.snapshot"


async def test_what_was_written_comes_back_whole(tmp_path: Path):
    file = await written(tmp_path)

    assert kept_in(tmp_path).load(3) == a_snapshot()
    assert Part.of(a_snapshot()).state.position == 12_000
    assert file.stat().st_mode & 0o077 == 0, "rows may be personal"
    assert os.listdir(tmp_path) == [file.name], "nothing is left beside it"  # noqa: PTH208


def test_where_there_is_none_the_changelog_is_read(tmp_path: Path):
    assert kept_in(tmp_path).load(3) is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("whole")
    return asyncio.run(written(directory, rows=40)).read_bytes()


@settings(deadline=None)
@given(st.data())
def test_a_file_that_is_torn_anywhere_is_refused(tmp_path_factory, whole: bytes, data):
    directory = tmp_path_factory.mktemp("torn")
    place = data.draw(st.integers(0, len(whole) - 1))
    torn = data.draw(
        st.sampled_from([
            whole[:place],
            whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :],
            whole + b"\0",
        ])
    )  # fmt: skip
    (directory / "stock-changelog.3.snapshot").write_bytes(torn)

    with pytest.raises(SnapshotRefused):
        kept_in(directory).load(3)


async def test_a_snapshot_of_another_topic_of_that_name_is_refused(tmp_path: Path):
    await written(tmp_path)

    with pytest.raises(SnapshotRefused, match="made anew"):
        kept_in(tmp_path, OTHER_ID).load(3)


async def test_a_snapshot_of_another_partition_is_refused(tmp_path: Path):
    file = await written(tmp_path)
    file.rename(tmp_path / "stock-changelog.4.snapshot")

    with pytest.raises(SnapshotRefused, match="it is of stock-changelog/3"):
        kept_in(tmp_path).load(4)


@pytest.mark.parametrize(
    ("age", "why"), [(module.STALE_AFTER + HOUR / 60, "may have forgotten"), (-HOUR, "clocks")]
)
async def test_a_snapshot_that_is_stale_or_from_the_future_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: timedelta, why: str
):
    await written(tmp_path)
    read_at = module.now_ms() + int(age.total_seconds() * 1000)
    monkeypatch.setattr(module, "now_ms", lambda: read_at)

    with pytest.raises(SnapshotRefused, match=why):
        kept_in(tmp_path).load(3)


def test_no_snapshot_is_believed_for_longer_than_the_changelog_remembers():
    remembers = int(changelog("stock").config["delete.retention.ms"])

    assert timedelta(milliseconds=remembers) > module.STALE_AFTER


@pytest.mark.parametrize(
    ("rows", "state", "why"),
    [
        ({b"a": position_bytes(9) + b"x"}, write_state(State(8), 1), "after the state's 8"),
        ({b"a": position_bytes(7) + b"x"}, write_state(State(8), 2), "the state counts 2"),
        ({b"a": position_bytes(7) + b"x"}, b"", "without a state"),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_refused(rows, state, why: str):
    with pytest.raises(SnapshotRefused, match=why):
        Part.of(Snapshot(rows, state, 10))


async def test_a_partition_is_written_when_it_has_grown_by_what_it_holds(tmp_path: Path):
    kept = kept_in(tmp_path)
    assert kept.load(3) is None

    assert not kept.due(3, GROWN_RECORDS - 1, 10)
    assert kept.due(3, GROWN_RECORDS, 10)
    assert not kept.due(3, GROWN_RECORDS, 10 * GROWN_RECORDS)
    writing = kept.write(3, a_snapshot(end=GROWN_RECORDS))
    assert not kept.due(3, 3 * GROWN_RECORDS, 10), "one at a time"
    await writing
    assert not kept.due(3, GROWN_RECORDS + 1, 10)
    assert kept.due(3, 2 * GROWN_RECORDS, 10)


async def test_a_little_change_is_written_after_a_while_and_no_change_never(tmp_path: Path):
    kept = kept_in(tmp_path, every=timedelta(0))
    await kept.write(3, a_snapshot(end=100))

    assert kept.due(3, 101, 10)
    assert not kept.due(3, 100, 10)


# --- on the real broker ---------------------------------------------------------------------------


@asynccontextmanager
async def counted(
    settings: Settings, keeper: Keeper, commands: int, total: int
) -> AsyncIterator[None]:
    """Let *keeper* count *commands* more, until every counter has its share of *total*."""
    await shop.send(settings, [Add(f"k{i % 40}", 1) for i in range(commands)])
    async with shop.working(settings, [keeper]):

        async def said() -> bool:
            return await shop.totals(settings) == {f"k{i}": total // 40 for i in range(40)}

        await shop.until(said)
        yield


def outcomes(keeper: Keeper, outcome: str) -> float:
    metric = keeper.app.metrics.snapshots.labels(keeper.name, outcome)
    return float(metric._value.get())


async def snapshots_of_all(settings: Settings, keeper: Keeper) -> None:
    """Wait until every partition's snapshot ends where its changelog does."""
    kept = keeper.snapshots
    assert kept is not None

    def all_kept() -> bool:
        parts = keeper.store.parts
        return len(parts) == settings.partitions and all(
            part.end and kept._last[p][0] == part.end for p, part in parts.items()
        )

    await shop.until(lambda: all_kept() and kept._writing is None)


@pytest.fixture
def disk(topics: Settings, tmp_path: Path) -> Settings:
    """Settings of an installation that keeps snapshots, as soon as anything has changed."""
    return topics.model_copy(update={"snapshots": tmp_path, "snapshot_every": timedelta(0)})


@pytest.mark.stack
async def test_what_the_changelog_no_longer_has_comes_back_from_the_snapshot(disk: Settings):
    keeper = shop.a_keeper()
    async with counted(disk, keeper, 2000, 2000):
        await snapshots_of_all(disk, keeper)
        ends = {p: part.end or 0 for p, part in keeper.store.parts.items()}
    await forget_before(disk, ends)

    again = shop.a_keeper()
    async with counted(disk, again, 400, 2400):
        assert outcomes(again, "loaded") == disk.partitions
        assert not again.halted
    assert await shop.letters_are_whole(disk)


async def forget_before(settings: Settings, ends: dict[int, int]) -> None:
    """Remove every record of the changelog that a snapshot already holds."""
    # Kafka deletes records only where a topic may lose them by age.
    topic = settings.topic("stock-changelog")
    ageing = changelog("stock")
    ageing = type(ageing)(
        name=ageing.name, key="", config={**ageing.config, "cleanup.policy": "compact,delete"}
    )
    await apply(settings, [ageing])
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    before = {TopicPartition(topic, p): RecordsToDelete(end) for p, end in ends.items()}
    try:
        await shop.until(lambda: deleted(admin, before))
    finally:
        await admin.close()


async def deleted(
    admin: AIOKafkaAdminClient, before: dict[TopicPartition, RecordsToDelete]
) -> bool:
    """Say whether the broker took it: it hears of a topic's new policy a little later."""
    try:
        await admin.delete_records(before)
    except PolicyViolationError:
        return False
    return True


def torn(file: Path, _kept: Snapshots, _p: int) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def stale(_file: Path, kept: Snapshots, p: int) -> None:
    snapshot = kept.load(p)
    assert snapshot is not None
    ago_ms = (module.STALE_AFTER + HOUR) // timedelta(milliseconds=1)
    with pytest.MonkeyPatch.context() as patched:
        written_at = module.now_ms() - ago_ms
        patched.setattr(module, "now_ms", lambda: written_at)
        kept._write(p, snapshot)


def foreign(_file: Path, kept: Snapshots, p: int) -> None:
    snapshot = kept.load(p)
    assert snapshot is not None
    Snapshots(kept._directory, kept._topic, OTHER_ID, HOUR)._write(p, snapshot)


@pytest.mark.stack
@pytest.mark.parametrize("spoil", [torn, stale, foreign])
async def test_t55_a_refused_snapshot_costs_time_and_nothing_else(
    disk: Settings, spoil: Callable[[Path, Snapshots, int], None]
):
    keeper = shop.a_keeper()
    async with counted(disk, keeper, 2000, 2000):
        await snapshots_of_all(disk, keeper)
    assert keeper.snapshots is not None
    for p in range(disk.partitions):
        spoil(keeper.snapshots._path(p), keeper.snapshots, p)

    again = shop.a_keeper()
    async with counted(disk, again, 400, 2400):
        assert outcomes(again, "refused") == disk.partitions
        assert outcomes(again, "loaded") == 0


@pytest.mark.stack
async def test_a_changelog_shorter_than_its_snapshot_halts_its_partition_alone(disk: Settings):
    keeper = shop.a_keeper()
    async with counted(disk, keeper, 2000, 2000):
        await snapshots_of_all(disk, keeper)
        part = keeper.store.parts[1]
        longer = Snapshot(dict(part.rows), part.state_record, (part.end or 0) + 5)
    assert keeper.snapshots is not None
    await keeper.snapshots.write(1, longer)

    again = shop.a_keeper()
    async with shop.working(disk, [again]):
        inbox = disk.topic(again.inbox)
        assert list(again.halted) == [TP(inbox, 1)]
        assert "before our last record" in again.halted[TP(inbox, 1)]
        assert len(again.open) == disk.partitions - 1


@pytest.mark.stack
async def test_a_topic_made_anew_has_another_id(settings: Settings):
    ids = []
    for _ in range(2):
        await apply(settings, TOPICS)
        ids.append((await topic_ids(settings, ["stock-changelog"]))["stock-changelog"])
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
        await admin.start()
        try:
            await admin.delete_topics([settings.topic(topic.name) for topic in TOPICS])
        finally:
            await admin.close()
        await asyncio.sleep(1)

    assert len(ids[0]) == 16
    assert ids[0] != ids[1]
