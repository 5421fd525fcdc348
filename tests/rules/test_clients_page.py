"""docs/polling.md says of each platform what its client declares, of the process what it does."""

from datetime import timedelta
from pathlib import Path

import pytest

from streams.clients import CLIENTS
from streams.polling.metrics import Metrics
from streams.polling.poller import Ended

PAGE = (Path(__file__).parents[2] / "docs" / "polling.md").read_text()


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def row_of(platform: str) -> str:
    client = CLIENTS[platform]
    needs = ", ".join(f"`{name}`" for name in client.needs)
    window = f"{_span(client.window_max)}, {_span(client.settled_after)}"
    rate = f"{client.rate.per_s:g}/s, {client.rate.burst} at once"
    return (
        f"| `{platform}` | {needs} | `{client.cursor_field}` | {client.pages} | "
        f"{window} | {rate} ({client.rate.stated}) | "
        f"{'yes' if client.thin_pushes else 'no'} |"
    )


@pytest.mark.parametrize("platform", CLIENTS)
def test_the_page_says_of_a_platform_what_its_client_declares(platform: str):
    assert row_of(platform) in PAGE, (
        f"docs/polling.md is stale; the row is now:\n{row_of(platform)}"
    )


@pytest.mark.parametrize("platform", CLIENTS)
def test_the_page_says_what_is_not_known_of_a_platform(platform: str):
    assert CLIENTS[platform].unsure in " ".join(PAGE.split())


def test_the_page_names_every_metric_and_every_end_of_a_turn():
    for family in Metrics().registry.collect():
        assert family.name in PAGE, family.name
    for ended in Ended:
        assert f"`{ended}`" in PAGE, ended
