"""When an alert fires and when it is over: exact to the millisecond, once each, in any portions."""

from hypothesis import given
from hypothesis import strategies as st

from agents.alert_rules import RULES, SIGNALS
from agents.alerting import acknowledged, completed, heard, told
from schemas.alerts import Alert, Notice, Reading, Rule, Said, Severity, State

NEGATIVE = next(rule for rule in RULES if rule.name == "negative-stock")
BACKLOG = next(rule for rule in RULES if rule.name == "exceptions-backlog")


def a_rule(**changes: object) -> Rule:
    base = {
        "name": "lamps", "signal": "stuck", "threshold": 50, "clear": 40, "for_ms": 10_000,
        "clear_for_ms": 5_000, "severity": Severity.WARNING, "summary": "Lamps.", "runbook": "x",
    }  # fmt: skip
    return Rule(**{**base, **changes})


def story(rule: Rule, *readings: tuple[float, float]) -> tuple[Alert | None, list[Notice]]:
    """What comes of *readings*, each (second, figure), and all that is told on the way."""
    alert, said = None, []
    for nth, (second, value) in enumerate(readings):
        before = alert
        alert = heard(rule, before, Reading("GARISH-RUG", value, round(second * 1000)), f"a{nth}")
        if alert is not None:
            said += told(rule, "units", before, alert)
    return alert, said


def words(said: list[Notice]) -> list[str]:
    return [each.said.value for each in said]


def test_t62_stock_negative_for_9_9_s_stays_silent():
    # Until the very millisecond before it is right again.
    alert, said = story(NEGATIVE, (0.5, 3), (10.399, 3), (10.4, 0))

    assert said == []
    assert alert is not None
    assert (alert.state, alert.fired_ms) == (State.RESOLVED, None)


def test_t62_stock_negative_for_10_1_s_fires_once_and_is_resolved_once():
    # Nobody looked between 0.5 s and 10.6 s: the ledger itself says when it changed.
    _, said = story(NEGATIVE, (0.5, 3), (10.599, 3), (10.6, 0))

    assert words(said) == ["fired", "resolved"]
    assert said[0].at_ms == 10_500
    assert said[0].id != said[1].id
    assert len({each.id.split("/")[0] for each in said}) == 1


def test_t62_the_same_trouble_heard_again_and_again_is_told_once():
    again = [(0.5, 3), (10.599, 3), (10.6, 0)] * 5

    _, said = story(NEGATIVE, *again)

    assert words(said) == ["fired", "resolved"]


def test_t61_fifty_open_exceptions_are_no_backlog_and_fifty_one_are_one_after_a_minute():
    assert story(BACKLOG, *((second, 50.0) for second in range(600)))[1] == []
    assert story(BACKLOG, *((second, 51.0) for second in range(60)))[1] == []
    assert words(story(BACKLOG, *((second, 51.0) for second in range(61)))[1]) == ["fired"]


def test_t61_a_backlog_that_falls_below_for_one_moment_begins_anew():
    dip = [(second, 50.0 if second == 59 else 51.0) for second in range(110)]

    assert story(BACKLOG, *dip)[1] == []


def test_t61_a_figure_that_swings_around_the_threshold_fires_once():
    swinging = [(second, 60.0 if second < 15 else 45.0 + second % 12) for second in range(600)]

    _, said = story(a_rule(), *swinging)

    assert words(said) == ["fired"]


def test_an_alert_is_over_only_after_it_was_calm_for_long_enough():
    rule = a_rule()
    up = [(0, 60.0), (10, 60.0)]

    assert words(story(rule, *up, (11, 40), (15.9, 40))[1]) == ["fired"]
    assert words(story(rule, *up, (11, 40), (16, 40))[1]) == ["fired", "resolved"]
    # Between clear and threshold it is not calm, and the calm begins anew.
    assert words(story(rule, *up, (11, 40), (14, 45), (15, 40), (19, 40))[1]) == ["fired"]


