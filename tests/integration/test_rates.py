"""Exchange and tax rates: from a file to the day they are asked for, and never made up."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import csv
import json
import os
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from streams import rates, turnover
from streams.rates import EXCHANGE, TAX, BadRates, converted, read, write
from tests.integration.databases import ROOT, Database, database, empty  # noqa: F401  fixtures

DAY = date(2026, 11, 11)


def a_file(folder: Path, text: str) -> Path:
    file = folder / "rates.csv"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("minor", "currency", "rate", "into", "gives"),
    [
        (2580, "USD", "7.1", "CNY", 18318),
        (1980, "JPY", "0.05", "CNY", 9900),  # no digits into two
        (1, "CNY", "20.5", "JPY", 0),  # 0.205 yen
        (250, "CNY", "0.2", "JPY", 1),  # half a yen is rounded up
        (1000, "CNY", "0.04321", "KWD", 432),  # into three
        (10**15, "USD", "0.333333333333", "CNY", 333333333333000),
    ],
)
def test_money_is_converted_exactly_by_the_digits_of_both(
    minor: int, currency: str, rate: str, into: str, gives: int
):
    assert converted(minor, currency, Decimal(rate), into) == gives


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        (EXCHANGE, "USD,XYZ,2026-11-11,7.1", "no currency"),
        (EXCHANGE, "USD,USD,2026-11-11,1", "needs no rate"),
        (EXCHANGE, "USD,CNY,2026-11-31,7.1", "no day"),
        (EXCHANGE, "USD,CNY,2026-11-11,0", "not above 0"),
        (EXCHANGE, "USD,CNY,2026-11-11,NaN", "no number"),
        (EXCHANGE, 'USD,CNY,2026-11-11,"7,1"', "no decimal"),
        (EXCHANGE, "USD,CNY,2026-11-11", "cells"),
        (TAX, "DE,,standard,2026-01-01,19", "19 % is 0.19"),
        (TAX, "Germany,,standard,2026-01-01,0.19", "two capitals"),
    ],
)
def test_a_row_that_cannot_be_right_says_why(tmp_path: Path, kind: rates.Kind, row: str, said: str):
    values, (verdict,) = read(a_file(tmp_path, ",".join(kind.columns) + f"\n{row}\n"), kind)

    assert values == []
    assert verdict.outcome == "refused"
    assert said in verdict.said


def test_a_file_with_other_columns_is_none(tmp_path: Path):
    with pytest.raises(BadRates, match="base, quote, day, rate"):
        read(a_file(tmp_path, "a,b\n1,2\n"), EXCHANGE)


@pytest.mark.stack
async def test_a_rate_is_of_its_day_the_last_word_counts_and_an_old_one_is_none(
    database: Database, tmp_path: Path
):
    file = a_file(
        tmp_path, "base,quote,day,rate\nUSD,CNY,2026-11-06,7.05\nUSD,CNY,2026-11-11,7.1\n"
    )
    await write(database.ledger, EXCHANGE, read(file, EXCHANGE)[0], "mei", "bank")
    await write(database.ledger, EXCHANGE, [("USD", "CNY", DAY, Decimal("7.11"))], "mei", "fixed")

    async def on(day: date, base: str = "USD", quote: str = "CNY") -> Decimal | None:
        found = await rates.exchange_on(database.reader, base, quote, day)
        return found and found["rate"]

    assert await on(DAY) == Decimal("7.11")
    assert await on(date(2026, 11, 8)) == Decimal("7.05"), "the weekend has Friday's"
    assert await on(date(2026, 11, 5)) is None
    assert await on(date(2026, 11, 20)) == Decimal("7.11")
    assert await on(date(2026, 11, 21)) is None, "ten days old"
    assert await on(DAY, "CNY", "USD") is None, "no rate is turned around"
    assert await database.value("SELECT count(*) FROM exchange_rates") == 3


@pytest.mark.stack
async def test_a_region_has_its_own_tax_or_its_countrys_since_a_day(database: Database):
    rows = [
        ("DE", "", "standard", date(2007, 1, 1), Decimal("0.19")),
        ("DE", "", "standard", date(2020, 7, 1), Decimal("0.16")),
        ("DE", "", "standard", date(2021, 1, 1), Decimal("0.19")),
        ("US", "CA", "standard", date(2017, 1, 1), Decimal("0.0725")),
    ]
    await write(database.ledger, TAX, rows, "mei", "law")

    async def on(country: str, region: str, day: date) -> Decimal | None:
        found = await rates.tax_on(database.reader, country, region, "standard", day)
        return found and found["rate"]

    assert await on("DE", "BY", date(2020, 12, 31)) == Decimal("0.16")
    assert await on("DE", "BY", date(2021, 1, 1)) == Decimal("0.19")
    assert await on("US", "CA", DAY) == Decimal("0.0725")
    assert await on("US", "OR", DAY) is None
    assert await on("DE", "", date(2006, 12, 31)) is None


@pytest.mark.stack
async def test_what_was_said_of_a_rate_is_never_rewritten(database: Database):
    async with database.connected("ledger") as connection:
        for forbidden in ("UPDATE exchange_rates SET rate = 1", "DELETE FROM tax_rates"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)


# --- orders in the company's currency -------------------------------------------------------------

ORDERS = """
    INSERT INTO orders (order_key, version, facets, changed_at, platform, shop, order_id,
        received_at, reservation, ignored, first_received_at, first_written_at, written_at,
        status, refund, currency, total_minor, refunded_minor, tax_minor, created_at)
    SELECT id, 1, 1, at, 'shopify', 's', id, at, 'reserved', 0, at, at, at,
        status, 'NONE', currency, total, refunded, tax, at
    FROM (VALUES
        ('a', '2026-11-11T15:59:59Z'::timestamptz, 'PAID', 'USD', 2580, NULL::int, NULL::int),
        -- Already the twelfth in Shanghai, whose rate is another.
        ('b', '2026-11-11T16:00:00Z', 'PAID', 'USD', 2580, 100, 300),
        ('c', '2026-11-11T00:00:00Z', 'PAID', 'CNY', 5000, NULL, NULL),
        ('d', '2026-11-11T00:00:00Z', 'CANCELLED', 'JPY', 1980, NULL, NULL),
        -- Nobody said a rate of it in time.
        ('e', '2026-11-11T00:00:00Z', 'PAID', 'KWD', 1000, NULL, NULL),
        ('f', '2026-11-11T00:00:00Z', 'PAID', 'EUR', 11900, NULL, NULL),
        -- Not asked for.
        ('g', '2026-11-13T16:00:00Z', 'PAID', 'CNY', 1, NULL, NULL)
    ) AS said (id, at, status, currency, total, refunded, tax)
    RETURNING 1
