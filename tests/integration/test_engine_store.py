"""How a partition comes back from its changelog: in memory, without a broker."""

from types import SimpleNamespace
from typing import NamedTuple

import faust
import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.letters import State
from schemas.errors import Misconfigured
from streams.engine.failpoints import failpoint
from streams.engine.metrics import Metrics
from streams.engine.partitions import murmur2, partitioner
from streams.engine.store import AT, STATE_KEY, KeeperTable, Part, position_bytes, write_state


class Record(NamedTuple):
    key: bytes
    value: bytes | None
    offset: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def commit(position: int, rows: dict[bytes, bytes | None], count: int) -> list[Record]:
    at = position_bytes(position)
    written = [
        Record(key, None, 0, ((AT, at),)) if row is None else Record(key, at + row)
        for key, row in rows.items()
    ]
    return [*written, Record(STATE_KEY, write_state(State(position), count))]


def log(*commits: list[Record]) -> list[Record]:
    records = [record for each in commits for record in each]
    return [record._replace(offset=n) for n, record in enumerate(records)]


def recovered(*commits: list[Record]) -> Part:
    part = Part()
    part.take(log(*commits))
    part.settle()
    return part


A = commit(10, {b"a": b"1", b"b": b"1"}, 2)
B = commit(20, {b"a": b"2"}, 2)
C = commit(30, {b"b": None}, 1)
D = commit(40, {b"b": b"4", b"c": b"4"}, 3)


def test_the_greatest_position_wins_whatever_the_order():
    part = recovered(B, A)

    assert part.rows == {b"a": position_bytes(20) + b"2", b"b": position_bytes(10) + b"1"}
    assert (part.state.position, part.halted) == (20, "")
    assert set(part.foreign) == {b"a", STATE_KEY}


def test_a_row_that_is_gone_again_does_not_come_back_with_the_commit_between():
    part = recovered(commit(10, {b"a": b"1"}, 1))
    back = position_bytes(30) + b"3"
    gone, there, gone_again = State(20), State(30), State(40)
    for changes, state in (({b"a": None}, gone), ({b"a": back}, there), ({b"a": None}, gone_again)):
        part.go_ahead(changes, state)

    part.commit({b"a": None}, gone, b"")
    part.commit({b"a": back}, there, b"")
    assert part.rows == {b"a": back}
    assert part.ahead == {b"a": None}

    part.commit({b"a": None}, gone_again, b"")
    assert (part.rows, part.ahead) == ({}, {})


def test_what_was_written_over_is_not_foreign_any_more():
    part = recovered(A, B, A, B)

    assert not part.foreign


def test_a_tombstone_is_not_overtaken_by_an_older_row():
    part = recovered(A, B, C, A)

    assert set(part.rows) == {b"a"}
    assert set(part.foreign) == {b"a", b"b", STATE_KEY}
    assert not part.halted


def test_an_older_tombstone_removes_nothing():
    part = recovered(A, B, D, C)

    assert set(part.rows) == {b"a", b"b", b"c"}


@given(st.permutations([A, B, C, D]), st.lists(st.sampled_from([A, B, C, D])))
def test_any_order_with_any_repeats_comes_back_the_same(first, more):
    part = recovered(*first, *more)

    assert part.rows == recovered(A, B, C, D).rows
    assert (part.state.position, part.halted) == (40, "")


@given(st.data())
def test_a_compacted_log_in_order_comes_back_the_same(data):
    full = log(A, B, C, D)
    last = {record.key: record.offset for record in full}
    compacted = [
        r for r in full if r.offset == last[r.key] or data.draw(st.booleans(), label=str(r.offset))
    ]
    part = Part()
    part.take(compacted)
    part.settle()

    assert part.rows == recovered(A, B, C, D).rows
    assert not part.halted


def test_a_kept_partition_takes_only_what_is_newer_than_its_memory():
    part = recovered(A, B, C)
    part.take(log(A, B, C))
    part.settle()
    assert set(part.rows) == {b"a"}

    part.take(log(A, D))
    part.settle()

    assert set(part.rows) == {b"a", b"b", b"c"}
    assert part.state.position == 40


