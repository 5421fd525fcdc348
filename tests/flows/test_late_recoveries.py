"""
What is answered too late, when a partition is already being read anew, halts nothing.

A worker that was stopped, or whose broker was slow, goes on in the middle of a sentence: with a
recovery whose partitions have moved, or with rows that it was writing over. Each case here is one
such sentence, led to its end on the simulated log.
"""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace

from faust.types import TP

from agents.letters import State
from streams.engine.keeper import RECOVERY_STILL_S, Keeper
from streams.engine.rounds import TEND_EVERY_S
from streams.engine.store import STATE_KEY, Part, position_bytes, write_state
from tests.simulation import Record
from tests.simulation.town import Town, in_place
from tests.simulation.workers import Worker

INBOX, CHANGELOG = TP("stock-commands", 0), TP("stock-changelog", 0)


def commit(town: Town, position: int, rows: dict[bytes, bytes]) -> list[Record]:
    """Append a commit of *rows*, which are all there are, and return it."""
    log, at = town.log(*CHANGELOG), position_bytes(position)
    batch = [(key, at + row) for key, row in rows.items()]
    batch.append((STATE_KEY, write_state(State(position), len(rows))))
    records = [Record(len(log) + n, town.now_ms, *each) for n, each in enumerate(batch)]
    log += records
    return records


def a_worker(town: Town) -> tuple[Worker, Keeper, Part]:
    """Return a worker that has recovered partition 0 as far as it is written."""
    worker = Worker(town, "stock", 1, 0)
    town.workers["stock"].append(worker)
    keeper, part = worker.role, Part()
    assert isinstance(keeper, Keeper)
    part.take(town.log(*CHANGELOG))
    part.settle()
    keeper.store.parts[0] = part
    worker.consumer_generation_id = 1
    return worker, keeper, part


def moves(worker: Worker) -> None:
    """Let partitions be assigned anew; *worker* keeps what it has."""
    worker.consumer_generation_id += 1
    worker.role.store.parts = dict(worker.role.store.parts)  # type: ignore[attr-defined]


def lived(script: Callable[[Town], Awaitable[None]]) -> None:
    town = Town(0, said=1, faults=0)
    with in_place(town):
        try:
            town.loop.run_until_complete(script(town))
        finally:
            town.end()


def test_a_recovery_that_is_broken_off_goes_on_where_it_was() -> None:
    async def script(town: Town) -> None:
        commit(town, 10, {b"a": b"1"})
        # What a stopped worker wrote, too late; the first poll brings it, and nobody wrote it over.
        commit(town, 5, {b"a": b"0"})
        log = town.log(*CHANGELOG)
        log += [
            Record(len(log) + n, town.now_ms, key, value)
            for position in range(11, 60)
            for n, (key, value) in enumerate((
                (b"b", position_bytes(position) + b"1"),
                (STATE_KEY, write_state(State(position), 2)),
            ))
        ]  # fmt: skip
        worker = Worker(town, "stock", 1, 0)
        town.workers["stock"].append(worker)
        town.log(*INBOX).extend([None] * 60)  # type: ignore[list-item]  nobody polls

        worker.assign({0}, 1)
        await town.loop.idle()
        part = worker.role.store.parts[0]  # type: ignore[attr-defined]
        assert part.foreign
        assert part.end < len(log)
        await worker.spawn(worker.revoked())
        worker.assign({0}, 2)
        await town.loop.idle()
        while town.network.delays:
            town.network.pass_by(0)
            await town.loop.idle()

        assert not worker.role.halted
        assert (part.end, part.state.position) == (len(log), 59)

    lived(script)


def test_a_recovery_that_is_told_the_ends_of_its_logs_too_late_halts_nothing() -> None:
    async def script(town: Town) -> None:
        commit(town, 10, {b"a": b"1"})
        worker, keeper, part = a_worker(town)
        worker.is_recovering = True
        worker.spawn(keeper.recovered(0.0))
        await town.loop.idle()

        moves(worker)
        part.take(commit(town, 20, {b"a": b"2"}))
        town.network.pass_by(0)
        await town.loop.idle()

        assert not keeper.halted
        part.settle()
        assert (part.end, part.state.position, part.halted) == (4, 20, "")

    lived(script)


def test_rows_that_are_written_over_too_late_leave_the_state_of_the_new_owner() -> None:
    async def script(town: Town) -> None:
        commit(town, 10, {b"a": b"1"})
        # What a stopped worker wrote, too late.
        commit(town, 5, {b"a": b"0"})
        worker, keeper, part = a_worker(town)
        keeper.open = {INBOX}
        worker.spawn(keeper.tend())
        await town.loop.idle()
        (ours,) = town.network.requests

        # Others have the partition, and go on; then it comes back, and is read again.
        moves(worker)
        part.take(commit(town, 20, {b"a": b"2"}))
        town.network.arrive(ours)
        await town.loop.idle()
        part.take(town.log(*CHANGELOG)[part.begins_at() :])
        part.settle()

        assert not keeper.halted
        assert (part.state.position, part.halted) == (20, "")
        assert part.rows == {b"a": position_bytes(20) + b"2"}
        # The owner of now finds that ours stands last, and writes it over.
        assert set(part.foreign) == {b"a", STATE_KEY}

    lived(script)


def test_what_others_wrote_is_not_written_over_once_the_partition_is_read_anew() -> None:
    async def script(town: Town) -> None:
        commit(town, 10, {b"a": b"1"})
        worker, keeper, part = a_worker(town)
        commit(town, 5, {b"a": b"0"})
        keeper.open, keeper._check_at = {INBOX}, float("inf")
        part.unread.append((2, 4))
        worker.stopped = True
        worker.spawn(keeper.tend())
        await town.loop.idle()

        moves(worker)
        worker.wake()
        await town.loop.idle()

        assert not town.network.requests
        # Its recovery begins before it, and whoever has the partition then looks again.
        assert (part.unread, part.begins_at()) == ([(2, 4)], 2)

    lived(script)


def test_deadlines_are_learned_by_the_recovery_that_reads_the_rows() -> None:
    async def script(town: Town) -> None:
        worker, keeper, part = a_worker(town)
        assert keeper.sweeper is not None

        async def moved(*_: object) -> None:
            moves(worker)

        keeper.sweeper.learn = moved  # type: ignore[method-assign]
        await keeper.recovered(0.0)
        assert part.fresh

    lived(script)


def test_what_was_fetched_before_a_stop_is_still_read_after_it() -> None:
    async def script(town: Town) -> None:
        worker, keeper, _ = a_worker(town)
        read, end = {CHANGELOG: 99}, {CHANGELOG: 199}
        recovery = SimpleNamespace(active_offsets=read, active_highwaters=end)

        comes = [150]

        async def fetched(_tp: TP) -> int:
            # What was on its way arrives while we ask.
            read[CHANGELOG] = comes.pop() if comes else read[CHANGELOG]
            return 200

        worker.tables, worker.in_recovery = SimpleNamespace(recovery=recovery), True  # type: ignore[attr-defined]
        worker.consumer.position = fetched  # type: ignore[attr-defined]

        async def looks(times: int) -> None:
            for _ in range(times):
                town.pass_time(int(TEND_EVERY_S * 1000))
                await keeper.tend()

        await looks(2)
        town.pass_time(30_000)
        await looks(2)
        assert read[CHANGELOG] == 99

        still = int(RECOVERY_STILL_S / TEND_EVERY_S) + 2
        await looks(still)
        assert read[CHANGELOG] == 150

        # Where nothing comes while we do look, nothing stands there.
        await looks(still)
        assert read[CHANGELOG] == 199

    lived(script)
