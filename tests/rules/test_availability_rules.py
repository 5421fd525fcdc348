"""What is left to sell: the newest balance wins, and a channel is told what it may offer."""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, json

from agents.availability import NO_QUOTA, Balance, Quota, QuotaOf, newer, newest, sellable
from agents.reference import Directory, reference_key
from schemas.errors import Refusal
from schemas.reference import Shop
from schemas.stock import (
    Bucket,
    HoldStock,
    QuotaChanged,
    ReceiveStock,
    ReleaseIgnored,
    StockCommandAnswered,
    StockEvent,
    StockMoved,
    Verb,
)
from streams.availability.api import SKUS_MAX, BadQuestion, Question, answer, question, shop_of
from streams.availability.asking import Found
from streams.availability.cache import Seen, seen, under
from streams.availability.writing import written_to
from streams.web.serving import listen
from tables import stock
from tests.builders import MINUTE, T0
from tests.rules.test_stock_rules import (
    ORDERS,
    QUOTA,
    RUG,
    Shelf,
    allot,
    by_hand,
    count,
    end_of_window,
    give_back,
    hold,
    release,
)

AT = 1_790_000_000_000


@dataclass
class Event:
    value: bytes | None


def moved(
    sku: str, version: int, available: int, *, verb: Verb = Verb.HOLD, shortfall: int = 0
) -> StockMoved:
    return StockMoved(
        sku=sku,
        at_ms=AT + version,
        cause="raw-orders-taobao/0/1",
        version=version,
        verb=verb,
        quantity=1,
        source=Bucket.AVAILABLE,
        target=Bucket.LOCKED,
        available=available,
        locked=1,
        occupied=0,
        reserved=0,
        frozen=0,
        shortfall=shortfall,
    )


def quoted(
    sku: str,
    version: int,
    left: int,
    *,
    quota: str = "11-11",
    starts_ms: int = AT,
    ends_ms: int = AT + 1_000,
    ended: bool = False,
) -> QuotaChanged:
    return QuotaChanged(
        sku=sku,
        at_ms=AT + version,
        cause="raw-orders-taobao/0/1",
        version=version,
        quota=quota,
        starts_ms=starts_ms,
        ends_ms=ends_ms,
        allotted=10,
        left=left,
        ended=ended,
    )


def frame(*events: object) -> list[Event]:
    return [Event(json.encode(event)) for event in events]


def test_a_frame_comes_to_the_newest_balance_of_each_sku():
    found = newest(frame(moved("LAMP", 1, 9), moved("RUG", 4, 0), moved("LAMP", 2, 8)))

    assert found.balances == {
        "LAMP": Balance(sku="LAMP", version=2, at_ms=AT + 2, available=8),
        "RUG": Balance(sku="RUG", version=4, at_ms=AT + 4, available=0),
    }
    assert found.unread == 0


def test_a_repeated_older_event_does_not_count():
    found = newest(frame(moved("LAMP", 3, 7), moved("LAMP", 1, 9)))

    assert found.balances["LAMP"].available == 7


def test_events_that_state_no_balance_are_passed_over():
    answered = StockCommandAnswered(sku="LAMP", at_ms=AT, cause="x", command="c", available=99)
    ignored = ReleaseIgnored(
        sku="LAMP", at_ms=AT, cause="x", order="a:b:c", verb=Verb.RELEASE, refusal=Refusal.NOT_HELD
    )

    found = newest([*frame(answered, ignored, {"keeper": "stock", "partition": 1, "epoch": 2})])

    assert (found.balances, found.unread) == ({}, 0)


