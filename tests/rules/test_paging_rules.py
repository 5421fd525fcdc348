"""What goes out on a channel and when, under a simulated clock: none lost, criticals first."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.paging import (
    LIMITS,
    THROTTLED_MS,
    Kind,
    Limits,
    Outcome,
    Pace,
    after,
    cut,
    mark,
    message,
    plain,
)
from schemas.alerts import Notice, Said, Severity

WECOM = LIMITS[Kind.WECOM]


def a_notice(
    nth: int, at_ms: int = 0, severity: Severity = Severity.WARNING, **more: str
) -> Notice:
    title = more.get("title", f"negative-stock: RUG-{nth}")
    return Notice(
        id=f"{nth:06d}/fired", said=Said.FIRED, severity=severity, at_ms=at_ms, title=title,
        line=f"{title}: 3 units short", body=f"More is held than is there.\n{title}",
    )  # fmt: skip


class Robot:
    """A channel under a clock that a test turns, and all that it was sent."""

    def __init__(self, limits: Limits = WECOM) -> None:
        self.limits, self.pace = limits, Pace()
        self.waiting: dict[str, Notice] = {}
        self.posts: list[tuple[int, str]] = []
        self.told_ms: dict[str, int] = {}

    def tick(self, now_ms: int, outcome: Outcome = Outcome.TAKEN) -> None:
        if not self.waiting or now_ms < self.pace.next_ms:
            return
        said = message(list(self.waiting.values()), self.limits)
        self.posts.append((now_ms, said.text))
        self.pace = after(self.pace, self.limits, outcome, now_ms)
        if outcome is Outcome.TAKEN:
            for each in said.notices:
                self.told_ms[each.id] = now_ms
                del self.waiting[each.id]

    @property
    def posts_in_worst_minute(self) -> int:
        return max(
            sum(begin <= at < begin + 60_000 for at, _ in self.posts) for begin, _ in self.posts
        )


@pytest.mark.parametrize("seed", range(5))
def test_200_alerts_in_60_s_are_at_most_18_messages_none_lost_and_criticals_within_10_s(seed: int):
    dice, robot = Random(seed), Robot()
    alerts = [
        a_notice(nth, dice.randrange(60_000), dice.choice(list(Severity))) for nth in range(200)
    ]

    for now_ms in range(0, 120_000, 100):
        for each in alerts:
            if now_ms - 100 < each.at_ms <= now_ms:
                robot.waiting[each.id] = each
        robot.tick(now_ms)

    assert set(robot.told_ms) == {each.id for each in alerts}
    assert robot.posts_in_worst_minute <= 18
    late = {
        each.id: robot.told_ms[each.id] - each.at_ms
        for each in alerts
        if each.severity is Severity.CRITICAL
    }
    assert max(late.values()) <= 10_000
    for each in alerts:
        assert any(mark(each) in text for _, text in robot.posts), each.id


def test_200_criticals_at_once_are_told_within_the_minute():
    robot = Robot()
    robot.waiting = {
        each.id: each for each in (a_notice(nth, 0, Severity.CRITICAL) for nth in range(200))
    }

    for now_ms in range(0, 60_000, 100):
        robot.tick(now_ms)

    assert len(robot.told_ms) == 200
    assert len(robot.posts) <= 18


def test_a_first_alert_is_told_at_once_and_a_critical_goes_before_what_waits():
    robot = Robot()
    robot.waiting = {each.id: each for each in (a_notice(1),)}
    robot.tick(1_000)
    late = [a_notice(nth, 1_000) for nth in range(2, 100)]
    critical = a_notice(100, 2_000, Severity.CRITICAL)
    robot.waiting = {each.id: each for each in (*late, critical)}

    robot.tick(robot.pace.next_ms)

    assert robot.posts[0][0] == 1_000
    assert robot.posts[1][0] - robot.posts[0][0] == WECOM.every_ms
    assert robot.posts[1][1].splitlines()[1].startswith("CRITICAL negative-stock: RUG-100")


def test_a_robot_that_is_throttled_is_left_alone_and_nothing_is_lost():
    robot = Robot()
    robot.waiting = {"000001/fired": a_notice(1)}

    robot.tick(0, Outcome.THROTTLED)
    for now_ms in range(100, THROTTLED_MS + 200, 100):
        robot.tick(now_ms)

    assert [at for at, _ in robot.posts] == [0, THROTTLED_MS]
    assert robot.waiting == {}
    assert robot.pace.failures == 0


@pytest.mark.parametrize(
    ("outcome", "longest_ms"),
    [
        (Outcome.AWAY, 60_000),  # it may come back at any moment
        (Outcome.REFUSED, 300_000),  # a person has to put it right
    ],
)
def test_a_channel_that_fails_is_tried_less_and_less_often_and_never_given_up(
    outcome: Outcome, longest_ms: int
):
    pace, at_ms, waits = Pace(), 0, []
    for _ in range(40):
        pace = after(pace, WECOM, outcome, at_ms)
        waits.append(pace.next_ms - at_ms)
        at_ms = pace.next_ms

    assert waits[:4] == [WECOM.every_ms, 6_000, 12_000, 24_000]
    assert waits[-1] == longest_ms
    assert pace.failing_since_ms == 0
    assert after(pace, WECOM, Outcome.TAKEN, at_ms) == Pace(at_ms + WECOM.every_ms)


def test_a_channel_that_asks_for_a_longer_pause_gets_it():
    assert after(Pace(), WECOM, Outcome.AWAY, 0, asked_ms=90_000).next_ms == 90_000


def test_few_are_told_at_length_and_many_with_a_line_each():
    few = message([a_notice(1)], WECOM)
    many = message([a_notice(nth) for nth in range(10)], WECOM)

    assert few.text == (
        "**WARNING negative-stock: RUG-1** #000001\nMore is held than is there.\n"
        "negative-stock: RUG-1"
    )
    assert many.text.splitlines()[0] == "**orderflow: 10 notices, 0 critical**"
    assert len(many.text.splitlines()) == 11


def test_what_does_not_fit_is_counted_and_follows():
    waiting = [a_notice(nth) for nth in range(500)]

    first = message(waiting, WECOM)

    assert len(first.text.encode()) <= 4_096
    assert first.text.splitlines()[-1] == f"… {500 - len(first.notices)} more follow"
    assert len(first.notices) > 30


@given(
    titles=st.lists(st.text(max_size=400), min_size=1, max_size=60),
    bytes_max=st.integers(600, 5_000),
)
def test_no_message_is_longer_than_its_channel_takes_and_each_tells_at_least_one(
    titles: list[str], bytes_max: int
):
    waiting = [a_notice(nth, title=title) for nth, title in enumerate(titles)]
    limits, told = Limits(1, bytes_max), 0

    while waiting:
        said = message(waiting, limits)
        assert len(said.text.encode()) <= bytes_max
        assert said.notices
        told += len(said.notices)
        gone = {each.id for each in said.notices}
        waiting = [each for each in waiting if each.id not in gone]

    assert told == len(titles)


def test_chinese_is_cut_between_characters():
    assert cut("负库存" * 3, 12) == "负库存…"
    assert cut("负库存", 9) == "负库存"
    assert len(cut("负" * 5_000, 4_096).encode()) <= 4_096


def test_nobody_writes_into_a_message_by_naming_a_sku():
    evil = "[pay here](http://evil)\n<@all> `x` **bold**"

    said = plain(evil)

    assert not set(said) & set("[]<>`*\n")
