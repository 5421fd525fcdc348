"""A keeper on the real broker: nothing lost, nothing twice, whatever its logs hold."""

import logging
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from faust.types import TP
from faust.types.enums import ProcessingGuarantee
from msgspec import msgpack

from agents.letters import PREFIX, State
from schemas.parked import Cause, Parked
from streams.engine.admin import apply
from streams.engine.keeper import Keeper
from streams.engine.store import AT, STATE_KEY, position_bytes, write_state
from streams.settings import Settings
from tests.integration import shop
from tests.integration.counting import TOPICS, Add, Counter

pytestmark = pytest.mark.stack


def decided(keeper: Keeper) -> int:
    """How many records the keeper's partitions are past."""
    return sum(part.state.position for part in keeper.store.parts.values())


async def work_off(settings: Settings, total: int) -> Keeper:
    """Run a keeper until its positions add up to *total*; stop it and return it."""
    async with shop.working(settings, [keeper := shop.a_keeper()]):
        await shop.until(lambda: decided(keeper) == total)
    return keeper


async def write_changelog(
    settings: Settings,
    partition: int,
    rows: dict[str, Counter | None],
    position: int,
    *,
    state: bool = True,
) -> None:
    """Write what a stopped worker that wakes up might still write: a commit at *position*."""
    async with shop.a_producer(settings) as producer:
        batch = producer.create_batch()
        at = position_bytes(position)
        for key, row in rows.items():
            value = None if row is None else at + msgpack.encode(row)
            headers = [(AT, at)] if row is None else []
            batch.append(key=key.encode(), value=value, timestamp=None, headers=headers)
        if state:
            batch.append(
                key=STATE_KEY, value=write_state(State(position), len(rows)), timestamp=None
            )
        await (
            await producer.send_batch(batch, settings.topic("stock-changelog"), partition=partition)
        )


async def last_in_changelog(settings: Settings, key: bytes, partition: int) -> bytes | None:
    """The value that compaction would leave of *key*."""
    found = [
        r.value
        for r in await shop.read(settings, "stock-changelog")
        if r.key == key and r.partition == partition
    ]
    return found[-1]


async def test_the_next_round_is_decided_while_the_last_one_waits(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
):
    """And what was ahead is committed at the end, all of it, in order."""
    ahead: list[int] = []
    slices = Keeper._slices

    def watched(self: Keeper, p: int, *args: Any) -> Any:
        ahead.append(len(self.store.parts[p].ahead))
        return slices(self, p, *args)

    monkeypatch.setattr(Keeper, "_slices", watched)
    await shop.send(topics, [Add(f"k{n % 40}", 1) for n in range(20_000)])

    keeper = await work_off(topics, 20_000)

    assert max(ahead) > 0
    assert all(
        part.decided is part.state and not part.ahead for part in keeper.store.parts.values()
    )
    assert await shop.totals(topics) == {f"k{n}": 500 for n in range(40)}
    rows = await shop.changelog_rows(topics)
    assert {key.decode(): row.total for key, row in rows.items()} == {
        f"k{n}": 500 for n in range(40)
    }


async def test_a_new_group_on_a_filled_topic_loses_nothing(topics: Settings):
    await shop.send(topics, [Add(f"k{n % 50}", 1) for n in range(5000)])

    await work_off(topics, 5000)

    assert await shop.totals(topics) == {f"k{n}": 100 for n in range(50)}
    rows = await shop.changelog_rows(topics)
    assert {key.decode(): row.total for key, row in rows.items()} == {
        f"k{n}": 100 for n in range(50)
    }


async def test_where_a_keeper_goes_on_is_its_own_word_and_not_its_groups(topics: Settings):
    """The group is told now and then, for lag dashboards; here it never was."""
    silent = topics.model_copy(update={"report_every": timedelta(hours=1)})
    await shop.send(silent, [Add(f"k{n % 10}", 1) for n in range(100)])

    async with shop.working(silent, [keeper := shop.a_keeper()]):
        await shop.until(lambda: decided(keeper) == 100)
        positions = keeper.positions()

        assert sum(positions.values()) == 100
        assert await keeper.starts(list(positions)) == positions


