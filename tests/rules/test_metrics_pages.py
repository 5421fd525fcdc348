"""
The page of metrics of every process, judged by promtool and by the rules of the house.

A label is never an id: no order, no SKU, no message may make a page grow.
"""

import re
import shutil
import subprocess
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from streams.alerting.metrics import Metrics as Alerts
from streams.availability.metrics import Metrics as Availability
from streams.availability.metrics import PushMetrics, WriterMetrics
from streams.console.web import Metrics as Console
from streams.delivering.metrics import Metrics as Callbacks
from streams.engine.metrics import Metrics as Worker
from streams.gateway.metrics import Metrics as Gateway
from streams.mapping.publishing import Metrics as Publisher
from streams.people.metrics import Metrics as Operations
from streams.polling.metrics import Metrics as Poller
from streams.reconciling.watching import Metrics as Reconciler
from tests.integration.databases import ROOT

#: Labels that are bounded by what the house declares: words of ours, shops, roles, topics.
LABELS = frozenset(
    {
        "platform", "shop", "outcome", "stage", "keeper", "topic", "partition", "cause", "kind",
        "reader", "status", "source", "channel", "operation", "process", "signal", "rule",
        "sink", "way", "severity", "page", "name", "since", "state", "folder", "host", "le",
    }
)  # fmt: skip


def _worker() -> CollectorRegistry:
    registry = Worker().registry
    WriterMetrics(registry)
    PushMetrics(registry)
    return registry


#: Kind of process -> what makes its registry.
PAGES: dict[str, Callable[[], CollectorRegistry]] = {
    "worker": _worker,
    "gateway": lambda: Gateway().registry,
    "poll": lambda: Poller().registry,
    "reconcile": lambda: Reconciler().registry,
    "availability": lambda: Availability().registry,
    "operations": lambda: Operations().registry,
    "alerts": lambda: Alerts().registry,
    "publish": lambda: Publisher().registry,
    "callbacks": lambda: Callbacks().registry,
    "console": lambda: Console().registry,
}


def promtool() -> str:
    found = shutil.which("promtool", path=ROOT / ".local" / "tools") or shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not here; `python3 deploy/stack.py tools` fetches it on Debian")
    return found


def wrongs(page: str) -> list[str]:
    """What promtool has to say of a page, and what the house has."""
    # `_created` is the client's own and no metric of ours.
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "_created" not in line]
    names = re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
    said += [f"{name}: its prefix" for name in names if not name.startswith("orderflow_")]
    labels = {label for each in re.findall(r"\{(.*?)\}", page) for label in _labels(each)}
    return said + [f"label {label}" for label in sorted(labels - LABELS)]


def _labels(inside: str) -> list[str]:
    return re.findall(r'(\w+)="', inside)


@pytest.mark.parametrize("process", PAGES)
def test_a_page_is_clean_by_promtool_and_by_the_house(process: str):
    page = generate_latest(PAGES[process]()).decode()

    assert "orderflow_" in page
    assert wrongs(page) == []


def test_the_document_names_every_metric_and_no_other():
    shown = {
        name
        for made in PAGES.values()
        for name in re.findall(r"^# TYPE (\S+)", generate_latest(made()).decode(), re.MULTILINE)
        if not name.endswith("_created")
    }
    said = (ROOT / "docs" / "observability.md").read_text()
    named = set(re.findall(r"^\| `(orderflow_\w+)", said, re.MULTILINE))

    assert named == shown


def test_a_page_that_is_not_clean_is_told():
    page = "# HELP orderflow_wait_ms x\n# TYPE orderflow_wait_ms gauge\norderflow_wait_ms 1\n"
    other = '# HELP x_total x\n# TYPE x_total counter\nx_total{order="1"} 1\n'

    assert any("abbreviated units" in each for each in wrongs(page))
    assert wrongs(other) == ["x_total: its prefix", "label order"]
