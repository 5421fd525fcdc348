"""A generated trade repeats by its seed, speaks its platforms' words, and adds up."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from streams.adapters import ADAPTERS
from streams.feed.payloads import GENERATED, MODIFIED_AFTER_S, Step, render
from streams.feed.trade import (
    LATE_BY_S,
    SHOP,
    ImpossibleTrade,
    Statement,
    Trade,
    statements,
)

LIVELY = Trade(
    orders=400,
    rate=100,
    seed=7,
    platforms=GENERATED,
    duplicates=0.1,
    reorder=0.1,
    cancel=0.2,
    late_payments=0.1,
    abandoned=0.1,
    edited=0.2,
    parcels=0.5,
)
SAFE_INTEGER_MAX = 2**53


def _all(trade: Trade = LIVELY) -> list[Statement]:
    return list(statements(trade))


def test_the_same_seed_gives_the_same_bytes_in_the_same_sequence() -> None:
    once, again = _all(), _all()

    assert once == again
    assert [render(s.draft, s.step) for s in once] == [render(s.draft, s.step) for s in again]


def test_another_seed_gives_other_orders() -> None:
    other = Trade(orders=400, rate=100, seed=8, platforms=GENERATED)

    assert not {s.key for s in _all()} & {s.key for s in _all(other)}


def test_statements_come_by_the_time_at_which_they_are_due() -> None:
    dues = [s.due_s for s in _all()]

    assert dues == sorted(dues)


def test_every_payload_is_read_by_its_adapter_without_a_notice() -> None:
    for said in _all():
        draft, payload = said.draft, render(said.draft, said.step)
        adapter = ADAPTERS[draft.platform]
        (statement,) = adapter.parse(payload, SHOP)

        assert statement.key == said.key
        assert adapter.key_of(payload) == b"%d" % draft.id
        assert statement.notices == ()
        assert statement.created_at is not None
        assert statement.created_at.ms == draft.created_s * 1000
        assert statement.stated_ms == (draft.created_s + MODIFIED_AFTER_S[said.step]) * 1000


def test_the_money_adds_up() -> None:
    for said in _all():
        draft = said.draft
        (statement,) = ADAPTERS[draft.platform].parse(render(draft, said.step), SHOP)
        goods = sum((line.unit_price or 0) * line.quantity for line in statement.lines)
        lines = sum(line.line_total or 0 for line in statement.lines)

        assert statement.total == draft.total
        assert statement.total == goods - (statement.discount or 0) + (statement.shipping or 0)
        assert statement.total == lines + (statement.shipping or 0)
        assert [line.merchant_sku for line in statement.lines] == [one.sku for one in draft.lines]


@pytest.mark.parametrize("platform", GENERATED)
def test_each_step_is_the_status_that_it_stands_for(platform: str) -> None:
    draft = next(iter(statements(Trade(orders=1, platforms=(platform,))))).draft
    statuses = {
        step: (said.status, said.refund)
        for step in Step
        for said in ADAPTERS[platform].parse(render(draft, step), SHOP)
    }

    assert statuses == {
        Step.CREATED: ("PENDING_PAYMENT", "NONE"),
        Step.PAID: ("PAID", "NONE"),
        Step.PARCEL: ("PARTIALLY_SHIPPED", "NONE"),
        Step.SHIPPED: ("SHIPPED", "NONE"),
        Step.CANCELLED: ("CANCELLED", "NONE"),
        Step.REFUNDED: ("CANCELLED", "REFUNDED"),
    }


@pytest.mark.parametrize("platform", GENERATED)
def test_a_parcel_takes_the_first_line_and_says_so(platform: str) -> None:
    draft = next(iter(statements(Trade(orders=1, platforms=(platform,))))).draft

    (said,) = ADAPTERS[platform].parse(render(draft, Step.PARCEL), SHOP)

    assert [line.shipped for line in said.lines] == [draft.lines[0].quantity, None, None]


def test_an_edit_changes_the_first_line_by_one_unit_between_order_and_payment() -> None:
    lives: dict[str, dict[Step, Statement]] = {}
    for said in _all():
        lives.setdefault(said.key, {})[said.step] = said
    pairs = [
        (life[Step.CREATED].draft.lines, life[Step.PAID].draft.lines)
        for life in lives.values()
        if {Step.CREATED, Step.PAID} <= life.keys()
    ]
    edited = [(before, after) for before, after in pairs if before != after]

    assert 0.1 < len(edited) / len(pairs) < 0.3
    for before, after in edited:
        assert abs(before[0].quantity - after[0].quantity) == 1
        assert before[1:] == after[1:]


def test_chinese_platforms_have_ids_that_floating_point_would_break() -> None:
    ids = {s.draft.id for s in _all() if s.draft.platform != "shopify"}

    assert min(ids) > SAFE_INTEGER_MAX
    payload = render(next(s.draft for s in _all() if s.draft.platform == "taobao"), Step.PAID)
    assert json.loads(payload)["trade_fullinfo_get_response"]["trade"]["tid"] in ids


def test_the_platforms_clock_rises_along_every_life() -> None:
    assert MODIFIED_AFTER_S[Step.CREATED] < MODIFIED_AFTER_S[Step.CANCELLED]
    assert (
        MODIFIED_AFTER_S[Step.CREATED]
        < MODIFIED_AFTER_S[Step.PAID]
        < MODIFIED_AFTER_S[Step.REFUNDED]
        < MODIFIED_AFTER_S[Step.PARCEL]
        < MODIFIED_AFTER_S[Step.SHIPPED]
    )


def test_shares_are_about_what_was_asked_for() -> None:
    counts: Counter[str] = Counter()
    lives: dict[str, set[Step]] = {}
    for said in _all():
        lives.setdefault(said.key, set()).add(said.step)
        counts["duplicates"] += said.duplicate
        counts["early"] += said.early
        counts["late"] += said.late and said.step is Step.PAID and not said.duplicate
    closed = sum(bool(steps & {Step.CANCELLED, Step.REFUNDED}) for steps in lives.values())
    abandoned = sum(steps == {Step.CREATED} for steps in lives.values())

    assert len(lives) == LIVELY.orders
    assert 20 < counts["duplicates"] < 65
    assert 10 < counts["early"] < 60
    assert 20 < counts["late"] < 65
    assert 50 < closed < 115
    assert 20 < abandoned < 65


def test_what_is_said_again_is_said_two_to_five_times_in_all() -> None:
    often = _all(replace(LIVELY, duplicates=1.0, repeats=4))

    again = Counter((s.key, s.step) for s in often if s.duplicate)
    assert len(again) == LIVELY.orders
    assert set(again.values()) == {1, 2, 3, 4}


def test_a_late_payment_comes_after_its_hold_ran_out() -> None:
    placed = {s.key: s.due_s for s in _all() if s.step is Step.CREATED and not s.duplicate}
    late = [s for s in _all() if s.late]

    assert late
    for said in late:
        assert said.due_s >= placed[said.key] + LIVELY.hold_for_s + LATE_BY_S


def test_unpaid_leaves_every_order_with_its_first_statement() -> None:
    assert {s.step for s in _all(Trade(orders=50, unpaid=True))} == {Step.CREATED}


def test_one_sku_in_so_many_is_scarce() -> None:
    trade = Trade(orders=20_000, skus=500, scarce=50)
    stock = trade.stock()
    plenty = max(stock.values())

    assert sum(units < plenty for units in stock.values()) == 10
    wanted = trade.orders * 3 * 2 / trade.skus
    assert min(stock.values()) < wanted < plenty


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"platforms": ("jd",)}, "jd"),
        ({"platforms": ()}, "platform"),
        ({"skus": 2}, "SKUs"),
        ({"cancel": 0.6, "abandoned": 0.6}, "100%"),
        ({"duplicates": -0.1}, "share"),
        ({"rate": -1}, "negative"),
        ({"repeats": 0}, "repeat"),
    ],
)
def test_what_cannot_be_generated_is_refused_with_the_option_to_change(
    options: dict[str, Any], names: str
) -> None:
    with pytest.raises(ImpossibleTrade, match=names):
        Trade(**{"orders": 10, **options})