async def test_a_restarted_keeper_goes_on_where_it_was(topics: Settings):
    await shop.send(topics, [Add(f"k{n % 10}", 1) for n in range(100)])
    await work_off(topics, 100)
    await shop.send(topics, [Add(f"k{n % 10}", 1) for n in range(100)])

    keeper = await work_off(topics, 200)

    assert await shop.totals(topics) == {f"k{n}": 20 for n in range(10)}
    assert not keeper.halted


async def test_t50_the_engine_writes_at_least_once_whatever_the_environment_says(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ORDERFLOW_FAUST_PROCESSING_GUARANTEE", "exactly_once")
    monkeypatch.setenv("PROCESSING_GUARANTEE", "exactly_once")
    monkeypatch.setenv("BROKER_URL", "kafka://nobody:1")
    await shop.send(topics, [Add("a", 1)])

    keeper = await work_off(topics, 1)

    assert keeper.app.conf.processing_guarantee is ProcessingGuarantee.AT_LEAST_ONCE
    assert not keeper.app.in_transaction


async def test_t55_a_changelog_that_is_lost_is_made_again_from_the_inbox(topics: Settings):
    """The memory and the changelog are gone: the rows come back, and every letter as it was."""
    await shop.send(topics, [Add(f"k{n % 10}", n + 1) for n in range(400)])
    await work_off(topics, 400)
    before = await shop.changelog_rows(topics)
    admin = AIOKafkaAdminClient(bootstrap_servers=topics.kafka)
    await admin.start()
    try:
        await admin.delete_topics([lost := topics.topic("stock-changelog")])
        await shop.until(lambda: is_gone(admin, lost))
    finally:
        await admin.close()
    await apply(topics, TOPICS)
    await shop.send(topics, [Add("k0", 1)])

    await work_off(topics, 401)

    after = await shop.changelog_rows(topics)
    assert before.pop(b"k0").total + 1 == after.pop(b"k0").total
    assert after == before
    assert await shop.letters_are_whole(topics)


async def is_gone(admin: AIOKafkaAdminClient, topic: str) -> bool:
    return topic not in await admin.list_topics()


async def test_a_removed_row_stays_removed(topics: Settings):
    await shop.send(topics, [Add("gone", 5), Add("kept", 7), Add("gone", 0)])
    await work_off(topics, 3)
    await shop.send(topics, [Add("gone", 2), Add("kept", 1)])

    await work_off(topics, 5)

    assert await shop.totals(topics) == {"gone": 2, "kept": 8}


async def test_a_frame_too_large_for_one_batch_is_cut_into_commits(topics: Settings):
    blob = bytes(100_000)
    await shop.send(topics, [Add(f"{key}", 1, False, blob) for key in range(30) for _ in range(2)])

    keeper = await work_off(topics, 60)

    assert await shop.totals(topics) == {str(key): 2 for key in range(30)}
    states = [r for r in await shop.read(topics, "stock-changelog") if r.key == STATE_KEY]
    assert len(states) > 4
    assert not keeper.halted


async def test_a_poison_command_is_parked_and_the_next_is_decided(topics: Settings):
    await shop.send(topics, [Add("a", 1), Add("a", 1, True), Add("a", 1)])

    await work_off(topics, 3)

    assert await shop.totals(topics) == {"a": 2}
    [record] = await shop.read(topics, "parked")
    parked = msgpack.decode(record.value[PREFIX.size :], type=Parked)
    assert (parked.cause, parked.key) == (Cause.BUG, b"a")


async def test_a_lost_letter_halts_one_partition_and_the_others_go_on(
    topics: Settings, caplog: pytest.LogCaptureFixture
):
    keys = {shop.home(topics, key): key for key in map(str, range(100))}
    letter = PREFIX.pack(1, 7, 0, 0, 5) + msgpack.encode(Add(keys[0], 1))
    async with shop.a_producer(topics) as producer:
        await producer.send_and_wait(
            topics.topic("counts"), letter, key=keys[0].encode(), partition=0
        )
    await shop.send(topics, [Add(key, 3) for key in keys.values()])

    async with shop.working(topics, [keeper := shop.a_keeper()]):
        await shop.until(lambda: decided(keeper) == 3)
        await shop.until(lambda: keeper.halted)

        assert [tp.partition for tp in keeper.halted] == [0]
        assert await shop.totals(topics) == {keys[p]: 3 for p in (1, 2, 3)}
    assert "letters 1..4 of keeper 7 partition 0 are lost" in caplog.text
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)


