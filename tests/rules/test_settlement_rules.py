"""Whether a file and an order say the same: each verdict, and the edges of time between them."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.settlements import (
    DIFFERENCES,
    VERDICTS,
    Ours,
    Terms,
    Theirs,
    Verdict,
    facts,
    judge,
    paid_of,
    refunded_of,
)
from schemas.orders import Refund, Status

DAY = 86_400_000
#: Files reach to day 40; money comes within 10 days.
KEPT = Terms(10 * DAY, nets_refunds=False, covered_until_ms=40 * DAY)
HELD = KEPT._replace(nets_refunds=True)
OLD = Ours("CNY", 10_000, 0, DAY, DAY)


def in_file(paid: int, refunded: int = 0, currency: str = "CNY") -> Theirs:
    return Theirs((currency,), paid, refunded)


@pytest.mark.parametrize(
    ("ours", "theirs", "terms", "verdict"),
    [
        (OLD, in_file(10_000), KEPT, "agrees"),
        (None, in_file(10_000), KEPT, "only_in_file"),
        (None, in_file(0), KEPT, "only_in_file"),  # a fee of an order that nobody knows
        (OLD, None, KEPT, "only_with_us"),
        (OLD._replace(refunded=10_000), None, KEPT, "agrees"),  # nothing is left to come
        (OLD._replace(paid_ms=30 * DAY), None, KEPT, "only_with_us"),  # due by the last moment
        (OLD._replace(paid_ms=30 * DAY + 1), None, KEPT, "awaited"),
        (OLD, None, KEPT._replace(covered_until_ms=None), "awaited"),
        (OLD, in_file(10_000, currency="HKD"), KEPT, "currency_differs"),
        (OLD, Theirs(("CNY", "HKD"), 10_000, 0), KEPT, "currency_differs"),
        (OLD._replace(currency=None), in_file(10_000), KEPT, "currency_differs"),
        (OLD, in_file(9_999), KEPT, "paid_differs"),
        (OLD, in_file(10_001), KEPT, "paid_differs"),
        (OLD, in_file(0), KEPT, "paid_differs"),  # there is a fee, and no money
        (OLD, in_file(10_000, 1), KEPT, "refund_differs"),
        (OLD._replace(refunded=1), in_file(10_000), KEPT, "refund_differs"),
        (OLD._replace(refunded=1, changed_ms=31 * DAY), in_file(10_000), KEPT, "awaited"),
        # What is more in the file than with us is never awaited.
        (OLD._replace(changed_ms=31 * DAY), in_file(10_000, 1), KEPT, "refund_differs"),
        (OLD._replace(paid_ms=31 * DAY), in_file(10_001), KEPT, "paid_differs"),
        # Half of it is settled, and the rest may follow.
        (OLD._replace(paid_ms=31 * DAY), in_file(5_000), KEPT, "awaited"),
        # Paid back before the shop had it: both lack the same, where the platform holds the money.
        (OLD._replace(refunded=3_000), in_file(7_000), HELD, "agrees"),
        (OLD._replace(refunded=3_000), in_file(7_000), KEPT, "paid_differs"),
        (OLD._replace(refunded=3_000), in_file(6_000), HELD, "paid_differs"),
        (OLD._replace(refunded=3_000), in_file(13_000, 6_000), HELD, "paid_differs"),
        (OLD._replace(refunded=10_000), in_file(0), HELD, "agrees"),  # a fee is all that is left
    ],
)
def test_a_verdict_follows_from_both_sides_and_the_time(ours, theirs, terms, verdict):
    assert judge(ours, theirs, terms) == verdict


amounts = st.integers(0, 300)
sides = st.builds(
    Ours, st.sampled_from(["CNY", None]), amounts, amounts, st.integers(0, 50 * DAY),
    st.integers(0, 50 * DAY),
)  # fmt: skip
files = st.builds(Theirs, st.sampled_from([("CNY",), ("CNY", "USD")]), amounts, amounts)


@given(sides, files, st.booleans())
def test_what_agrees_leaves_the_shop_the_same_money_on_both_sides(ours, theirs, holds):
    verdict = judge(ours, theirs, KEPT._replace(nets_refunds=holds))

    if verdict is Verdict.AGREES:
        assert ours.paid - ours.refunded == theirs.paid - theirs.refunded
    elif (ours.paid, ours.refunded, ours.currency) == (theirs.paid, theirs.refunded, "CNY"):
        assert theirs.currencies != ("CNY",)


@given(sides, st.none() | files, st.integers(0, 100 * DAY))
def test_more_files_never_make_anything_awaited_that_was_judged(ours, theirs, later):
    now = judge(ours, theirs, KEPT)
    then = judge(ours, theirs, KEPT._replace(covered_until_ms=40 * DAY + later))

    assert now is Verdict.AWAITED or then is now


@given(sides, files, sides, files)
def test_two_pairs_that_are_compared_otherwise_have_other_facts(ours, theirs, ours_2, theirs_2):
    same = (ours[:3], theirs) == (ours_2[:3], theirs_2)

    assert (facts(ours, theirs) == facts(ours_2, theirs_2)) is same


@pytest.mark.parametrize(
    ("said", "total", "status", "has_time", "paid"),
    [
        (700, 900, None, False, 700),
        (0, 900, Status.PAID, True, 0),
        (None, 900, None, True, 900),
        (None, 900, Status.SHIPPED, False, 900),
        (None, 900, Status.CANCELLED, False, 0),
        (None, 900, Status.PENDING_PAYMENT, False, 0),
        (None, None, Status.PAID, True, 0),
    ],
)
def test_what_was_paid_is_what_was_said_else_the_total_of_what_was_paid_at_all(
    said, total, status, has_time, paid
):
    assert paid_of(said, total, status, has_paid_time=has_time) == paid


def test_what_was_paid_back_is_what_was_said_else_all_or_nothing():
    assert refunded_of(5, Refund.REFUNDED, 900) == 5
    assert refunded_of(None, Refund.REFUNDED, 900) == 900
    assert [refunded_of(None, word, 900) for word in (None, *Refund) if word != "REFUNDED"] == [
        0
    ] * len(Refund)


def test_every_verdict_is_explained_and_only_two_are_no_difference():
    assert set(VERDICTS) == set(Verdict)
    assert set(Verdict) - set(DIFFERENCES) == {Verdict.AGREES, Verdict.AWAITED}
    assert all(all(about) for about in VERDICTS.values())
    # Each is reached by some pair of sides.
    reached = {
        judge(ours, theirs, KEPT)
        for ours, theirs in product(
            (None, OLD, OLD._replace(paid_ms=39 * DAY)),
            (None, in_file(10_000), in_file(1), in_file(10_000, 1), in_file(1, currency="USD")),
        )
        if ours or theirs
    }
    assert reached == set(Verdict)
