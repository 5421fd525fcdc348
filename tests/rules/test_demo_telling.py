"""A demo that says no says why: the check alone may hold, and the house be too slow."""

from typing import Any

import pytest

from streams.demo.telling import why_not

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
