"""When a channel is told of our stock, and when it is not (cases.md T44)."""

import pytest
from msgspec import json

from agents.availability import Balance, Newest, Quota, QuotaOf
from agents.channel_stock import Channel, Channels, Known, Push, Told, due
from agents.intake import Destinations, Intake
from agents.reference import Directory, reference_key
from schemas.reference import Reference, Shop, SkuMapping
from streams.adapters import ADAPTERS
from streams.reference import UnreadableReference, read_file
from tests.flows.test_intake_flow import Raw

DOUYIN = Channel("douyin:shop1", "http://127.0.0.1:1/stock", buffer=2)
LIVE = QuotaOf("LAMP", "live")


def balance(version: int, available: int, shortfall: int = 0) -> Balance:
    return Balance(sku="LAMP", version=version, at_ms=9, available=available, shortfall=shortfall)


def filled(*entries: Reference) -> Channels:
    channels = Channels()
    for entry in entries:
        channels.put(reference_key(entry), json.encode(entry))
    return channels


def test_a_channel_is_told_its_number_with_our_version():
    told = due(DOUYIN, balance(4, 10), 0, ("L-1",), None)

    assert told == Push("LAMP", ("L-1",), 8, 4, 9)


def test_a_shop_that_is_told_another_way_was_told_nothing_yet():
    by_api = DOUYIN._replace(url="")

    assert DOUYIN.remembered_as == "douyin:shop1"
    assert by_api.remembered_as != DOUYIN.remembered_as


def test_a_shop_without_an_address_is_told_where_a_sender_can_and_is_looked_at_anew_then():
    channels = filled(Shop(platform="douyin", shop="shop1"), Shop(platform="douyin", shop="*"))
    channels.changed.clear()
    assert channels.channel("douyin:shop1") is None

    channels.by_api(frozenset({"douyin:shop1", "pdd:unknown"}))

    assert channels.channel("douyin:shop1") == Channel("douyin:shop1", "", 0)
    assert [channel.name for channel in channels.all()] == ["douyin:shop1"]
    assert "douyin:shop1" in channels.changed
    channels.by_api(frozenset())
    assert channels.channel("douyin:shop1") is None


def test_what_is_left_of_its_quota_counts_but_not_while_more_is_held_than_is_there():
    told = due(DOUYIN, balance(1, 1), 5, ("L-1",), None)
    short = due(DOUYIN, balance(2, 0, shortfall=3), 5, ("L-1",), Told(1, 4))

    assert told is not None
    assert told.quantity == 4
    assert short is not None
    assert short.quantity == 0


def test_units_that_go_from_its_quota_to_the_pool_are_no_news_to_a_channel():
    assert due(DOUYIN, balance(5, 6), 0, ("L-1",), Told(4, 4)) is None


def test_a_window_is_a_cause_when_it_opens_and_when_it_ends_once():
    known = Known()
    known.take(Newest({"LAMP": balance(3, 1)}, {LIVE: Quota(3, 100, 200, 7)}))
    lamp = known.balance("LAMP")
    assert lamp is not None

    seen = [(at, known.turned(at), known.left(LIVE, lamp, at)) for at in (99, 100, 150, 200, 300)]

    assert seen == [
        (99, set(), 0), (100, {LIVE}, 7), (150, set(), 7), (200, {LIVE}, 0), (300, set(), 0),
    ]  # fmt: skip


def test_a_quota_that_is_allotted_anew_has_its_new_window():
    known = Known()
    known.take(Newest({"LAMP": balance(3, 1)}, {LIVE: Quota(3, 100, 200, 7)}))
    known.take(Newest({"LAMP": balance(5, 1)}, {LIVE: Quota(5, 300, 400, 2)}))
    lamp = known.balance("LAMP")
    assert lamp is not None

    for at in (100, 200):
        known.turned(at)

    assert known.turned(300) == {LIVE}
    assert known.left(LIVE, lamp, 300) == 2


