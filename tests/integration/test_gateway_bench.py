"""`orderflow bench gateway`, small: every push is answered and counted on the topic."""

import pytest

from streams.bench.pusher import pushes
from tests.integration.conftest import _addresses
from tests.integration.test_bench import MACHINE, bench

pytestmark = pytest.mark.stack

FIGURES = {"p50_ms", "p99_ms", "max_ms", "server_cpu_us", "broker_cpu_us"}


def test_a_small_run_has_all_figures_of_both_sides():
    figures = bench(_addresses(), "gateway", "--rate", "100", "--seconds", "0.5", "--runs", "1")

    assert figures.keys() >= FIGURES | {f"{name}_bare" for name in FIGURES}
    assert figures["machine"].keys() == MACHINE
    assert figures["pushes"] == 250
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]


def test_every_push_is_an_order_of_its_own():
    made = pushes(50)

    assert len(set(made)) == 50
    assert all(each.startswith(b"POST /v1/webhooks/shopify/bench HTTP/1.1\r\n") for each in made)