@pytest.mark.parametrize(
    "value",
    [
        b"not json",
        None,
        b'{"event":"stock.moved","sku":"LAMP","version":0,"available":1}',
        b'{"event":"stock.moved","sku":"LAMP","version":1,"available":-1}',
        b'{"event":"stock.moved","sku":"","version":1,"available":1}',
        b'{"event":"stock.quota","sku":"LAMP","version":1,"starts_ms":1,"ends_ms":2,"left":1}',
        b'{"event":"stock.quota","sku":"LAMP","version":1,"quota":"Q","left":1}',
        b'{"event":"stock.quota","sku":"LAMP","version":1,"quota":"Q","ends_ms":2,"left":-1}',
    ],
)
def test_an_event_that_cannot_be_read_is_counted_and_the_others_are_taken(value: bytes | None):
    found = newest([Event(value), *frame(moved("LAMP", 1, 9))])

    assert found.unread == 1
    assert found.balances["LAMP"].available == 9


def test_a_frame_comes_to_the_newest_of_each_quota_of_each_sku():
    found = newest(
        frame(
            moved("LAMP", 1, 9),
            quoted("LAMP", 3, 4),
            quoted("LAMP", 2, 5),
            quoted("LAMP", 2, 7, quota="live"),
            quoted("RUG", 9, 1, starts_ms=AT + 5),
        )
    )

    assert found.quotas == {
        QuotaOf("LAMP", "11-11"): Quota(3, AT, AT + 1_000, 4),
        QuotaOf("LAMP", "live"): Quota(2, AT, AT + 1_000, 7),
        QuotaOf("RUG", "11-11"): Quota(9, AT + 5, AT + 1_000, 1),
    }
    assert set(found.balances) == {"LAMP"}


def test_the_moment_between_a_draw_and_its_hold_is_no_balance_even_where_a_frame_ends_there():
    before, draw = moved("LAMP", 4, 10), moved("LAMP", 5, 13, verb=Verb.DRAW)
    hold, told = moved("LAMP", 6, 8), quoted("LAMP", 6, 2)

    first, second = newest(frame(before, draw)), newest(frame(hold, told))

    assert first.balances["LAMP"].available == 10
    assert newer(first.balances, second.balances)["LAMP"].available == 8


@given(
    st.lists(
        st.one_of(
            st.builds(allot, st.integers(1, 4)),
            st.builds(give_back, st.integers(1, 4)),
            st.builds(end_of_window),
            st.just(MINUTE // 3),  # goes by
            st.builds(count, st.integers(0, 12)),
            st.builds(
                hold, st.sampled_from(ORDERS), st.integers(1, 4), quota=st.sampled_from(["", QUOTA])
            ),
            st.builds(release, st.sampled_from(ORDERS)),
        ),
        max_size=25,
    )
)
def test_whatever_is_commanded_the_events_come_to_what_the_stock_keeper_has(
    commands: list[Any],
):
    """After every command, whether its events come in one frame or each in its own."""
    shelf, at_ms = Shelf(), T0
    shelf.do(by_hand(ReceiveStock, 10))
    balances: dict[str, Balance] = {}
    quotas: dict[QuotaOf, Quota] = {}
    for command in commands:
        if isinstance(command, int):
            at_ms += command
            continue
        if isinstance(command, HoldStock) and shelf.rows.get(stock.hold_key(RUG, command.order)):
            continue  # the order keeper never asks twice
        shelf.do(command, at_ms)
        whole = newest(frame(*_public(shelf.said)))
        for event in _public(shelf.said):
            one = newest(frame(event))
            balances, quotas = newer(balances, one.balances), newer(quotas, one.quotas)
        assert (balances, quotas) == (whole.balances, whole.quotas)
        kept: stock.Quota | None = shelf.rows.get(stock.quota_key(RUG, QUOTA))  # type: ignore[assignment]
        balance = balances[RUG]
        assert (balance.available, balance.shortfall, balance.version) == (
            shelf.balance.available, shelf.balance.shortfall, shelf.balance.version,
        )  # fmt: skip
        told = quotas.get(QuotaOf(RUG, QUOTA), NO_QUOTA)
        assert told.left == (kept.left if kept else 0)
        assert told.version <= balance.version
        _may_be_held(shelf, balance, told, at_ms)


def _public(said: list[Struct]) -> list[StockEvent]:
    return [each for each in said if isinstance(each, StockEvent)]


def _may_be_held(shelf: Shelf, balance: Balance, quota: Quota, at_ms: int) -> None:
    """T10: what is offered is what the final check gives, and not one unit more."""
    offered = sellable(balance.available, balance.shortfall, quota.left_at(at_ms), buffer=0)
    for quantity, refusal in ((offered, None), (offered + 1, Refusal.NOT_ENOUGH)):
        if quantity:
            _, said = stock.decide(shelf, hold("taobao:lamps:9", quantity, quota=QUOTA), at_ms)
            assert said[-1].refusal is refusal  # type: ignore[attr-defined]


def test_a_quota_that_ended_at_the_version_that_emptied_it_stays_empty():
    found = newest(frame(quoted("LAMP", 6, 0), quoted("LAMP", 6, 0, ended=True)))

    assert found.quotas == {QuotaOf("LAMP", "11-11"): Quota(6, AT, AT + 1_000, 0)}


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 9)), max_size=30),
    st.integers(0, 30),
)
def test_neither_order_nor_repeats_nor_the_cut_of_frames_change_what_it_comes_to(
    said: list[tuple[str, int]], cut: int
):
    events = [moved(sku, version, 100 - version) for sku, version in said]
    events += [quoted(sku, version, 50 - version) for sku, version in said]

    one, other = newest(frame(*events[cut:])), newest(frame(*events[:cut]))
    found, quotas = newer(one.balances, other.balances), newer(one.quotas, other.quotas)

    highest: dict[str, int] = {}
    for sku, version in said:
        highest[sku] = max(version, highest.get(sku, 0))
    assert {sku: one.version for sku, one in found.items()} == highest
    assert all(one.available == 100 - one.version for one in found.values())
    assert {sku: one.version for (sku, _), one in quotas.items()} == highest
    assert all(one.left == 50 - one.version for one in quotas.values())