def test_what_nobody_saw_is_not_taken_for_granted():
    # The process slept for an hour; when it looked again the figure was fine.
    _, said = story(NEGATIVE, (0, 3), (3600, 0))

    assert said == []


def test_a_second_trouble_is_another_alert():
    _, said = story(NEGATIVE, (0, 3), (10, 3), (11, 0), (20, 3), (30, 3), (31, 0))

    assert words(said) == ["fired", "resolved"] * 2
    assert len({each.id for each in said}) == 4


def test_a_person_takes_an_alert_once_and_it_ends_by_itself():
    alert, _ = story(a_rule(), (0, 60), (10, 60))
    assert alert is not None

    taken = acknowledged(alert, "mei", 12_000, "I count them")

    assert taken is not None
    assert (taken.state, taken.acknowledged_by, taken.acknowledged_ms) == (
        State.ACKNOWLEDGED, "mei", 12_000,
    )  # fmt: skip
    assert acknowledged(taken, "lin", 13_000) is None
    still = heard(a_rule(), taken, Reading("GARISH-RUG", 70, 20_000), "b")
    assert still is not None
    assert (still.state, still.worst) == (State.ACKNOWLEDGED, 70)
    calm = heard(a_rule(), still, Reading("GARISH-RUG", 0, 21_000), "b")
    over = heard(a_rule(), calm, Reading("GARISH-RUG", 0, 26_000), "b")
    assert over is not None
    assert over.state is State.RESOLVED
    (said,) = told(a_rule(), "units", still, over)
    assert "mei" in said.body


def test_a_pending_alert_cannot_be_taken_nor_one_that_is_over():
    pending, _ = story(a_rule(), (0, 60))
    over, _ = story(a_rule(for_ms=0, clear_for_ms=0), (0, 60), (1, 0))

    assert pending is not None
    assert acknowledged(pending, "mei", 1) is None
    assert over is not None
    assert acknowledged(over, "mei", 1) is None


def test_a_subject_that_is_named_no_more_is_calm():
    alert, _ = story(NEGATIVE, (0, 3), (10, 3))
    assert alert is not None

    said = completed(NEGATIVE, {("negative-stock", "GARISH-RUG"): alert}, [], 11_000)

    assert said == [Reading("GARISH-RUG", 0.0, 11_000)]
    other = completed(BACKLOG, {("negative-stock", "GARISH-RUG"): alert}, [], 11_000)
    assert other == []


@given(
    values=st.lists(st.sampled_from([0.0, 40.0, 41.0, 50.0, 51.0, 60.0]), max_size=80),
    cuts=st.lists(st.integers(0, 80), max_size=6),
)
def test_heard_in_any_portions_and_repeated_the_same_is_told(values: list[float], cuts: list[int]):
    readings = [(second, value) for second, value in enumerate(values)]
    repeated = []
    for nth, reading in enumerate(readings):
        repeated.append(reading)
        if nth in cuts:
            repeated += readings[: nth + 1]

    rule = a_rule(for_ms=2_000, clear_for_ms=1_000)
    once, twice = story(rule, *readings)[1], story(rule, *repeated)[1]

    assert [(each.said, each.at_ms) for each in once] == [(each.said, each.at_ms) for each in twice]
    # Fire and resolve take turns, and fire comes first.
    assert words(once) == (["fired", "resolved"] * len(once))[: len(once)]


def test_every_rule_looks_at_a_signal_and_every_signal_has_a_rule():
    assert {rule.signal for rule in RULES} == set(SIGNALS)
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.clear <= rule.threshold, rule.name


def test_what_is_told_names_figure_bound_time_and_what_to_do():
    _, (said,) = story(a_rule(), (0, 60), (10, 63))

    assert said.said is Said.FIRED
    assert said.title == "lamps: GARISH-RUG"
    assert said.body == "Lamps.\n63 units, allowed 50, for 10 s.\nDo: x"
