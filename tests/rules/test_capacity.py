"""docs/capacity.md is what the model says, and the model keeps what it promises."""

import re

import pytest

from streams.capacity import (
    ASKED,
    BUSY,
    FLEETS,
    Load,
    brokers_left,
    dealt,
    hottest_max,
    needs,
    shares,
    told,
    worker_dies,
    workers_for,
)
from tests.integration.databases import ROOT

INTAKE, ORDERS, STOCK, LEDGER = FLEETS
LARGE = ASKED[-1]


def test_the_document_has_the_tables_as_the_model_prints_them():
    text = (ROOT / "docs" / "capacity.md").read_text()
    (shown,) = re.findall(r"<!-- orderflow capacity -->\n(.*?)<!-- end -->", text, re.DOTALL)

    # As `orderflow capacity` prints it.
    assert shown == told(ASKED)


def test_every_figure_of_the_model_stands_in_the_benchmarks():
    said = (ROOT / "docs" / "benchmarks.md").read_text()

    for name, value in {**dict(_costs()), "topics": "22.3 kB", "PostgreSQL": "10.3 kB"}.items():
        assert value in said, name


def _costs() -> list[tuple[str, str]]:
    from streams import capacity  # noqa: PLC0415

    return [
        (name, f"{value:g}")
        for name, value in vars(capacity).items()
        if name.endswith("_US") and isinstance(value, float)
    ]


@pytest.mark.parametrize("fleet", FLEETS, ids=lambda fleet: fleet.name)
def test_every_partition_is_somebodys_and_nobody_is_busier_than_planned(fleet):
    parts = shares(LARGE, fleet)
    workers = workers_for(LARGE, fleet)

    assert sum(parts) == pytest.approx(1)
    assert workers is not None
    assert workers <= LARGE.partitions
    busiest = max(dealt(parts, workers)) * LARGE.orders * fleet.units * fleet.unit_us / 1e6
    assert busiest <= BUSY


def test_one_hot_sku_is_the_end_of_its_partition_whatever_the_number_of_workers():
    hot = Load(orders=LARGE.orders, skew=1.0)

    assert workers_for(hot, STOCK) is None
    assert "no number is enough" in told([hot])
    assert max(shares(hot, STOCK)) * hot.orders * STOCK.units > hottest_max(STOCK) * BUSY
    # Nothing else minds.
    assert workers_for(hot, ORDERS) == workers_for(LARGE, ORDERS)


def test_a_worker_that_dies_is_made_up_for_and_only_its_own_partitions_wait_for_the_session():
    dies = worker_dies(LARGE, ORDERS)
    third = worker_dies(LARGE, ORDERS, (workers_for(LARGE, ORDERS) or 0) // 3)

    assert 0 < dies.partitions < LARGE.partitions / 10
    assert dies.over_s is not None
    assert third.over_s is not None
    assert third.over_s > dies.over_s
    with pytest.raises(ValueError, match="cannot die"):
        worker_dies(LARGE, ORDERS, 10_000)


def test_a_zone_of_brokers_may_be_lost_before_a_card_is_full():
    for load in ASKED:
        brokers = next(need.number for need in needs(load) if need.part == "brokers")
        network, cpu = brokers_left(load, brokers // 3)
        assert network * BUSY < 1
        assert cpu * BUSY < 1
