"""docs/callbacks.md says to subscribers what is told, and how a signature is checked."""

import re
from pathlib import Path

import pytest

from agents.callbacks import TEST_TYPE, TOLD, TYPES, WITHHELD
from streams.callbacks import subscribers
from streams.delivering.metrics import Metrics
from streams.delivering.sender import AT_ONCE_MAX
from streams.web import signing

PAGE = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", TOLD, ids=lambda kind: kind.__name__)
def test_the_page_names_every_event_and_the_fields_it_is_told_with(kind: type):
    tag = kind.__struct_config__.tag  # type: ignore[attr-defined]
    [row] = re.findall(rf"^\| `{re.escape(tag)}` \|[^|]*\| (.*) \|$", PAGE, re.MULTILINE)

    assert row == " ".join(f"`{field}`" for field in TOLD[kind])


def test_the_page_names_nothing_else_and_what_is_withheld():
    assert set(re.findall(r"^\| `([a-z]+\.[a-z]+)`", PAGE, re.MULTILINE)) == {*TYPES, TEST_TYPE}
    for field in WITHHELD:
        assert f"`{field}`" in PAGE


def test_the_code_on_the_page_verifies_what_we_sign_and_nothing_else():
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, object] = {}
    exec(code, found)  # noqa: S102
    verified = found["verified"]
    assert callable(verified)
    old, new = signing.new_secret(), signing.new_secret()
    body = b'{"type":"order.reserved"}'
    headers = signing.headers([new, old], "evt_1", 1_762_000_000, body)

    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    assert verified(old, headers, body, 1_762_000_200)
    assert verified(new, headers, body, 1_762_000_000)
    assert not verified(old, headers, body, 1_762_000_301)
    assert not verified(old, headers, body + b" ", 1_762_000_000)
    assert not verified(signing.new_secret(), headers, body, 1_762_000_000)


def test_the_page_names_the_metrics_and_the_limits():
    for family in Metrics().registry.collect():
        assert f"`{family.name}" in PAGE, family.name
    assert f"{subscribers.SUBSCRIBERS_MAX} subscribers" in PAGE
    assert f"{subscribers.FILTER_MAX} types and shops" in PAGE
    assert f"{subscribers.AT_ONCE_MAX} requests at a time a subscriber" in PAGE
    assert f"{AT_ONCE_MAX} a process" in PAGE