async def test_a_hole_in_the_inbox_halts_its_partition(topics: Settings):
    await shop.send(topics, [Add("a", 1)])
    home = shop.home(topics, "a")
    producer = AIOKafkaProducer(
        bootstrap_servers=topics.kafka, transactional_id=topics.topic("hole")
    )
    await producer.start()
    async with producer.transaction():
        # The marker that ends a transaction takes an offset and is no record.
        await producer.send(topics.topic("counts"), b"x", partition=home)
    await producer.stop()
    # The broker writes the marker after it has answered: only behind it there is a hole.
    consumer = AIOKafkaConsumer(bootstrap_servers=topics.kafka)
    await consumer.start()
    counts = TopicPartition(topics.topic("counts"), home)

    async def marked() -> bool:
        return (await consumer.end_offsets([counts]))[counts] == 3

    await shop.until(marked)
    await consumer.stop()
    await shop.send(topics, [Add("a", 1)])

    async with shop.working(topics, [keeper := shop.a_keeper()]):
        await shop.until(lambda: keeper.halted)

    assert "the record at 2 is missing, the next is 3" in next(iter(keeper.halted.values()))


class Late(NamedTuple):
    """A record that Faust brings although it has dropped the ones before it."""

    offset: int
    timestamp: int = 0
    key: bytes = b"a"
    value: bytes = b""


async def test_frames_that_were_on_their_way_are_not_taken_for_a_hole(topics: Settings):
    await shop.send(topics, [Add("a", 1)])
    async with shop.working(topics, [keeper := shop.a_keeper()]):
        inbox = TP(topics.topic("counts"), shop.home(topics, "a"))
        await shop.until(lambda: keeper.position(inbox) == 1)

        for offset in (5, 7, 9):
            keeper.rounds.put(
                keeper.app.consumer_generation_id,
                keeper.consumer.scheduler.polls,
                {inbox: [Late(offset)]},
            )
            await shop.until(lambda: keeper.rounds.idle)
        await shop.send(topics, [Add("a", 1)])

        await shop.until(lambda: keeper.halted or keeper.position(inbox) == 2)
        assert not keeper.halted
    assert (await shop.changelog_rows(topics))[b"a"].total == 2


async def test_a_frame_that_does_not_follow_waits_for_a_round_of_its_own(topics: Settings):
    await shop.send(topics, [Add("a", 1)])
    async with shop.working(topics, [keeper := shop.a_keeper()]):
        inbox = TP(topics.topic("counts"), shop.home(topics, "a"))
        await shop.until(lambda: keeper.position(inbox) == 1)

        # Seen before, and behind it what lies ahead of a gap: nothing is lost in the log.
        for offset in (0, 5):
            keeper.rounds.put(
                keeper.app.consumer_generation_id,
                keeper.consumer.scheduler.polls,
                {inbox: [Late(offset)]},
            )
        await shop.send(topics, [Add("a", 1)])

        await shop.until(lambda: keeper.halted or keeper.position(inbox) == 2)
        assert not keeper.halted


async def test_an_inbox_that_begins_after_the_position_is_a_halt(topics: Settings):
    await shop.send(topics, [Add("a", 1)])
    await work_off(topics, 1)
    home = TopicPartition(topics.topic("counts"), shop.home(topics, "a"))
    await shop.send(topics, [Add("a", 1) for _ in range(5)])
    admin = AIOKafkaAdminClient(bootstrap_servers=topics.kafka)
    await admin.start()
    await admin.delete_records({home: RecordsToDelete(4)})
    await admin.close()

    async with shop.working(topics, [keeper := shop.a_keeper()]):
        await shop.until(lambda: keeper.halted)

    [why] = keeper.halted.values()
    assert "begins at 4, after the position 1" in why
    assert await shop.totals(topics) == {"a": 1}


