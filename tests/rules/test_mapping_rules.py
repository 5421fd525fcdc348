"""Mappings by themselves: which one an order gets, what a new one does to the old, and files."""

from pathlib import Path
from random import Random

import pytest
from msgspec import json

from agents.reference import Directory, reference_key
from schemas.reference import Shop, SkuMapping, Spell
from streams.mapping.files import BadMappings, instant, read
from streams.mapping.painting import Added, Held, Moved, painted, when
from streams.mapping.table import Wish, doubt
from tests.builders import a_line

SHOP = Shop(platform="taobao", shop="lamps", sku_mapping="listed")


def directory(*spells: Spell, ours: str = "RUG") -> Directory:
    made = Directory()
    mapping = SkuMapping(platform="taobao", shop="lamps", theirs="T-1", ours=ours, spells=spells)
    for entry in (SHOP, mapping):
        made.put(reference_key(entry), json.encode(entry))
    return made


def ours(known: Directory, ordered_ms: int, now_ms: int = 10_000) -> str | None:
    return known.sku(SHOP, "lamps", a_line("T-1"), ordered_ms, now_ms)


# --- which mapping an order gets ------------------------------------------------------------------


def test_an_order_gets_the_mapping_of_the_time_when_it_was_placed():
    known = directory(
        Spell(ours="OLD-RUG", until_ms=500), Spell(ours="NEW-RUG", from_ms=500, until_ms=800)
    )

    assert ours(known, 499) == "OLD-RUG"
    assert ours(known, 500) == "NEW-RUG"
    assert ours(known, 800) is None


def test_an_order_from_before_any_mapping_gets_the_first_that_came():
    known = directory(Spell(ours="RUG", from_ms=500), ours="RUG")

    assert ours(known, 100) == "RUG"


def test_a_mapping_that_begins_later_is_waited_for():
    known = directory(Spell(ours="RUG", from_ms=20_000))

    assert ours(known, 100, now_ms=19_999) is None
    assert ours(known, 100, now_ms=20_000) == "RUG"


def test_nothing_is_ever_joined_on_an_empty_merchant_sku():
    known = Directory()
    empty = SkuMapping(platform="taobao", shop="lamps", theirs="", ours="RUG")
    for entry in (SHOP, empty):
        known.put(reference_key(entry), json.encode(entry))

    line = a_line(None)
    assert line.merchant_sku is None
    assert known.sku(SHOP, "lamps", line, 0, 0) is None
    assert doubt(Wish("taobao", "lamps", "", "RUG", why="x")).startswith("theirs is empty")


# --- what a new mapping does to those that are there ----------------------------------------------


def test_a_change_ends_the_old_mapping_where_the_new_one_begins():
    assert painted([Held(1, "A", None, None)], "B", 100, None) == [
        Moved(1, None, 100),
        Added("B", 100, None),
    ]


def test_a_change_for_a_time_leaves_the_old_mapping_before_and_after_it():
    assert painted([Held(1, "A", None, None)], "B", 100, 200) == [
        Moved(1, None, 100),
        Added("A", 200, None),
        Added("B", 100, 200),
    ]


def test_the_same_mapping_again_changes_nothing():
    assert painted([Held(1, "A", None, None)], "A", 100, None) == []


def test_a_mapping_that_ends_where_the_new_one_begins_is_not_touched():
    assert painted([Held(1, "A", None, 100), Held(2, "C", 200, None)], "B", 100, 200) == [
        Added("B", 100, 200)
    ]


def test_without_a_time_the_first_always_held_and_a_change_holds_from_now_on():
    assert when([], None, None, 50) == (None, None)
    assert when([Held(1, "A", None, None)], None, None, 50) == (50, None)
    assert when([Held(1, "A", 100, None)], None, None, 50) == (50, 100), "what is planned stays"


@pytest.mark.parametrize("seed", range(200))
def test_whatever_is_painted_at_every_instant_the_last_word_holds_alone(seed: int):
    random = Random(seed)
    held: list[Held] = []
    expected: dict[int, str | None] = dict.fromkeys(range(-1, 12))
    ids = iter(range(1, 1_000))
    for word in ("A", "B", None, "A", "C", None, "B"):
        first, last = sorted(random.sample(range(11), 2))
        from_ms = None if random.random() < 0.2 else first
        until_ms = None if random.random() < 0.2 else last
        kept = {each.id: each for each in held}
        for change in painted(held, word, from_ms, until_ms):
            if isinstance(change, Added):
                id_ = next(ids)
                kept[id_] = Held(id_, change.ours, change.from_ms, change.until_ms)
            elif change.withdrawn:
                del kept[change.id]
            else:
                kept[change.id] = kept[change.id]._replace(
                    from_ms=change.from_ms, until_ms=change.until_ms
                )
        held = list(kept.values())
        for at in expected:
            if (from_ms is None or at >= from_ms) and (until_ms is None or at < until_ms):
                expected[at] = word

        for at, should in expected.items():
            holding = [
                each.ours
                for each in held
                if (each.from_ms is None or each.from_ms <= at)
                and (each.until_ms is None or at < each.until_ms)
            ]
            assert holding == ([should] if should else []), (seed, at)


# --- files ----------------------------------------------------------------------------------------


def test_a_file_from_a_chinese_spreadsheet_is_read_and_each_row_judged(tmp_path: Path):
    file = tmp_path / "m.csv"
    file.write_bytes(
        "platform,shop,theirs,ours,from,why\r\n"
        "douyin,shanjiao,款式一,RUG,2026-11-11T00:00:00+08:00,上新\r\n"
        "douyin,shanjiao,2,LAMP,2026-11-11,\r\n"
        "douyin,shanjiao,3,,,\r\n".encode("gb18030")
    )

    (_, first), (line, second), (_, third) = read(file, "autumn")

    assert isinstance(first, Wish)
    assert (first.theirs, first.from_ms, first.why) == ("款式一", 1_794_326_400_000, "上新")
    assert line == 3
    assert isinstance(second, str)
    assert "names no zone" in second
    assert isinstance(third, Wish)
    assert (third.ours, third.why) == (None, "autumn")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("platform,shop,theirs\n", "missing: ours"),
        ("platform,shop,theirs,ours,colour\n", "'colour'"),
        ("platform,shop,theirs,ours\n", "0 rows"),
    ],
)
def test_a_file_that_is_none_says_why(tmp_path: Path, text: str, said: str):
    file = tmp_path / "m.csv"
    file.write_text(text)

    with pytest.raises(BadMappings, match=said):
        read(file, "x")


def test_a_time_without_its_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        instant("2026-11-11T00:00:00")


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("myspace", "s", "t", "o", why="x"), "platform"),
        (Wish("taobao", "", "t", "o", why="x"), "shop is empty"),
        (Wish("taobao", "s", " t", "o", why="x"), "blanks"),
        (Wish("taobao", "s", "t\u200b", "o", why="x"), "nobody sees"),
        (Wish("taobao", "s", "t", "ВАSKET", why="x"), "two alphabets"),
        (Wish("taobao", "s", "t", "", why="x"), "ours is empty"),
        (Wish("taobao", "s", "t", "o", why=" "), "why is empty"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(wish: Wish, said: str):
    assert said in doubt(wish)
