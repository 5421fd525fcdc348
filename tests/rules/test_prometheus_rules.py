"""
The rules for Prometheus, tried by promtool: each fires, stays silent, sits at the edge of `for`.

promtool and amtool come by `python3 deploy/stack.py tools`, which `make test` runs; where they
cannot be had the tests that need them say so.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from agents.alert_rules import RULES
from tests.integration.databases import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
#: How often promtool evaluates.
EVERY_S = 5
#: No case lasts longer.
ENDS_S = 300


class Case(NamedTuple):
    """One alert, the series it looks at, a figure that fires it and one that just does not."""

    alert: str
    series: str
    fires: float
    silent: float
    #: Its `for`.
    for_s: int = 0


CASES = [
    Case("OrderflowExceptionsBacklog", "orderflow_exceptions_open", 51, 50, 60),
    Case("OrderflowOrdersLate", 'orderflow_order_delay_seconds{since="change"}', 301, 300),
    Case("OrderflowOrdersLate", 'orderflow_order_delay_seconds{since="receipt"}', 301, 300),
    Case("OrderflowNegativeStock", "orderflow_negative_stock_skus", 1, 0, 15),
    Case("OrderflowLag", 'orderflow_lag_seconds{reader="ledger order-events"}', 121, 120, 15),
    Case("OrderflowStuck", 'orderflow_stuck{state="case untouched"}', 1, 0, 30),
    Case("OrderflowChannelSilent", "orderflow_channels_silent", 1, 0),
    Case("OrderflowPausedTooLong", "orderflow_paused_seconds", 3601, 3600),
    Case("OrderflowDependencyDown", 'orderflow_dependency_up{name="kafka"}', 0, 1, 15),
    Case("OrderflowDiskFilling", 'orderflow_disk_used_ratio{folder="/x"}', 0.86, 0.85, 60),
    Case("OrderflowPartitionTrouble", "orderflow_partitions_in_trouble", 1, 0, 30),
    Case("OrderflowDrift", "orderflow_drifts_open", 1, 0),
    Case("OrderflowCanaryLate", "orderflow_canary_age_seconds", 181, 180),
    Case(
        "OrderflowSelftestLate",
        'orderflow_alert_selftest_age_seconds{channel="ops"}', 93601, 93600,
    ),
    Case(
        "OrderflowAlertChannelFailing",
        'orderflow_alert_channel_failing_seconds{channel="ops"}', 121, 120,
    ),
    Case("OrderflowCallbacksLate", "orderflow_callback_oldest_seconds", 301, 300),
    Case("OrderflowCallbackHostDown", "orderflow_callback_breaker_open", 1, 0, 90),
    # A time that stands still while the clock goes on; one that lies ahead is not old.
    Case(
        "OrderflowFigureUnknown",
        'orderflow_signal_last_timestamp_seconds{signal="lag"}', -181, 300,
    ),
    Case("OrderflowNobodyWatches", "orderflow_alerts_at_work", 0, 1, 60),
    Case("OrderflowPartitionHalted", 'orderflow_partitions_halted{stage="stock"}', 1, 0),
]  # fmt: skip
#: The rule of the house -> its counterpart, where that is not called alike.
COUNTERPARTS = {
    "orders-late-by-source": "OrderflowOrdersLate",
    "orders-late-by-receipt": "OrderflowOrdersLate",
}


def tool(name: str) -> str:
    found = shutil.which(name, path=ROOT / ".local" / "tools") or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here; `python3 deploy/stack.py tools` fetches it on Debian")
    return found


def said_by(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules_text() -> str:
    return (FOLDER / "alerts.yml").read_text(encoding="utf-8")


def trial(series: str, value: float, alert: str, at_s: int, *, fires: bool) -> dict[str, object]:
    """Prometheus sees one figure and nothing else; at this moment the alert fires, or does not."""
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    samples = [{"labels": "{}", "value": 1}] if fires else []
    return {
        "interval": f"{EVERY_S}s",
        "input_series": [{"series": series, "values": f"{value}+0x{ENDS_S // EVERY_S}"}],
        "promql_expr_test": [{"expr": firing, "eval_time": f"{at_s}s", "exp_samples": samples}],
    }


def test_each_alert_fires_stays_silent_and_waits_for_as_long_as_its_for_says(tmp_path: Path):
    promtool = tool("promtool")
    trials = []
    for case in CASES:
        fires = (case.series, case.fires, case.alert)
        trials.append(trial(*fires, case.for_s + EVERY_S, fires=True))
        if case.for_s:
            trials.append(trial(*fires, case.for_s - EVERY_S, fires=False))
        trials.append(trial(case.series, case.silent, case.alert, ENDS_S - EVERY_S, fires=False))
    file = tmp_path / "trials.yml"
    file.write_text(
        json.dumps({
            "rule_files": [str(FOLDER / "alerts.yml")],
            "evaluation_interval": f"{EVERY_S}s",
            "tests": trials,
        })
    )  # fmt: skip

    said_by(promtool, "test", "rules", str(file))


def test_that_nobody_shows_a_figure_at_all_is_told(tmp_path: Path):
    promtool = tool("promtool")
    nobody = trial("up", 0, "OrderflowNobodyWatches", 65, fires=True)
    file = tmp_path / "trials.yml"
    file.write_text(
        json.dumps({
            "rule_files": [str(FOLDER / "alerts.yml")],
            "evaluation_interval": f"{EVERY_S}s",
            "tests": [nobody],
        })
    )  # fmt: skip

    said_by(promtool, "test", "rules", str(file))


def test_rules_and_routing_are_well_formed():
    said_by(tool("promtool"), "check", "rules", str(FOLDER / "alerts.yml"))
    said_by(tool("amtool"), "check-config", str(FOLDER / "alertmanager.yml"))


def test_every_alert_is_tried_or_said_why_not():
    named = set(re.findall(r"- alert: (\w+)", rules_text()))

    # It needs a counter that grows; promtool's arithmetic of `increase` is not ours to try.
    assert {case.alert for case in CASES} == named - {"OrderflowLettersLost"}


def test_every_rule_of_the_house_has_its_counterpart():
    named = set(re.findall(r"- alert: (\w+)", rules_text()))

    for rule in RULES:
        alike = "Orderflow" + "".join(word.capitalize() for word in rule.name.split("-"))
        assert COUNTERPARTS.get(rule.name, alike) in named, rule.name


def test_every_runbook_link_leads_to_a_heading():
    page = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^## (.+)$", page, re.MULTILINE)
    }
    links = {rule.runbook for rule in RULES} | set(re.findall(r"runbook_url: (\S+)", rules_text()))

    assert links
    for link in links:
        assert link.removeprefix("docs/runbook.md#") in anchors, link


def test_the_metrics_that_rules_name_are_shown():
    shown = "".join(
        (ROOT / "streams" / name).read_text(encoding="utf-8")
        for name in ("alerting/metrics.py", "engine/metrics.py")
    )

    for name in set(re.findall(r"orderflow_\w+", rules_text())):
        assert f'"{name.removesuffix("_total")}"' in shown, name
