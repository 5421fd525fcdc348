"""
Zones: what every adapter's declared zone makes of the hours that clocks skip and repeat.

Los Angeles skips 2026-03-08 02:00–03:00 and repeats 2026-11-01 01:00–02:00.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.errors import MalformedPayload
from streams.adapters import ADAPTERS
from streams.adapters.reading import BEIJING, local
from tests.adapters.samples import order, put, read

LOS_ANGELES = "America/Los_Angeles"


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def at(text: str, zone: str) -> int:
    moment = local({"t": text}, "t", "", zone)
    assert moment is not None
    assert (moment.said, moment.zone) == (text, zone)
    return moment.ms


# --- the rule -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-03-08 02:00:00", LOS_ANGELES),  # the first second that is skipped
        ("2026-03-08 02:59:59", LOS_ANGELES),  # and the last
        ("2026-03-29 02:30:00", "Europe/Berlin"),
        ("2026-10-04 02:15:00", "Australia/Lord_Howe"),  # half an hour
        ("2011-12-30 12:00:00", "Pacific/Apia"),  # a whole day
    ],
)
def test_an_hour_that_clocks_skip_is_refused_not_guessed(text: str, zone: str) -> None:
    with pytest.raises(MalformedPayload, match="clocks went forward") as refused:
        local({"t": text}, "t", "order.", zone)

    assert refused.value.field == "order.t"


@pytest.mark.parametrize(
    ("text", "zone", "means"),
    [
        ("2026-03-08 01:59:59", LOS_ANGELES, "2026-03-08T01:59:59-08:00"),
        ("2026-03-08 03:00:00", LOS_ANGELES, "2026-03-08T03:00:00-07:00"),
        ("2026-11-01 01:30:00", LOS_ANGELES, "2026-11-01T01:30:00-07:00"),  # comes twice: the first
        ("2026-11-01 02:00:00", LOS_ANGELES, "2026-11-01T02:00:00-08:00"),
        ("2026-10-25 02:30:00", "Europe/Berlin", "2026-10-25T02:30:00+02:00"),
        ("2026-04-05 01:45:00", "Australia/Lord_Howe", "2026-04-05T01:45:00+11:00"),
        ("2026-11-01 01:30:00", BEIJING, "2026-11-01T01:30:00+08:00"),
    ],
)
def test_an_hour_that_comes_twice_is_the_first_and_any_other_is_exact(
    text: str, zone: str, means: str
) -> None:
    assert at(text, zone) == ms(means)


def test_every_minute_of_a_year_in_los_angeles_is_read_or_skipped() -> None:
    first, read_, skipped = datetime(2026, 1, 1, tzinfo=UTC), set(), 0
    for minute in range(0, 365 * 24 * 60, 15):
        text = (first + timedelta(minutes=minute)).strftime("%Y-%m-%d %H:%M:%S")
        try:
            read_.add(at(text, LOS_ANGELES))
        except MalformedPayload:
            skipped += 1

    assert skipped == 4
    assert len(read_) == 365 * 24 * 4 - skipped, "two different texts are never one instant"


@pytest.mark.parametrize(
    "nothing", [None, "", "0", 0, "0001-01-01 00:00:00", "0000-00-00 00:00:00"]
)
def test_null_is_no_time_in_every_spelling(nothing: Any) -> None:
    assert local({"t": nothing}, "t", "", LOS_ANGELES) is None


# --- the adapters ---------------------------------------------------------------------------------

#: Platform -> where an order's creation stands, and how a time is written there.
CREATED = {
    "taobao": ("created", "{:%Y-%m-%d %H:%M:%S}"),
    "tmall": ("created", "{:%Y-%m-%d %H:%M:%S}"),
    "jd": ("orderStartTime", "{:%Y-%m-%d %H:%M:%S}"),
    "pdd": ("created_time", "{:%Y-%m-%d %H:%M:%S}"),
    "shopify": ("created_at", "{:%Y-%m-%dT%H:%M:%S}{offset}"),
    "mall": ("created_at", "{:%Y-%m-%dT%H:%M:%S}{offset}"),
    "woocommerce": ("date_created_gmt", "{:%Y-%m-%dT%H:%M:%S}"),
}


def test_every_adapter_declares_its_zone_and_those_with_texts_are_tried_here() -> None:
    assert {adapter.zone for adapter in ADAPTERS.values()} <= {"offset", "UTC", BEIJING}
    assert CREATED.keys() >= {
        name for name, adapter in ADAPTERS.items() if adapter.zone in ("offset", BEIJING)
    }


def created_ms(platform: str, said: str) -> int:
    field, _ = CREATED[platform]
    moment = read(platform, put(order(platform), field, said)).created_at
    assert moment is not None
    return moment.ms


@pytest.mark.parametrize("platform", [name for name in CREATED if ADAPTERS[name].zone != "offset"])
@pytest.mark.parametrize("hour", ["2026-03-08 02:30", "2026-11-01 01:30", "2026-03-29 02:30"])
def test_hours_that_other_zones_skip_or_repeat_are_plain_hours_here(
    platform: str, hour: str
) -> None:
    _, form = CREATED[platform]
    naive = datetime.fromisoformat(f"{hour}:00")
    offset = "+08:00" if ADAPTERS[platform].zone == BEIJING else "+00:00"

    assert created_ms(platform, form.format(naive)) == ms(f"{naive.isoformat()}{offset}")


@pytest.mark.parametrize("platform", ["shopify", "mall"])
def test_an_hour_that_comes_twice_is_told_apart_by_its_offset(platform: str) -> None:
    _, form = CREATED[platform]
    twice = datetime(2026, 11, 1, 1, 30)  # noqa: DTZ001  the offset follows
    first = created_ms(platform, form.format(twice, offset="-07:00"))
    second = created_ms(platform, form.format(twice, offset="-08:00"))

    assert second - first == 3_600_000


@pytest.mark.parametrize("platform", ["shopify", "mall"])
def test_an_offset_that_is_left_out_is_refused_not_guessed(platform: str) -> None:
    field, form = CREATED[platform]
    said = form.format(datetime(2026, 3, 8, 2, 30), offset="")  # noqa: DTZ001  that is the point

    with pytest.raises(MalformedPayload, match="offset"):
        read(platform, put(order(platform), field, said))


def of_year(platform: str, year: str) -> Any:
    field, form = CREATED[platform]
    said = year + form.format(datetime(2026, 1, 1), offset="+00:00")[4:]  # noqa: DTZ001  a text
    return put(order(platform), field, said)


@pytest.mark.parametrize("platform", CREATED)
@pytest.mark.parametrize("year", ["1899", "2101", "9999"])
def test_a_year_out_of_this_world_is_refused_by_name(platform: str, year: str) -> None:
    with pytest.raises(MalformedPayload) as refused:
        read(platform, of_year(platform, year))

    assert refused.value.field.endswith(CREATED[platform][0])


@pytest.mark.parametrize("platform", CREATED)
def test_the_year_one_is_null_where_a_platform_spells_it_so_and_never_a_time(platform: str) -> None:
    try:
        found = read(platform, of_year(platform, "0001")).created_at
    except MalformedPayload:
        found = None

    assert found is None