@pytest.mark.parametrize(
    ("available", "shortfall", "quota", "buffer", "offered"),
    [
        (10, 0, 0, 0, 10),
        (10, 0, 5, 0, 15),  # the shared pool and what is set aside for the channel alone
        (10, 0, 5, 3, 12),  # less what it may have sold and not yet said
        (0, 0, 5, 3, 2),
        (2, 0, 0, 3, 0),  # never below nothing
        (0, 0, 0, 0, 0),
        (0, 1, 5, 0, 0),  # while more is held than is there, nobody may have the quota either
    ],
)
def test_a_channel_may_offer_the_pool_and_its_quota_less_its_buffer(
    available: int, shortfall: int, quota: int, buffer: int, offered: int
):
    assert sellable(available, shortfall, quota, buffer) == offered


@pytest.mark.parametrize(
    ("at_ms", "left"),
    [(99, 0), (100, 7), (199, 7), (200, 0)],  # from its start to before its end
)
def test_a_quota_counts_only_while_its_window_is_open(at_ms: int, left: int):
    assert Quota(3, 100, 200, 7).left_at(at_ms) == left
    assert NO_QUOTA.left_at(at_ms) == 0


def test_a_writer_that_is_always_a_little_behind_says_how_far_and_one_that_stands_says_nothing():
    seen_end = (0, 0.0)
    said = []
    # Position and end of the log, second after second: ahead by 10; then the writer stands still.
    for now, (position, end) in enumerate(
        [(0, 0), (5, 15), (16, 26), (27, 37), (27, 47), (27, 57), (60, 60)], start=1
    ):
        heard, seen_end = written_to(position, end, float(now), seen_end)
        said.append(heard)

    assert said == [1.0, 1.0, 2.0, 3.0, None, None, 7.0]


# --- questions and answers ------------------------------------------------------------------------


