"""When a call may be made, and made again: a clock that is a number, dice that are one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.clients.calls import Rate
from streams.clients.pacing import (
    Breaker,
    BreakerRule,
    Bucket,
    RetryRule,
    State,
    retry_after,
    wait_of,
    waits,
)

RULE = BreakerRule(after=3, for_s=30)


@given(
    per_s=st.floats(0.5, 100),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_no_span_of_time_holds_more_calls_than_the_rate_allows(
    per_s: float, burst: int, pauses: list[float]
):
    bucket = Bucket(Rate(per_s=per_s, burst=burst, stated=""), 0.0)
    now_s, made = 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        made.append(now_s + bucket.take(now_s))

    for first, start_s in enumerate(made):
        for nth, end_s in enumerate(made[first:], 1):
            assert nth <= burst + per_s * (end_s - start_s) + 1e-6


def test_a_full_bucket_gives_its_burst_at_once_and_then_one_at_a_time():
    bucket = Bucket(Rate(per_s=2, burst=3, stated=""), 100.0)

    assert [round(bucket.take(100.0), 3) for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    assert bucket.take(110.0) == 0


def test_a_platform_that_wants_to_be_left_alone_is_so_for_as_long_as_it_said():
    bucket = Bucket(Rate(per_s=2, burst=3, stated=""), 100.0)
    assert bucket.rests_for(100.0) == 0

    bucket.rest(100.0, 3600)
    bucket.rest(160.0, 10)  # a shorter one takes nothing back

    assert bucket.rests_for(160.0) == 3540
    assert bucket.rests_for(3700.0) == 0


def test_attempts_wait_three_six_twelve_and_twenty_four_seconds_at_most():
    rule = RetryRule(attempts_max=5, first_wait_s=3, wait_max_s=120)

    assert list(waits(rule)) == [3, 6, 12, 24]


@pytest.mark.parametrize(
    ("dice", "asked_s", "wait_s"),
    [
        (0.0, None, 0),  # full jitter: from nothing
        (1.0, None, 12),  # to all of it
        (0.5, 10.0, 16),  # never less than was asked, and not all at the same moment
    ],
)
def test_a_wait_is_full_jitter_on_top_of_what_was_asked(
    dice: float, asked_s: float | None, wait_s: float
):
    assert wait_of(12, dice, asked_s) == wait_s


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("2", 2), ("2.0", 2), ("", None), (None, None), ("-1", None), ("nan", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("inf", None)],
)  # fmt: skip
def test_a_pause_that_makes_no_sense_is_not_kept(said: str | None, seconds: float | None):
    assert retry_after(said) == seconds


def failed(breaker: Breaker, now_s: float, times: int) -> None:
    for _ in range(times):
        assert breaker.may_try(now_s)
        breaker.no(now_s)


def test_a_breaker_opens_after_so_many_failures_in_a_row_and_not_before():
    breaker = Breaker(RULE)
    failed(breaker, 0, 2)
    assert breaker.may_try(0)
    breaker.yes()
    failed(breaker, 0, 2)
    assert breaker.state(0) is State.CLOSED

    failed(breaker, 0, 1)
    assert breaker.state(0) is State.OPEN
    assert not breaker.may_try(29.9)
    assert breaker.opens_in(10) == 20


def test_half_open_lets_one_attempt_through_and_goes_by_what_becomes_of_it():
    breaker = Breaker(RULE)
    failed(breaker, 0, 3)

    assert breaker.state(30) is State.HALF_OPEN
    assert breaker.may_try(30)
    assert not breaker.may_try(30)
    breaker.no(30)
    assert breaker.state(59.9) is State.OPEN

    assert breaker.may_try(60)
    breaker.yes()
    assert breaker.state(60) is State.CLOSED
    assert breaker.may_try(60)


def test_an_attempt_that_was_given_up_leaves_the_next_one_its_turn():
    breaker = Breaker(RULE)
    failed(breaker, 0, 3)
    assert breaker.may_try(30)
    breaker.gone()

    assert breaker.may_try(30)
