"""`orderflow bench intake`, tiny: every figure is there. How fast it is, is no test's business."""

import json

from typer.testing import CliRunner

from streams.bench import app
from streams.bench.intake import PLATFORMS


def test_bench_intake_reports_positive_figures_of_every_platform() -> None:
    done = CliRunner().invoke(app, ["intake", "--orders", "3", "--runs", "1", "--json"])

    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures["platforms"]) == set(PLATFORMS)
    assert figures["intake_us"] > 0
    assert figures["rate"] > 0
    for found in figures["platforms"].values():
        assert found["bytes"] > 0
        assert found["parse_us"] > 0
        assert found["intake_us"] > 0


def test_bench_intake_reads_well_for_people() -> None:
    done = CliRunner().invoke(app, ["intake", "--orders", "3", "--runs", "1"])

    assert done.exit_code == 0, done.output
    assert "orders a second on one core" in done.output
