"""Held messages: set aside whole, read in the order of their places, each once."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.holding import Kept, Lane, held

TOPIC, PARTITION, PAUSE = "raw-orders-taobao", 2, 7
SHOP = [("shop", b"lamps"), ("retry-of", b"raw-orders-taobao/0/3")]


@dataclass
class Record:
    offset: int
    value: bytes | None = b"{}"
    key: bytes | None = None
    timestamp: int = 1_000
    headers: list[tuple[str, bytes]] = field(default_factory=list)


class Log:
    """`raw-held`, one partition of it."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def put(self, headers: list[tuple[str, bytes]], value: bytes = b"") -> None:
        self.records.append(Record(len(self.records), value, b"taobao/lamps", 9_999, headers))

    def set_aside(self, *offsets: int, pause: int = PAUSE) -> None:
        for offset in offsets:
            raw = Record(offset, b"%d" % offset, headers=SHOP)
            _, value, headers = held(pause, b"taobao/lamps", TOPIC, PARTITION, raw)
            self.put(headers, value)

    def lane(self, pause: int = PAUSE) -> Lane:
        """The lane as a worker finds it that was just given this partition."""
        lane = Lane(pause, 0)
        for record in self.records:
            lane.learn(record)
        return lane

    def read(self, lane: Lane, up_to: int | None = None) -> list[int]:
        """Read to the end or *up_to* an offset; return the places of the platform's topic."""
        kept = [lane.read(record) for record in self.records[:up_to]]
        return [each.offset for each in kept if each is not None]


@pytest.mark.parametrize("value", [b"{}", b"", None])
@pytest.mark.parametrize("key", [b"order", b"", None])
def test_what_is_held_comes_back_as_it_was_received(value: bytes | None, key: bytes | None):
    log, raw = Log(), Record(41, value, key, 1_234, SHOP)
    name, body, headers = held(PAUSE, b"taobao/lamps", TOPIC, PARTITION, raw)
    log.put(headers, body)

    back = log.lane().read(log.records[0])

    assert name == b"taobao/lamps"
    assert back == Kept(41, 1_234, key, value, SHOP)


def test_what_a_crash_set_aside_twice_is_read_once_and_in_order():
    log = Log()
    log.set_aside(5, 6, 7)
    log.set_aside(5, 6, 7, 8)  # the worker died before its group knew
    log.set_aside(6)  # and one that was stopped wakes up

    assert log.read(log.lane()) == [5, 6, 7, 8]


def test_other_pauses_in_the_same_partition_are_left_alone():
    log = Log()
    log.set_aside(5, pause=6)
    log.set_aside(3, 4)
    log.put(Lane(6, 9).mark(is_all=True))
    log.set_aside(9, pause=8)

    assert log.read(log.lane()) == [3, 4]
    assert not log.lane().is_all


def test_a_mark_says_where_to_go_on():
    log = Log()
    log.set_aside(1, 2, 3, 4)
    lane = log.lane()
    assert log.read(lane, up_to=2) == [1, 2]
    log.put(lane.mark(is_all=False))

    assert log.lane().next == 2  # what was read is not even looked at again
    assert log.read(log.lane()) == [3, 4]


def test_a_lane_is_read_when_its_mark_says_all_and_nothing_came_behind():
    log = Log()
    log.set_aside(1, 2)
    lane = log.lane()
    log.read(lane)
    log.put(lane.mark(is_all=True))
    assert log.lane().is_all

    log.set_aside(2)  # a late repeat is no news
    assert log.lane().is_all

    log.set_aside(3)
    assert not log.lane().is_all
    assert log.read(log.lane()) == [3]


@given(
    # A slice of one would read its own mark for ever; a slice is 2,000.
    cuts=st.lists(st.integers(5, 40), min_size=1, max_size=20),
    dies=st.sets(st.integers(0, 19)),
    repeats=st.lists(st.integers(0, 29), max_size=10),
)
def test_whoever_dies_wherever_every_place_is_read_and_none_out_of_turn(
    cuts: list[int], dies: set[int], repeats: list[int]
):
    log = Log()
    for offset in range(30):
        log.set_aside(offset, *[each for each in repeats if each < offset])
    seen: list[int] = []
    lane = log.lane()
    for nth in range(200):
        step = cuts[nth % len(cuts)]
        seen += log.read(lane, up_to=lane.next + step)
        if nth in dies:  # what was read is with the broker, and nobody knows it
            lane = log.lane()
            continue
        end = len(log.records)
        log.put(lane.mark(is_all=lane.next >= end))
        if lane.is_all:
            break

    assert lane.is_all
    first = list(dict.fromkeys(seen))
    assert first == sorted(first) == list(range(30))
    if not dies:
        assert seen == first
