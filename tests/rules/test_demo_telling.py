"""A demo that says no says why: the check alone may hold, and the house stand still."""

import asyncio
from itertools import chain, count, repeat
from types import SimpleNamespace
from typing import Any

import pytest

from streams.demo import acts
from streams.demo.telling import why_not
from streams.demo.watching import Figures

WELL: dict[str, Any] = {
    "check": {"ok": True},
    "at_rest": True,
    "killed": {"killed": 1, "back": 2, "seconds": 3.0},
    "fed": {"messages": 1_200, "acknowledged": 1_200},
}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, []),
        ({"check": {"ok": False}}, ["The check found what is named above."]),
        ({"at_rest": False}, ["The house did not come to rest in time."]),
        ({"killed": {"back": None}}, ["The killed worker did not come back in time."]),
        (
            {"fed": {"messages": 1_200, "acknowledged": 1_199}},
            ["Of 1,200 messages 1,199 were acknowledged."],
        ),
    ],
)
def test_whatever_keeps_the_demo_from_a_yes_is_told(wrong: dict[str, Any], said: list[str]):
    assert why_not(WELL | wrong) == said


class Seen:
    """A house as it is seen, look by look."""

    def __init__(self, looks: Any) -> None:
        self._looks, self.said = looks, []

    @property
    def last(self) -> Figures:
        return next(self._looks)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


#: A tenth of a second each: one order more with every look, for twice as long as patience lasts.
WRITES = [Figures(orders=nth, records=9) for nth in range(1, 11)]
RESTS = (Figures(orders=10, records=9) for _ in count())


@pytest.mark.parametrize(
    ("looks", "ended", "rests", "said"),
    [
        (chain(WRITES, RESTS), False, True, "the house is at rest"),
        (repeat(Figures(orders=9)), False, False, "nothing has gone on for 0 s"),
        ((Figures(orders=nth % 9, lag=1) for nth in count()), False, False, "2 s are over"),
        (repeat(Figures()), True, False, "the workers have ended"),
    ],
)
def test_the_demo_waits_as_long_as_orders_go_on_and_no_longer(
    looks: Any, ended: bool, rests: bool, said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(acts, "QUIET_S", 0.45)
    monkeypatch.setattr(acts, "REST_WITHIN_S", 2.0)
    view, troupe = Seen(looks), SimpleNamespace(ended=ended)

    assert asyncio.run(acts._rest(view, troupe, expected=10)) is rests  # type: ignore[arg-type]
    assert view.said[-1].endswith(said)