async def test_a_late_write_of_a_stopped_worker_loses_and_is_written_over(topics: Settings):
    await shop.send(topics, [Add("a", 1) for _ in range(10)] + [Add("gone", 1), Add("gone", 0)])
    home = shop.home(topics, "a")
    keeper = await work_off(topics, 12)
    position = keeper.store.parts[home].state.position
    await write_changelog(topics, home, {"a": Counter(3)}, 3)
    away = shop.home(topics, "gone")
    await write_changelog(topics, away, {"gone": Counter(1)}, 1, state=False)

    async with shop.working(topics, [keeper := shop.a_keeper()]):
        await shop.until(
            lambda: not any(p.foreign or p.unread for p in keeper.store.parts.values())
        )

    assert not keeper.halted
    assert (await last_in_changelog(topics, b"a", home) or b"")[:8] == position_bytes(position)
    assert (await last_in_changelog(topics, STATE_KEY, home) or b"")[:8] == position_bytes(position)
    assert await last_in_changelog(topics, b"gone", away) is None
    again = await work_off(topics, 12)
    assert not again.halted
    assert not any(part.foreign for part in again.store.parts.values())


async def test_a_changelog_that_ends_without_a_record_is_recovered_all_the_same(topics: Settings):
    await shop.send(topics, [Add("a", 1) for _ in range(10)])
    home = shop.home(topics, "a")
    await work_off(topics, 10)
    producer = AIOKafkaProducer(
        bootstrap_servers=topics.kafka, transactional_id=topics.topic("late")
    )
    await producer.start()
    async with producer.transaction():
        value = position_bytes(3) + msgpack.encode(Counter(3))
        await producer.send(topics.topic("stock-changelog"), value, b"a", home)
    await producer.stop()
    await shop.send(topics, [Add("a", 1)])

    await work_off(topics, 11)

    assert await shop.totals(topics) == {"a": 11}


@pytest.mark.parametrize("busy", [False, True])
async def test_a_foreign_write_is_noticed_and_written_over(topics: Settings, busy: bool):
    await shop.send(topics, [Add("a", 1) for _ in range(10)])
    home = shop.home(topics, "a")

    async with shop.working(topics, [keeper := shop.a_keeper()]):
        await shop.until(lambda: decided(keeper) == 10)
        await write_changelog(topics, home, {"a": Counter(3), "never": Counter(9)}, 3)
        if busy:
            await shop.send(topics, [Add("a", 1)])
        await shop.until(
            lambda: keeper.app.metrics.foreign_writes.labels("stock")._value.get() == 1
        )
        part = keeper.store.parts[home]
        await shop.until(lambda: not part.foreign and not part.unread)

    last = await last_in_changelog(topics, b"a", home) or b""
    assert msgpack.decode(last[8:], type=Counter).total == 10 + busy
    assert await last_in_changelog(topics, b"never", home) is None
    assert not (await work_off(topics, 10 + busy)).halted


@pytest.mark.parametrize(
    ("position", "state", "why"),
    [
        # A row that nobody's state has reached.
        (1_000_000, False, "a row was written at 1000000"),
        # A commit that counts one row, in a log that has two.
        (50, True, "the state counts 1 rows, 2 were read"),
    ],
)
async def test_a_changelog_that_contradicts_itself_is_a_halt(
    topics: Settings, position: int, state: bool, why: str
):
    home = shop.home(topics, "a")
    await shop.send(topics, [Add("a", 1)])
    await work_off(topics, 1)
    await write_changelog(topics, home, {"b": Counter(3)}, position, state=state)

    async with shop.working(topics, [keeper := shop.a_keeper()]):
        await shop.until(lambda: keeper.halted)

    assert [tp.partition for tp in keeper.halted] == [home]
    assert why in next(iter(keeper.halted.values()))
