"""T41: a channel that has gone silent against its own week is told from one that sleeps."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from agents.silence import CHANCE_MIN, Ended, Hour, Silence, Verdict, changes, judged

#: A Wednesday, noon.
NOON = datetime(2026, 11, 11, 12, tzinfo=UTC)


def history(
    rate: Callable[[datetime], float], until: datetime, weeks: float = 8, seed: int = 1
) -> list[Hour]:
    """Orders at *rate* an hour, at random moments, up to *until*."""
    random = Random(seed)
    hours, at = [], until - timedelta(weeks=weeks)
    at = at.replace(minute=0)
    while at < until:
        end = min(until, at + timedelta(hours=1))
        moments, t = [], 0.0
        per_hour = rate(at)
        while (
            per_hour and (t := t + random.expovariate(per_hour)) < (end - at).total_seconds() / 3600
        ):
            moments.append(at + timedelta(hours=t))
        if moments:
            hours.append(Hour("taobao", "lamps", at, len(moments), moments[-1]))
        at += timedelta(hours=1)
    return hours


def by_day(at: datetime) -> float:
    """Twenty an hour by day, none at night (22 to 6)."""
    return 20.0 if 6 <= at.hour < 22 else 0.0


def state(found: list[Verdict]) -> str:
    (verdict,) = found
    return verdict.state


def test_a_busy_channel_that_stops_at_noon_is_silent_within_the_hour():
    before = history(by_day, NOON)

    assert state(judged(before, NOON + timedelta(minutes=10))) == "talking"
    assert state(judged(before, NOON + timedelta(hours=1))) == "silent"


def test_the_night_is_no_silence_and_a_morning_without_orders_is():
    evening = NOON.replace(hour=22)
    before = history(by_day, evening)

    assert state(judged(before, evening + timedelta(hours=8))) == "talking"
    assert state(judged(before, evening + timedelta(hours=9))) == "silent"


def test_a_channel_that_sells_little_is_waited_for_longer():
    before = history(lambda _: 3.0, NOON, seed=3)

    assert state(judged(before, NOON + timedelta(hours=1))) == "talking"
    assert state(judged(before, NOON + timedelta(hours=8))) == "silent"


def test_a_silence_that_lasts_for_days_stays_an_alarm():
    before = history(by_day, NOON)

    assert state(judged(before, NOON + timedelta(days=6))) == "silent"


def test_one_campaign_teaches_nothing():
    def with_campaign(at: datetime) -> float:
        return 2_000.0 if at.date() == (NOON - timedelta(weeks=1)).date() else by_day(at) / 10

    (verdict,) = judged(history(with_campaign, NOON), NOON + timedelta(minutes=30))

    assert verdict.state == "talking"
    assert verdict.expected < 10


def test_a_channel_of_a_few_days_is_being_learned():
    before = history(by_day, NOON, weeks=1)

    assert state(judged(before, NOON + timedelta(days=1))) == "learning"


@pytest.mark.parametrize("seed", range(30))
def test_a_healthy_channel_is_hardly_ever_called_silent(seed: int):
    now = NOON - timedelta(minutes=Random(seed).randrange(7 * 24 * 60))

    assert state(judged(history(by_day, now, weeks=4, seed=seed), now)) == "talking"


def test_the_silent_ones_come_first_and_say_what_was_to_be_expected():
    quiet = history(by_day, NOON)
    loud = [hour._replace(shop="rugs") for hour in history(by_day, NOON + timedelta(hours=3))]

    first, second = judged([*loud, *quiet], NOON + timedelta(hours=3))

    assert (first.shop, first.state, second.state) == ("lamps", "silent", "talking")
    assert first.chance < CHANCE_MIN
    assert 40 < first.expected < 80


# --- beginning and end ----------------------------------------------------------------------------

OPEN = Silence(7, "taobao", "lamps", NOON)


def a_verdict(state: str, last_at: datetime = NOON) -> Verdict:
    return Verdict("taobao", "lamps", state, last_at, 3600.0, 20.0, 0.0)


def test_a_silence_begins_once():
    silent = a_verdict("silent")

    assert changes([silent], [], NOON).began == [silent]
    assert changes([silent], [OPEN], NOON) == ([], [])


def test_a_silence_ends_with_the_next_order():
    later = NOON + timedelta(hours=2)

    found = changes([a_verdict("talking", later)], [OPEN], later + timedelta(minutes=1))

    assert found == ([], [Ended(7, later, by_order=True)])


def test_one_order_in_a_long_silence_ends_it_and_another_begins():
    later = NOON + timedelta(hours=5)
    silent = a_verdict("silent", later)

    found = changes([silent], [OPEN], NOON + timedelta(hours=9))

    assert found == ([silent], [Ended(7, later, by_order=True)])


@pytest.mark.parametrize("verdicts", [[], [a_verdict("learning")]])
def test_a_channel_of_which_nothing_is_expected_any_more_is_forgotten(verdicts: list[Verdict]):
    assert changes(verdicts, [OPEN], NOON) == ([], [Ended(7, NOON, by_order=False)])


def test_a_channel_that_only_talks_changes_nothing():
    assert changes([a_verdict("talking"), a_verdict("learning")], [], NOON) == ([], [])
