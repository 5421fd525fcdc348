"""What labels and fields may be, and what an order may carry of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.annotating.definitions import (
    CHOICES_MAX,
    LABELS_OF_ORDER_MAX,
    NOTHING,
    SENTENCES,
    TEXT_LENGTH_MAX,
    Annotation,
    BadAnnotation,
    CustomField,
    Definitions,
    Kind,
    Label,
    Wrong,
    asked_word,
    changed,
    checked,
    field_word,
    in_words,
    label_word,
    may_edit,
    merged,
    read,
    wished,
    words_of,
)
from streams.operations.rights import Role

VIP, OLD = Label("vip", "贵宾", "VIP"), Label("old", "旧", "Old", is_retired=True)
GIFT = CustomField("gift", "赠品", "Gift", Kind.CHOICE, ("红", "蓝"))
NOTE = CustomField("note", "备注", "Note")
WEIGHT = CustomField("weight", "重量", "Weight", Kind.NUMBER, least="0", roles=("warehouse",))
BY = CustomField("by", "最晚", "By", Kind.DATE, least="2026-01-01", most="2026-12-31")
GONE = CustomField("gone", "停用", "Gone", is_retired=True)
KNOWN = Definitions(
    {each.code: each for each in (VIP, OLD)},
    {each.code: each for each in (GIFT, NOTE, WEIGHT, BY, GONE)},
)


def wrong(work: Any, *args: Any) -> Wrong:
    with pytest.raises(BadAnnotation) as told:
        work(*args)
    return told.value.wrong


def test_every_refusal_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Wrong)
    for each in Wrong:
        assert str(BadAnnotation(each, "{x}" * 100)).strip()


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        (Label("VIP", "贵宾", "VIP"), Wrong.CODE),
        (Label("-a", "贵宾", "VIP"), Wrong.CODE),
        (Label("a" * 41, "贵宾", "VIP"), Wrong.CODE),
        (Label("a\n", "贵宾", "VIP"), Wrong.CODE),
        (Label("a", " ", ""), Wrong.NAME),
        (Label("a", "x" * 41, ""), Wrong.NAME),
        (Label("a", "x", "\u200b"), Wrong.NAME),
        (Label("a", "x", "x", "#ff0000"), Wrong.COLOUR),
        (CustomField("a", "x", "x", "float"), Wrong.KIND),
        (CustomField("a", "x", "x", Kind.CHOICE), Wrong.CHOICES),
        (CustomField("a", "x", "x", Kind.CHOICE, ("y", " y ")), Wrong.CHOICES),
        (CustomField("a", "x", "x", Kind.CHOICE, ("y" * 61,)), Wrong.CHOICES),
        (
            CustomField("a", "x", "x", Kind.CHOICE, tuple(map(str, range(CHOICES_MAX + 1)))),
            Wrong.CHOICES,
        ),
        (CustomField("a", "x", "x", Kind.TEXT, ("y",)), Wrong.CHOICES),
        (CustomField("a", "x", "x", Kind.TEXT, most="0"), Wrong.LIMITS),
        (CustomField("a", "x", "x", Kind.TEXT, most=str(TEXT_LENGTH_MAX + 1)), Wrong.LIMITS),
        (CustomField("a", "x", "x", Kind.TEXT, least="1"), Wrong.LIMITS),
        (CustomField("a", "x", "x", Kind.NUMBER, least="2", most="1"), Wrong.LIMITS),
        (CustomField("a", "x", "x", Kind.NUMBER, most="1e5"), Wrong.LIMITS),
        (CustomField("a", "x", "x", Kind.DATE, least="tomorrow"), Wrong.LIMITS),
        (CustomField("a", "x", "x", Kind.CHOICE, ("y",), most="1"), Wrong.LIMITS),
        # who may note nothing edits no field
        (CustomField("a", "x", "x", roles=("viewer",)), Wrong.ROLES),
        (CustomField("a", "x", "x", roles=("king",)), Wrong.ROLES),
    ],
)
def test_a_definition_that_cannot_be_is_refused(definition: Any, why: Wrong) -> None:
    assert wrong(checked, definition) is why


def test_a_definition_has_one_spelling() -> None:
    label = checked(Label("a", " 贵宾 ", ""))
    number = checked(CustomField("a", "x", "", Kind.NUMBER, least="+1.50", most="07"))
    text = checked(CustomField("b", "x", "", most="0012", roles=("warehouse", "service")))

    assert (label.zh, label.en) == ("贵宾", "贵宾")
    assert isinstance(number, CustomField)
    assert (number.least, number.most) == ("1.5", "7")
    assert isinstance(text, CustomField)
    assert (text.most, text.roles) == ("12", ("service", "warehouse"))


@pytest.mark.parametrize(
    ("field", "said", "value"),
    [
        (NOTE, " 急 ", "急"),
        (NOTE, "e\u0301", "\u00e9"),
        (WEIGHT, "1.50", "1.5"),
        (WEIGHT, "+007", "7"),
        (WEIGHT, "100", "100"),
        (WEIGHT, "-0.0", "0"),
        (WEIGHT, "999999999999999.999999", "999999999999999.999999"),
        (BY, "2026-12-31", "2026-12-31"),
        (GIFT, "红", "红"),
    ],
)
def test_a_value_has_one_spelling(field: CustomField, said: str, value: str) -> None:
    assert read(field, said) == value
    assert asked_word(field, said) == field_word(field.code, value)


@pytest.mark.parametrize(
    ("field", "said", "why"),
    [
        (NOTE, "x" * (TEXT_LENGTH_MAX + 1), Wrong.TEXT),
        (NOTE._replace(most="3"), "four", Wrong.TEXT),
        (NOTE, "a\nb", Wrong.TEXT),
        (NOTE, "\ud800", Wrong.TEXT),
        (WEIGHT, "-1", Wrong.NUMBER),
        (WEIGHT, "1,5", Wrong.NUMBER),
        (WEIGHT, "NaN", Wrong.NUMBER),
        (WEIGHT, "1e9", Wrong.NUMBER),
        (WEIGHT, "١", Wrong.NUMBER),
        (WEIGHT, "9" * 16, Wrong.NUMBER),
        (BY, "2025-12-31", Wrong.DATE),
        (BY, "20260601", Wrong.DATE),
        (BY, "2026-02-30", Wrong.DATE),
        (GIFT, "绿", Wrong.CHOICE),
    ],
)
def test_what_is_no_value_is_refused(field: CustomField, said: str, why: Wrong) -> None:
    assert wrong(read, field, said) is why


def test_an_order_carries_what_is_wished_and_keeps_what_is_not_named() -> None:
    before = Annotation(3, ("vip",), {"note": "急"})

    after = wished(before, ["vip"], {"gift": "红"}, KNOWN, Role.SERVICE)

    assert after.labels == ("vip",)
    assert after.fields == {"gift": "红", "note": "急"}
    assert wished(after, [], {"note": " "}, KNOWN, Role.SERVICE).fields == {"gift": "红"}


def test_what_was_retired_stays_where_it_is_and_comes_nowhere_else() -> None:
    before = Annotation(1, ("old",), {"gone": "x", "gift": "绿"})

    # As a form sends it that was opened now: the choice of before is still there.
    kept = wished(before, ["old", "vip"], {"gift": "绿"}, KNOWN, Role.SERVICE)

    assert kept.labels == ("old", "vip")
    assert kept.fields == {"gone": "x", "gift": "绿"}
    assert wrong(wished, NOTHING, ["old"], {}, KNOWN, Role.SERVICE) is Wrong.LABEL_RETIRED
    assert wrong(wished, before, [], {"gone": "y"}, KNOWN, Role.ADMIN) is Wrong.FIELD_RETIRED
    # What nobody defines any more can be taken off, and not be put on.
    assert wished(Annotation(1, ("lost",)), [], {}, KNOWN, Role.SERVICE).labels == ()
    assert wrong(wished, NOTHING, ["lost"], {}, KNOWN, Role.SERVICE) is Wrong.LABEL


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.VIEWER, False),
        (Role.FINANCE, False),
        (Role.SERVICE, False),
        (Role.WAREHOUSE, True),
        (Role.OPERATIONS, False),
        (Role.ADMIN, True),
    ],
)
def test_a_field_is_edited_by_the_roles_it_names(role: Role, may: bool) -> None:
    assert may_edit(WEIGHT, role) == may
    assert may_edit(NOTE, role) == (role not in (Role.VIEWER, Role.FINANCE))
    if not may:
        assert wrong(wished, NOTHING, [], {"weight": "1"}, KNOWN, role) is Wrong.FIELD_ROLE


def test_an_order_carries_so_many_labels_and_no_more() -> None:
    many = [f"l{n}" for n in range(LABELS_OF_ORDER_MAX + 1)]
    known = Definitions({code: Label(code, "x", "x") for code in many}, {})

    assert len(wished(NOTHING, many[1:], {}, known, Role.ADMIN).labels) == LABELS_OF_ORDER_MAX
    assert wrong(wished, NOTHING, many, {}, known, Role.ADMIN) is Wrong.LABELS_MANY


def test_of_two_changes_each_keeps_what_the_other_did_not_touch() -> None:
    before = Annotation(1, ("a", "b"), {"note": "急", "gift": "红", "by": "2026-06-01"})
    theirs = Annotation(2, ("b", "c"), {"note": "不急", "gift": "红"})
    mine = Annotation(1, ("a", "d"), {"note": "很急", "gift": "蓝", "by": "2026-06-01"})

    found = merged(before, mine, theirs)

    # a went by them and b by me, c and d are new; of the note, which both changed, mine.
    assert found.labels == ("c", "d")
    assert found.fields == {"note": "很急", "gift": "蓝"}
    assert found.version == 2
    assert merged(before, before, theirs) == theirs
    assert merged(before, theirs, before).carries(
        theirs._replace(fields=theirs.fields | {"by": ""})
    )


STATES = st.builds(
    Annotation,
    labels=st.lists(st.sampled_from("abc"), unique=True).map(lambda found: tuple(sorted(found))),
    fields=st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12")),
)


@given(STATES, STATES)
def test_what_one_alone_changed_is_what_stands(before: Annotation, mine: Annotation) -> None:
    found = merged(before, mine, before)

    assert found.labels == mine.labels
    assert {code: said for code, said in found.fields.items() if said} == mine.fields


def test_an_order_is_found_by_all_that_it_carries() -> None:
    long = "字" * 100
    words = words_of(Annotation(1, ("vip",), {"gift": "红", "note": long}))

    assert words == [label_word("vip"), "field:gift=红", field_word("note", long)]
    assert max(len(word.encode()) for word in words) < 150
    assert field_word("note", long) != field_word("note", long + "字")
    # A choice that is none any more, and a value beyond the limits of today, are found too.
    assert asked_word(GIFT, "绿") == "field:gift=绿"
    assert asked_word(BY, "2020-01-01") == "field:by=2020-01-01"


def test_a_change_is_told_in_words() -> None:
    done = changed(
        Annotation(1, ("a",), {"note": "急"}), Annotation(2, ("b",), {"note": "不急", "gift": "红"})
    )

    assert in_words(done) == (
        "labelled b; label a taken off; gift: nothing became 红; note: 急 became 不急"
    )
