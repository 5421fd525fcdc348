"""Cells of an imported file: what a spreadsheet did to them is undone exactly, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedPayload, Rejected
from streams.importing import cells
from streams.importing.cells import ZoneNeeded
from streams.importing.receipts import guarded


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("2771944107739206615\t", "2771944107739206615"),  # a tab keeps an export's id a text
        ('="00123"', "00123"),  # and so does a formula
        ("'00123", "00123"),  # and so does an apostrophe
        ("'=2+2", "=2+2"),  # as our own file of refused rows writes it
        ("O'Neill", "O'Neill"),
        ("-", ""),
        ("#N/A", ""),
        ("null", ""),
        (" \u200b", ""),
    ],
)
def test_what_only_kept_a_spreadsheet_from_touching_a_cell_is_taken_off(said: str, plain: str):
    assert cells.plain(said) == plain


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_a_cell_of_the_file_of_refused_rows_comes_back_as_it_was(said: str):
    assert cells.plain(guarded(said)) == cells.plain(said)
    assert not guarded(said).lstrip().startswith(("=", "@"))


@pytest.mark.parametrize(
    "said", ["2.77194410773921E+18", "3,4E+15", "12 34", "1" * 201, "a\u2028b"]
)
def test_an_id_that_has_lost_its_digits_or_has_blanks_is_refused(said: str):
    with pytest.raises(MalformedPayload, match="order_id"):
        cells.an_id("order_id", said)


@pytest.mark.parametrize(
    ("said", "zone", "utc"),
    [
        ("2026-11-11T00:05:00+08:00", None, "2026-11-10T16:05:00"),
        ("2026-11-11 00:05:00 -0500", None, "2026-11-11T05:05:00"),  # Shopify's export
        ("2026-11-11T00:05:00Z", "Asia/Shanghai", "2026-11-11T00:05:00"),  # its own word counts
        ("2026/11/1 9:05", "Asia/Shanghai", "2026-11-01T01:05:00"),  # as Excel saves it
        ("2026-07-01 00:05:00", "America/Los_Angeles", "2026-07-01T07:05:00"),  # summer
        ("2026-12-01 00:05:00", "America/Los_Angeles", "2026-12-01T08:05:00"),  # winter
        ("2026-11-01 01:30:00", "America/Los_Angeles", "2026-11-01T08:30:00"),  # twice: the first
        ("2026-11-11 00:05:00", "+08:00", "2026-11-10T16:05:00"),
    ],
)
def test_a_time_is_read_by_its_own_offset_or_in_the_zone_that_was_chosen(said, zone, utc):
    from datetime import UTC, datetime  # noqa: PLC0415

    found = cells.a_time("created_at", said, zone)

    assert datetime.fromtimestamp(found.ms / 1000, UTC).isoformat()[:19] == utc
    assert datetime.fromisoformat(found.iso).timestamp() * 1000 == found.ms
    assert found.is_told == (said[-1] == "Z" or said[-5] in "+-" or said[-6] in "+-")


def test_a_time_without_a_zone_is_never_read_in_one_that_nobody_named():
    with pytest.raises(ZoneNeeded):
        cells.a_time("created_at", "2026-11-11 00:05:00", None)


@pytest.mark.parametrize(
    "said",
    [
        "11/10/2026 00:05:00",  # November or October?
        "2026-11-11",  # a day begins at another instant in every zone
        "2026-03-08 02:30:00",  # clocks went forward: it never was in Los Angeles
        "2026-02-30 00:00:00",
        "0001-01-01 00:00:00",
        "2026-11-11 00:05:00+99:00",
        "yesterday",
        "1794355200",
    ],
)
def test_a_time_that_can_be_read_in_two_ways_or_in_none_is_refused(said: str):
    with pytest.raises(MalformedPayload, match="created_at"):
        cells.a_time("created_at", said, "America/Los_Angeles")


def test_a_zone_that_does_not_exist_is_refused_by_name():
    with pytest.raises(Rejected, match="Mars/Olympus"):
        cells.zone_of("Mars/Olympus")


@pytest.mark.parametrize(
    ("said", "currency", "minor"),
    [("12.50", "CNY", 1250), ("¥12", "CNY", 1200), ("1980", "JPY", 1980), ("0.005", "KWD", 5)],
)
def test_money_is_read_from_its_digits(said: str, currency: str, minor: int):
    assert cells.an_amount("total", said, currency) == minor


@pytest.mark.parametrize(
    ("said", "currency"),
    [
        ("12.505", "CNY"),
        ("1.980,00", "EUR"),
        ("-1", "CNY"),
        ("1e3", "CNY"),
        ("12", None),
        ("¥", "CNY"),
    ],
)
def test_money_that_is_doubtful_or_of_no_currency_is_refused(said: str, currency: str | None):
    with pytest.raises(MalformedPayload, match="total"):
        cells.an_amount("total", said, currency)


@pytest.mark.parametrize("said", ["0", "-1", "1.5", "1e3", "ten", "9" * 19])
def test_a_quantity_that_is_none_is_refused(said: str):
    with pytest.raises(MalformedPayload, match="quantity"):
        cells.a_count("quantity", said)


def test_what_a_failed_formula_left_and_half_a_character_are_refused():
    for said in ("#REF!", "a\ud83d", "a\0b"):
        with pytest.raises(MalformedPayload):
            cells.checked("title", said)
