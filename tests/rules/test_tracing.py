"""Traces: one id and one sample without a header; nothing of them where they are off."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import tracing
from streams.settings import Settings
from tests.integration.collector import a_collector

PLACES = st.builds("raw-orders-taobao/{}/{}".format, st.integers(0, 99), st.integers(0, 10**12))


@given(PLACES)
def test_every_process_knows_the_same_ids_of_a_message(place: str):
    ids = tracing.ids_of(place)

    assert ids == tracing.ids_of(place)
    assert 0 < ids.trace < 1 << 128
    assert len({ids.span("gateway"), ids.span("intake"), ids.trace}) == 3


def test_the_sample_is_the_share_that_was_asked_for_and_a_larger_one_holds_it():
    with a_collector() as collector:
        few, more = tracing.Tracer(collector.url, 0.1), tracing.Tracer(collector.url, 0.5)
        all_ = [tracing.ids_of(f"raw-orders-jd/0/{n}") for n in range(4_000)]
        sampled = {ids for ids in all_ if few.is_sampled(ids)}

    assert 300 < len(sampled) < 500
    assert sampled < {ids for ids in all_ if more.is_sampled(ids)}


def test_a_span_comes_masked_and_only_of_sampled_messages():
    with a_collector() as collector:
        whole, none = tracing.Tracer(collector.url, 1), tracing.Tracer(collector.url, 0)
        said = {"shop": "call 13800138000"}
        for tracer in (whole, none):
            tracer.tell(tracing.SEND, "raw-orders-jd", "raw-orders-jd/0/1", 1, 2, said)
            tracer.flush()

        (span,) = collector.of(tracing.ids_of("raw-orders-jd/0/1").trace)

    assert span.name == "send raw-orders-jd"
    assert span.parent == 0
    assert "***00" in collector.text()
    assert "13800138000" not in collector.text()


@pytest.mark.parametrize(
    ("said", "is_one"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("call 13800138000", False),
    ],
)
def test_only_a_traceparent_is_taken_for_one(said: str, *, is_one: bool):
    assert tracing.is_traceparent(said) is is_one


def test_where_traces_are_off_nothing_of_them_is_imported():
    code = (
        "import sys, streams.roles, streams.gateway.serving, streams.tracing as t\n"
        "from streams.settings import Settings\n"
        "assert t.of(Settings(kafka='x')) is None\n"
        # redis looks for the SDK's metrics by itself; what tells spans is not there.
        "assert not [n for n in sys.modules if n.startswith('opentelemetry.exporter')]\n"
        "assert 'opentelemetry.sdk.trace.export' not in sys.modules\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_traces_are_off_by_default():
    assert tracing.of(Settings(kafka="x")) is None