"""
RATES = """base,quote,day,rate
USD,CNY,2026-11-11,7.1
USD,CNY,2026-11-12,7.2
JPY,CNY,2026-11-05,0.05
EUR,CNY,2026-11-11,8
KWD,CNY,2026-10-30,23
"""
TAXES = """country,region,kind,since,rate
DE,,standard,2020-01-01,0.16
DE,,standard,2021-01-01,0.19
DE,,reduced,2021-01-01,0.07
US,CA,standard,2021-01-01,0.0725
"""


def orders_of(asked: dict[str, str], **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    words = [word for pair in asked.items() for word in pair]
    around = {k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")}
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", "rates", "orders", *words, "--json"],
        env=around | {"ORDERFLOW_KAFKA": "127.0.0.1:1"} | env,
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def test_finance_reads_each_order_by_the_rate_of_its_day_and_the_tax_of_its_region(
    database: Database, tmp_path: Path
):
    for kind, text in ((EXCHANGE, RATES), (TAX, TAXES)):
        values, _ = read(a_file(tmp_path, text), kind)
        await write(database.ledger, kind, values, "mei", "bank")
    await database.rows(ORDERS)
    await database.rows(
        "INSERT INTO order_details (order_key, version, country, province, body) VALUES"
        " ('f', 1, 'DE', 'Bayern', ''), ('a', 1, 'US', 'CA', '') RETURNING 1"
    )
    file = tmp_path / "orders.csv"

    done = orders_of(
        {"--from": "2026-11-11", "--until": "2026-11-12", "--in": "CNY", "--csv": str(file)},
        ORDERFLOW_POSTGRES_READER=database.reader,
    )

    # One order has no rate: that is said, with its number, and the exit code.
    assert done.returncode == 1, done.stderr
    assert "1 of 6 orders have no amount in CNY" in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    sums = {(each["status"], each["currency"]): each["total_in_company"] for each in said["sums"]}
    assert sums == {
        ("CANCELLED", "JPY"): 9900, ("PAID", "CNY"): 5000, ("PAID", "EUR"): 95200,
        ("PAID", "KWD"): 0, ("PAID", "USD"): 18318 + 18576,
    }  # fmt: skip
    with file.open(encoding="utf-8-sig", newline="") as opened:
        lines = {row["order"]: row for row in csv.DictReader(opened)}
    assert list(lines) == ["a", "c", "d", "e", "f", "b"]
    assert [(lines[each]["rate_day"], lines[each]["total_in_company"]) for each in "abde"] == [
        ("2026-11-11", "18318"), ("2026-11-12", "18576"), ("2026-11-05", "9900"), ("", ""),
    ]  # fmt: skip
    assert (lines["b"]["refunded_in_company"], lines["b"]["tax_in_company"]) == ("720", "2160")
    assert lines["b"]["tax_by"] == "platform"
    # 119 euros have 19 of tax in them. Of prices without tax nothing is taken out.
    assert [lines["f"][name] for name in ("tax", "tax_by", "tax_in_company")] == [
        "1900", "rate", "15200",
    ]  # fmt: skip
    assert [lines["a"][name] for name in ("tax", "tax_by")] == ["", ""]
    assert lines["c"]["rate"] == "1"


@pytest.mark.stack
@pytest.mark.parametrize(
    ("zone", "day", "first", "last", "outside"),
    [
        # ten to twelve on New Year's Eve; in UTC it is still the afternoon, or the year before
        (
            "Asia/Shanghai", "2026-12-31", "2026-12-30T16:00:00Z", "2026-12-31T15:50:00Z",
            ("2026-12-30T15:59:59Z", "2026-12-31T16:00:00Z"),
        ),
        # a day of 23 hours, and one of 25
        (
            "America/New_York", "2026-03-08", "2026-03-08T05:00:00Z", "2026-03-09T03:59:59Z",
            ("2026-03-08T04:59:59Z", "2026-03-09T04:00:00Z"),
        ),
        (
            "America/New_York", "2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T04:59:59Z",
            ("2026-11-01T03:59:59Z", "2026-11-02T05:00:00Z"),
        ),
        # a shop at +14:00, where the year begins first
        (
            "Pacific/Kiritimati", "2027-01-01", "2026-12-31T10:00:00Z", "2027-01-01T09:59:59Z",
            ("2026-12-31T09:59:59Z", "2027-01-01T10:00:00Z"),
        ),
    ],
)  # fmt: skip
async def test_t60_an_order_falls_on_the_day_of_its_zone(
    database: Database, zone: str, day: str, first: str, last: str, outside: tuple[str, str]
):
    async with database.connected() as connection:
        await connection.executemany(
            "INSERT INTO orders (order_key, version, facets, changed_at, platform, shop, order_id,"
            " received_at, reservation, ignored, first_received_at, first_written_at, written_at,"
            " status, refund, currency, total_minor, created_at)"
            " SELECT $1, 1, 1, $2, 'mall', 's', $1, $2, 'reserved', 0, $2, $2, $2,"
            " 'PAID', 'NONE', 'CNY', 1, $2",
            [
                (name, datetime.fromisoformat(at))
                for name, at in zip("flbn", (first, last, *outside), strict=True)
            ],
        )
    that = date.fromisoformat(day)

    lines = await turnover.read(database.reader, "CNY", that, that, zone)

    assert [(each.order, each.day) for each in lines] == [("f", that), ("l", that)]


@pytest.mark.parametrize(
    ("option", "said", "why"),
    [
        ("--in", "XYZ", "no currency"),
        ("--zone", "Mars/Base", "no zone"),
        ("--from", "2026-02-30", "no day"),
        ("--from", "2026-12-01", "after --until"),
    ],
)
def test_a_question_of_finance_that_cannot_be_meant_is_refused(option: str, said: str, why: str):
    asked = {"--from": "2026-11-11", "--until": "2026-11-11"} | {option: said}
    done = orders_of(asked)

    assert (done.returncode, why in done.stderr) == (2, True)
