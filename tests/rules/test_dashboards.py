"""The dashboards as files: each panel says what it shows, in which unit, of metrics that exist."""

import json
import re
import subprocess
from typing import Any, NamedTuple

import pytest
from prometheus_client import generate_latest

from streams.web.health import Health
from tests.integration.databases import ROOT
from tests.rules.test_metrics_pages import PAGES, promtool

FOLDER = ROOT / "deploy" / "grafana"
WANTED = {"flow", "lag", "stock", "exceptions", "alerts", "workers"}


class Panel(NamedTuple):
    """One panel of a dashboard."""

    dashboard: str
    title: str
    queries: tuple[str, ...]
    said: dict[str, Any]


def dashboards() -> dict[str, Any]:
    """Name -> dashboard, as Grafana reads it."""
    return {
        file.stem: json.loads(file.read_text())
        for file in sorted((FOLDER / "dashboards").glob("*.json"))
    }


def panels() -> list[Panel]:
    return [
        Panel(name, panel["title"], tuple(each["expr"] for each in panel["targets"]), panel)
        for name, board in dashboards().items()
        for panel in board["panels"]
    ]


def names_in_code() -> set[str]:
    """Every metric that a process of the house can show, as Prometheus names its series."""

    async def nothing() -> list[str]:
        return []

    found = set()
    for process, made in PAGES.items():
        registry = made()
        Health(process, registry, nothing)
        page = generate_latest(registry).decode()
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", page, re.MULTILINE):
            found |= {f"{name}_bucket", f"{name}_count"} if kind == "histogram" else {name}
    return found


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_dashboard_is_provisioned_and_cannot_be_changed_on_the_page(name: str):
    board = dashboards()[name]

    assert board["uid"] == f"orderflow-{name}"
    assert board["editable"] is False
    variables = {each["name"]: each["type"] for each in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "job": "query", "instance": "query"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_there_is_no_other_dashboard_and_no_title_twice():
    titles = [panel.title for panel in panels()]

    assert set(dashboards()) == WANTED
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel.title)
def test_a_panel_says_what_it_shows_and_filters_by_job_and_instance(panel: Panel):
    known = names_in_code()

    assert panel.said["description"].endswith(".")
    assert panel.said["fieldConfig"]["defaults"]["unit"]
    assert panel.said["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel.queries
    for expr in panel.queries:
        assert set(re.findall(r"orderflow_\w+", expr)) - known == set()
        assert 'job=~"$job", instance=~"$instance"' in expr
        for rated in re.findall(r"rate\(\w+\{[^}]*\}\[([^\]]*)\]", expr):
            assert rated == "$__rate_interval"


def test_the_way_prometheus_scrapes_is_valid():
    done = subprocess.run(
        [promtool(), "check", "config", ROOT / "deploy" / "prometheus" / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_process_that_has_figures_is_scraped():
    said = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    jobs = re.findall(r"^  - job_name: (\w+)$", said, re.MULTILINE)
    targets = re.findall(r'"127\.0\.0\.1:(\d+)"', said)

    assert sorted(jobs) == sorted(PAGES)
    assert len(set(targets)) == len(targets)


def test_a_place_that_provisions_them_exists():
    said = (FOLDER / "provisioning" / "dashboards" / "orderflow.yaml").read_text()

    assert "apiVersion: 1" in said
    assert "allowUiUpdates: false" in said