def begins(part: Part, left_over: int | None) -> int:
    """Return after which offset Faust reads *part*, where it has one *left_over* of its own."""
    app = faust.App("stock", env={}, autodiscover=False, web_enabled=False, Table=KeeperTable)
    topic = app.topic("stock-changelog", key_type=bytes, value_type=bytes)
    table = app.Table("stock", partitions=1, changelog_topic=topic)
    table.data.parts = {0: part}
    tp, recovery = TP("stock-changelog", 0), app.tables.recovery
    recovery.active_offsets[tp] = left_over
    recovery.add_active(table, tp)
    return recovery.active_offsets[tp]


@pytest.mark.parametrize("left_over", [None, 3, 5_999])
def test_a_recovery_begins_where_ours_is_and_nowhere_that_faust_was(left_over: int | None):
    whole = log(A, B, A, C)
    assert begins(Part(), left_over) == -1

    # A pass that met what a stopped worker wrote is broken off, in the middle of a commit.
    part = Part()
    part.take(whole[:6])
    assert part.foreign
    assert begins(part, left_over) == 5
    part.take(whole[5:])
    part.settle()
    assert (part.state.position, part.halted) == (30, "")

    # Our own commits need not be read again; what another writer wrote among them has to be.
    assert (part.foreign, begins(part, left_over)) == ({b"a": position_bytes(20)}, 9)
    part.foreign.clear()
    part.end = 50
    assert begins(part, left_over) == 49
    part.unread.append((20, 30))
    assert begins(part, left_over) == 9


async def test_a_recovery_that_ends_too_late_says_nothing_of_what_is_known_now():
    app = faust.App("stock", env={}, autodiscover=False, web_enabled=False, Table=KeeperTable)
    store, tp = app.Table("stock", partitions=1).data, TP("stock-changelog", 0)
    store.parts = {0: Part()}

    async def stays(_seconds: float) -> None:
        pass

    async def moves(_seconds: float) -> None:
        store.parts = {1: Part()}
        store.known = {1}

    app.metrics = Metrics()
    app.role = SimpleNamespace(recovered=stays)
    await store.on_recovery_completed({tp}, set())
    assert store.known == {0}

    app.role.recovered = moves
    await store.on_recovery_completed({tp}, set())
    assert store.known == {1}


@pytest.mark.parametrize(
    ("commits", "why"),
    [
        ([A[:2]], "2 rows stand without a state"),
        ([A, B[:1]], "a row was written at 20, after the state's 10"),
        # a row was lost
        ([A[1:], B], None),
        ([A[:1] + A[2:]], "the state counts 2 rows, 1 were read"),
        ([[Record(b"a", b"short")]], "the record at 0 is none of ours"),
        ([[Record(b"a", None)]], "the record at 0 is none of ours"),
        ([[Record(STATE_KEY, position_bytes(1) + bytes(8) + b"\xc1")]], "the state cannot be read"),
    ],
)
def test_what_contradicts_itself_is_halted(commits: list[list[Record]], why: str | None):
    part = recovered(*commits)

    assert part.halted.startswith(why) if why else not part.halted


def test_an_empty_changelog_is_a_beginning():
    part = recovered()

    assert (part.rows, part.state.position, part.halted) == ({}, 0, "")


def test_the_state_counts_the_rows_after_a_commit():
    part = recovered(A)

    assert part.rows_after({b"a": b"x", b"b": None, b"c": b"x", b"d": None}) == 2


@given(st.binary(max_size=300))
def test_our_murmur2_is_kafkas(data: bytes):
    assert murmur2(data) == aiokafka_murmur2(data) & 0xFFFFFFFF


@given(st.binary(min_size=1), st.integers(1, 256))
def test_a_key_goes_where_every_client_sends_it(key: bytes, count: int):
    partition_of = partitioner({"t": count})

    assert partition_of("t", key) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % count
    assert partition_of("t", key) == partition_of("t", key)


def test_an_unset_failpoint_is_nothing_and_an_unknown_one_is_refused():
    assert failpoint("", "keeper-after-letters") is None
    assert failpoint("keeper-mid-batch:2", "keeper-after-letters") is None
    assert failpoint("keeper-mid-batch:2", "keeper-mid-batch") is not None
    with pytest.raises(Misconfigured, match="no failpoint 'keeper-nowhere'"):
        failpoint("keeper-nowhere", "keeper-mid-batch")
