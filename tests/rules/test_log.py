"""The log stays readable while a part of the world is away."""

import logging

import pytest

from streams import logs
from streams.masking import masked

NODE = "Unable connect to node with id %s"


def said(calm: logs.Calm, name: str, sentence: str, *, level: int = logging.ERROR) -> str | None:
    """Return what is shown of one record, or None."""
    record = logging.LogRecord(name, level, "", 1, sentence, (0,) if "%s" in sentence else (), None)
    return record.getMessage() if calm.filter(record) else None


def test_a_library_that_repeats_itself_is_heard_a_few_times_and_then_counted(
    monkeypatch: pytest.MonkeyPatch,
):
    clock = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    calm = logs.Calm()

    shown = [said(calm, "aiokafka.conn", NODE) for _ in range(3_000)]
    clock[0] += logs.ALIKE_WITHIN_S + 1

    assert [line for line in shown if line] == ["Unable connect to node with id 0"] * logs.ALIKE_MAX
    assert said(calm, "aiokafka.conn", NODE) == (
        f"Unable connect to node with id 0 (and {3_000 - logs.ALIKE_MAX} more like it)"
    )
    assert said(calm, "aiokafka.conn", NODE) == "Unable connect to node with id 0"


def test_another_sentence_and_what_is_critical_are_always_heard():
    calm = logs.Calm()
    for _ in range(100):
        said(calm, "aiokafka.conn", NODE)

    assert said(calm, "aiokafka.conn", "Something else")
    assert said(calm, "aiokafka.conn", NODE, level=logging.CRITICAL)


def test_our_own_lines_are_never_left_out():
    calm = logs.Calm()

    assert all(said(calm, "streams.engine.keeper", "a commit failed") for _ in range(100))


def test_a_megabyte_without_a_blank_is_looked_through_once() -> None:
    long = "x" * 1_000_000

    assert masked(long + "@example.com").endswith("***")
    assert masked(long) == long
