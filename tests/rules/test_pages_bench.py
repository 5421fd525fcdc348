"""What `bench pages` reads in a plan: which big tables are read whole, and how many months."""

import shutil
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import Misconfigured
from streams.bench.pages import FREE_BYTES_MIN, PAGES, Job, Stock, _check_room, _statements, read
from streams.postgres.queries import sql

PARENTS = {f"order_events_2026_{month:02}": "order_events" for month in range(1, 7)}


def node(kind: str, relation: str = "", loops: int = 1, *parts: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"Node Type": kind, "Actual Loops": loops, "Plans": list(parts)}
    return said | ({"Relation Name": relation} if relation else {})


def read_of(*parts: Any) -> dict[str, Any]:
    plan = {"Plan": node("Append", "", 1, *parts), "Execution Time": 1.26}
    return read(plan, {"orders", "holds"}, PARENTS)


def test_a_big_table_that_is_read_whole_is_named_wherever_it_is_in_the_plan() -> None:
    deep = node("Nested Loop", "", 1, node("Seq Scan", "orders"), node("Index Scan", "holds"))

    assert read_of(deep)["scans"] == ["orders"]


def test_a_small_table_and_a_branch_that_was_never_carried_out_are_no_fault() -> None:
    found = read_of(node("Seq Scan", "stock"), node("Seq Scan", "orders", 0))

    assert found == {"ms": 1.3, "scans": [], "partitions": {}}


def test_of_a_trail_it_is_said_how_many_of_its_months_were_looked_into() -> None:
    found = read_of(
        node("Index Scan", "order_events_2026_01", 0),
        node("Index Scan", "order_events_2026_05"),
        node("Index Scan", "order_events_2026_06"),
    )

    assert found["partitions"] == {"order_events": [2, 6]}


def test_every_statement_is_one_of_ours_and_every_page_is_asked_for_by_an_address() -> None:
    class Dice:
        def randrange(self, *bounds: int) -> int:
            return bounds[-1] - 1

    of = Stock(1_000, 100, Dice(), date(2026, 11, 28))  # type: ignore[arg-type]

    assert all(sql(name) for name, _ in _statements(of))
    assert all(path(of).startswith("/") for path in PAGES.values())


def test_pages_are_not_measured_where_the_disk_would_be_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = SimpleNamespace(free=2 * FREE_BYTES_MIN)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    _check_room(Job(orders=100_000))

    with pytest.raises(Misconfigured, match="make room, or ask for fewer with --orders"):
        _check_room(Job(orders=1_000_000))
    free.free = FREE_BYTES_MIN
    with pytest.raises(Misconfigured):
        _check_room(Job(orders=100))