def test_an_older_quota_does_not_count_and_a_balance_older_than_its_quota_is_waited_for():
    known = Known()
    known.take(Newest({"LAMP": balance(5, 1)}, {LIVE: Quota(5, 100, 200, 2)}))
    known.take(Newest({"LAMP": balance(4, 9)}, {LIVE: Quota(4, 100, 200, 7)}))

    assert known.balance("LAMP") == balance(5, 1)
    assert known.left(LIVE, balance(5, 1), 150) == 2
    assert known.left(LIVE, balance(4, 9), 150) is None


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (None, True),  # nothing remembered: once more than needed, never once less
        (Told(3, 7), True),
        (Told(3, 8), False),  # paid, packed, frozen: it moved, and the number is the same
        (Told(4, 7), True),  # the same balance and another buffer
        (Told(5, 7), False),  # a repeat of what was read before
    ],
)
def test_a_push_is_due_only_when_the_number_is_another_one(told: Told | None, wanted: bool):
    assert (due(DOUYIN, balance(4, 10), 0, ("L-1",), told) is not None) == wanted


def test_what_is_below_the_buffer_is_told_as_nothing_once():
    first = due(DOUYIN, balance(4, 1), 0, ("L-1",), Told(3, 8))
    again = due(DOUYIN, balance(5, 0), 0, ("L-1",), Told(4, 0))

    assert first is not None
    assert first.quantity == 0
    assert again is None


def test_a_shop_without_an_address_and_the_one_for_any_shop_are_not_told():
    channels = filled(
        Shop(platform="douyin", shop="shop1", stock_url="http://127.0.0.1:1/", safety_buffer=2),
        Shop(platform="douyin", shop="quiet"),
        Shop(platform="jd", shop="*", stock_url="http://127.0.0.1:1/"),
    )

    assert [each.name for each in channels.all()] == ["douyin:shop1"]
    assert channels.channel("douyin:quiet") is None


def test_a_channel_is_told_in_its_own_words_and_only_of_what_it_sells():
    identity = Shop(platform="douyin", shop="a", stock_url="http://x/")
    listed = Shop(platform="jd", shop="b", stock_url="http://x/", sku_mapping="listed")
    rug = SkuMapping(platform="jd", shop="b", theirs="777", ours="RUG")
    twice = SkuMapping(platform="jd", shop="b", theirs="778", ours="RUG")
    channels = filled(identity, listed, rug, twice)

    assert channels.theirs("douyin:a", "LAMP") == ("LAMP",)
    assert channels.theirs("jd:b", "LAMP") == ()
    assert channels.theirs("jd:b", "RUG") == ("777", "778")

    channels.put(reference_key(rug), None)
    assert channels.theirs("jd:b", "RUG") == ("778",)
    moved = SkuMapping(platform="jd", shop="b", theirs="778", ours="LAMP")
    channels.put(reference_key(moved), json.encode(moved))
    assert channels.theirs("jd:b", "RUG") == ()
    assert channels.theirs("jd:b", "LAMP") == ("778",)


@pytest.mark.parametrize("platform", sorted(ADAPTERS))
def test_t44_no_platforms_word_about_stock_becomes_a_command_to_our_stock(platform: str):
    directory = Directory()
    shop = Shop(platform=platform, shop="lamps")
    directory.put(reference_key(shop), json.encode(shop))
    to = Destinations("order-commands", "stock-commands", "parked")
    intake = Intake(ADAPTERS, directory, to, 10**9)
    echoes = (
        b'{"inventory_item_id":271878346596884015,"location_id":24826418,"available":8}',
        b'{"sku":"LAMP","quantity":8,"version":4}',
        b'{"channel":"x","stock":[{"sku":"LAMP","theirs":["LAMP"],"quantity":8,"version":4}]}',
    )

    for echo in echoes:
        said = intake.observe(platform, f"raw-orders-{platform}", 0, Raw(echo))

        assert {output.topic for output in said} <= {"parked"}


def test_reference_data_refuses_an_address_that_is_none(tmp_path):
    file = tmp_path / "reference.toml"
    file.write_text('[[shops]]\nplatform = "douyin"\nshop = "a"\nstock_url = "ftp://x"\n')

    with pytest.raises(UnreadableReference, match="stock_url"):
        read_file(file)


def test_reference_data_refuses_a_negative_buffer_and_keeps_a_good_one(tmp_path):
    file = tmp_path / "reference.toml"
    shop = '[[shops]]\nplatform = "douyin"\nshop = "a"\nsafety_buffer = '
    file.write_text(shop + "3\n")
    (entry,) = read_file(file)
    assert isinstance(entry, Shop)
    assert entry.safety_buffer == 3

    file.write_text(shop + "-1\n")
    with pytest.raises(UnreadableReference):
        read_file(file)