def test_a_question_names_skus_and_perhaps_a_channel():
    assert question(b"sku=A&sku=%E7%81%AF&sku=A&channel=douyin:shop1") == Question(
        ["A", "灯"], "douyin:shop1"
    )
    assert question(b"sku=A") == Question(["A"], "")


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"sku=",
        b"channel=douyin:shop1",
        b"skus=A",
        b"sku",
        b"sku=A&channel=x:y&channel=z:y",
        b"sku=A&channel=",
        b"sku=%FF",
        b"sku=%00",
        b"sku=" + b"A" * 201,
        b"&".join(b"sku=A%d" % n for n in range(SKUS_MAX + 1)),
        b"&".join(b"sku=A%d" % n for n in range(SKUS_MAX + 2)),
    ],
)
def test_a_question_that_is_wrong_is_refused_in_a_sentence(query: bytes):
    with pytest.raises(BadQuestion) as refused:
        question(query)

    assert str(refused.value).endswith(".")


def test_as_many_skus_as_allowed_may_be_asked_for():
    query = b"&".join(b"sku=A%d" % n for n in range(SKUS_MAX)) + b"&channel=a:b"

    assert len(question(query).skus) == SKUS_MAX


def test_an_answer_says_what_is_known_by_whom_and_what_the_channel_may_offer():
    balances = {
        "LAMP": seen(Balance(sku="LAMP", version=3, at_ms=AT, available=5)),
        "RUG": Seen(2, 4, "2026-01-01T00:00:00.000Z"),
        "NONE": Seen(0),
    }
    quotas = {
        under("LAMP", "11-11"): NO_QUOTA,
        under("RUG", "11-11"): Quota(1, AT, AT + 1, 3),
        under("NONE", "11-11"): NO_QUOTA,
        under("RUG", "another"): Quota(2, AT, AT + 1, 99),
    }
    found = Found(balances | quotas, frozenset({"LAMP", "NONE"}), 120)
    shop = Shop(platform="douyin", shop="shop1", safety_buffer=2, quota="11-11")

    said = answer(Question(["LAMP", "RUG", "NONE"], "douyin:shop1"), found, shop, AT)

    assert json.decode(json.encode(said)) == {
        "channel": "douyin:shop1",
        "age_ms": 120,
        "items": [
            {
                "sku": "LAMP", "known": True, "source": "ledger", "available": 5, "sellable": 3,
                "quota": 0, "version": 3, "as_of": "2026-09-21T14:13:20.000Z",
            },
            {
                "sku": "RUG", "known": True, "source": "cache", "available": 4, "sellable": 5,
                "quota": 3, "version": 2, "as_of": "2026-01-01T00:00:00.000Z",
            },
            {"sku": "NONE", "known": False, "source": "ledger"},
        ],
    }  # fmt: skip


def test_without_a_channel_nothing_is_said_of_what_one_may_offer():
    found = Found({"LAMP": Seen(1, 5, "2026-01-01T00:00:00.000Z")}, frozenset(), None)

    (item,) = answer(Question(["LAMP"], ""), found, None, AT).items

    assert (item.available, item.sellable, item.quota) == (5, None, None)


def test_a_shop_is_itself_or_any_shop_of_its_platform():
    directory = Directory()
    for shop, buffer in (("shop1", 2), ("*", 7)):
        entry = Shop(platform="douyin", shop=shop, safety_buffer=buffer)
        directory.put(reference_key(entry), json.encode(entry))

    assert shop_of(directory, "douyin:shop1").safety_buffer == 2
    assert shop_of(directory, "douyin:other").safety_buffer == 7
    for unknown in ("taobao:shop1", "douyin", "douyin:", ""):
        with pytest.raises(BadQuestion, match="no shop"):
            shop_of(directory, unknown)


async def test_an_answer_is_sent_at_once_and_does_not_wait_for_a_late_acknowledgement():
    set_on: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made = writer.get_extra_info("socket")
        set_on.set_result(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listen("127.0.0.1", 0, "nothing") as listening:
        async with await asyncio.start_server(connected, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            assert await set_on
            writer.close()
            await writer.wait_closed()
