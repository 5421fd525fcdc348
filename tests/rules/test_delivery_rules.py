"""When a delivery is tried again, what an answer means, when a host is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deliveries import (
    CIRCUIT,
    HEALTHY,
    Answer,
    Breaker,
    BreakerRule,
    Circuit,
    Decision,
    Outcome,
    Schedule,
    Sign,
    State,
    admitted,
    decided,
    heard,
    outcome_of,
    wait_ms,
)

RULE = Schedule()
dice = st.floats(0, 1)
failures = st.sampled_from(
    sorted(set(Outcome) - {Outcome.TAKEN, Outcome.GONE, Outcome.DECLINED, Outcome.DENIED})
)


def test_it_is_tried_five_times_with_3_6_12_and_24_s_between():
    waits, attempt = [], 1
    answer = Answer(Outcome.FAILED, 500)
    while (said := decided(RULE, answer, attempt, 0.0)).state is State.WAITING:
        waits.append(said.wait_ms)
        attempt += 1

    assert waits == [3_000, 6_000, 12_000, 24_000]
    assert (attempt, said.state) == (5, State.PARKED)


@given(st.integers(1, 4), dice)
def test_chance_only_ever_makes_a_wait_longer_and_by_a_fifth_at_most(attempt: int, chance: float):
    base = 3_000 * 2 ** (attempt - 1)

    assert base <= wait_ms(RULE, attempt, chance) <= base * 1.2


@given(st.integers(1, 4), dice, st.floats(0, 86_400))
def test_retry_after_is_kept_up_to_an_hour(attempt: int, chance: float, asked_s: float):
    said = decided(RULE, Answer(Outcome.THROTTLED, 429, "", asked_s), attempt, chance)

    assert said.wait_ms >= min(round(asked_s * 1000), 3_600_000)
    assert said.wait_ms <= max(3_600_000, 24_000 * 1.2)
    # Not only this one: the destination asked to be left alone.
    assert said.rest_ms == min(round(asked_s * 1000), 3_600_000)


@given(failures, st.integers(1, 20), dice)
def test_whatever_fails_is_tried_again_or_parked_never_lost(
    outcome: Outcome, attempt: int, chance: float
):
    said = decided(RULE, Answer(outcome), attempt, chance)

    assert said.state is (State.PARKED if attempt >= 5 else State.WAITING)
    assert not said.closes


@given(st.integers(1, 20), dice)
def test_one_that_is_gone_is_closed_and_loses_nothing(attempt: int, chance: float):
    said = decided(RULE, Answer(Outcome.GONE, 410), attempt, chance)

    assert (said.state, said.closes, said.is_free) == (State.WAITING, True, True)


@given(st.integers(1, 20), dice, st.floats(0, 60))
def test_what_would_be_declined_again_is_parked_at_once(
    attempt: int, chance: float, asked_s: float
):
    said = decided(RULE, Answer(Outcome.DECLINED, retry_after_s=asked_s), attempt, chance)

    # Nobody else of that destination waits for it.
    assert said == Decision(State.PARKED)


@given(st.integers(1, 20), dice, st.floats(0, 60))
def test_refused_credentials_use_up_no_attempt_and_let_the_whole_destination_rest(
    attempt: int, chance: float, asked_s: float
):
    said = decided(RULE, Answer(Outcome.DENIED, retry_after_s=asked_s), attempt, chance)

    assert (said.state, said.is_free, said.closes) == (State.WAITING, True, False)
    assert said.wait_ms >= max(3_000, round(asked_s * 1000))
    assert said.rest_ms == round(asked_s * 1000)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.TAKEN), (204, Outcome.TAKEN), (299, Outcome.TAKEN),
        # A redirect is nobody's to follow.
        (301, Outcome.REFUSED), (307, Outcome.REFUSED), (304, Outcome.REFUSED),
        (400, Outcome.REFUSED), (404, Outcome.REFUSED), (410, Outcome.GONE),
        (429, Outcome.THROTTLED), (500, Outcome.FAILED), (503, Outcome.FAILED),
        (100, Outcome.REFUSED),
    ],
)  # fmt: skip
def test_a_status_means_one_thing(status: int, outcome: Outcome):
    assert outcome_of(status) is outcome


# --- the breaker ----------------------------------------------------------------------------------

BREAKER = BreakerRule(after=3, for_ms=1_000)
ATTEMPT_MS = 300
ILL = (Outcome.FAILED, Outcome.AWAY, Outcome.FORBIDDEN)
WELL = (Outcome.TAKEN, Outcome.REFUSED, Outcome.THROTTLED, Outcome.GONE, Outcome.DENIED)
#: They say nothing of the host.
SILENT = (Outcome.DECLINED, Outcome.UNKNOWN)


def after(*outcomes: Outcome, at_ms: int = 0) -> Breaker:
    breaker = HEALTHY
    for outcome in outcomes:
        breaker = heard(breaker, outcome, at_ms, BREAKER)
    return breaker


def test_a_host_is_left_alone_after_so_many_failures_in_a_row_and_no_sooner():
    assert after(*[Outcome.FAILED] * 2).circuit is Circuit.CLOSED
    assert after(*[Outcome.FAILED] * 3) == Breaker(Circuit.OPEN, 3, 1_000)
    assert after(Outcome.FAILED, Outcome.FAILED, Outcome.REFUSED, *[Outcome.AWAY] * 2).circuit is (
        Circuit.CLOSED
    )


def test_then_one_attempt_is_let_through_and_no_second_until_it_counts_as_lost():
    opened = after(*[Outcome.AWAY] * 3)
    assert admitted(opened, 999, ATTEMPT_MS) == (0, opened)

    most, trying = admitted(opened, 1_000, ATTEMPT_MS)

    assert (most, trying) == (1, Breaker(Circuit.TRYING, 3, 1_300))
    assert admitted(trying, 1_299, ATTEMPT_MS)[0] == 0
    # Whoever tried was killed: another may.
    assert admitted(trying, 1_300, ATTEMPT_MS) == (1, Breaker(Circuit.TRYING, 3, 1_600))
    assert heard(trying, Outcome.TAKEN, 1_200, BREAKER) == HEALTHY
    assert heard(trying, Outcome.FAILED, 1_200, BREAKER) == Breaker(Circuit.OPEN, 4, 2_200)


def test_the_attempt_to_see_is_enough_to_open_it_again_also_where_the_rule_was_changed_since():
    trying = Breaker(Circuit.TRYING, 1, 0)

    assert heard(trying, Outcome.AWAY, 500, BREAKER) == Breaker(Circuit.OPEN, 2, 1_500)


def test_every_move_of_a_circuit_is_in_the_table_or_changes_nothing():
    moves = {
        (circuit, sign): CIRCUIT.get((circuit, sign), circuit)
        for circuit in Circuit
        for sign in Sign
    }

    assert moves[Circuit.CLOSED, Sign.ILL] is Circuit.CLOSED
    assert moves[Circuit.CLOSED, Sign.DUE] is Circuit.CLOSED
    assert {moves[Circuit.OPEN, sign] for sign in Sign} == set(Circuit)
    assert moves[Circuit.OPEN, Sign.ILL_ONCE_TOO_OFTEN] is Circuit.OPEN
    assert moves[Circuit.TRYING, Sign.DUE] is Circuit.TRYING


@given(st.lists(st.tuples(st.sampled_from(sorted(Outcome)), st.integers(0, 5_000))))
def test_a_host_is_always_either_tried_or_tried_again_within_its_time(
    story: list[tuple[Outcome, int]],
):
    breaker, now = HEALTHY, 0
    for outcome, later in story:
        now += later
        most, breaker = admitted(breaker, now, ATTEMPT_MS)
        assert most in (None, 0, 1)
        breaker = heard(breaker, outcome, now, BREAKER)
        # It can never be stuck: some moment not far away lets one through.
        assert breaker.until_ms <= now + max(BREAKER.for_ms, ATTEMPT_MS)
        if breaker.circuit is not Circuit.CLOSED:
            assert admitted(breaker, breaker.until_ms, ATTEMPT_MS)[0] == 1
        if outcome in WELL:
            assert breaker == HEALTHY


@given(st.sampled_from(ILL), st.lists(st.sampled_from(ILL), max_size=20))
def test_failures_in_a_row_open_it_whatever_kind_they_are(first: Outcome, rest: list[Outcome]):
    opened = after(first, *rest)

    assert (opened.circuit is Circuit.OPEN) == (len(rest) + 1 >= BREAKER.after)


@pytest.mark.parametrize("outcome", SILENT)
def test_what_may_have_been_said_without_the_host_says_nothing_about_it(outcome: Outcome):
    opened = after(*[Outcome.AWAY] * 3)

    assert after(outcome, outcome, outcome) == HEALTHY
    assert heard(opened, outcome, 10, BREAKER) == opened
