"""`orderflow bench intake`, tiny: every figure is there. How fast it is, is no test's business."""

import json

import pytest
from typer.testing import CliRunner

from streams.bench.intake import PLATFORMS, compact
from streams.cli.benching import app
from streams.feed.payloads import render
from streams.feed.trade import Trade, statements
from tests.adapters.samples import parse


def test_bench_intake_reports_positive_figures_of_every_platform() -> None:
    done = CliRunner().invoke(app, ["intake", "--orders", "3", "--runs", "1", "--json"])

    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout.splitlines()[-1])
    for these in (figures, figures["compact"]):
        assert set(these["platforms"]) == set(PLATFORMS)
        assert these["intake_us"] > 0
        assert these["rate"] > 0
        for found in these["platforms"].values():
            assert found["bytes"] > 0
            assert found["parse_us"] > 0
            assert found["intake_us"] > 0


def test_bench_intake_reads_well_for_people() -> None:
    done = CliRunner().invoke(app, ["intake", "--orders", "3", "--runs", "1"])

    assert done.exit_code == 0, done.output
    assert "orders a second on one core" in done.output


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_compact_payload_says_the_same_order(platform: str) -> None:
    trade = Trade(orders=3, platforms=(platform,), unpaid=True)
    for said in statements(trade):
        whole = render(said.draft, said.step)
        small = compact(platform, whole)
        assert len(small) < len(whole)
        assert parse(platform, small) == parse(platform, whole)
