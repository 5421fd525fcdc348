"""
A payload means the same whichever way its fields are read: all at once, or one by one.

The strict way is forced by letting msgspec find nothing plain; the statements, and of a refusal its
kind, its field and its sentence, have to be the same.
"""

import contextlib
import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Rejected
from streams.adapters import adapter_for, fields
from streams.bench.intake import compact
from streams.feed.payloads import render
from streams.feed.trade import Trade, statements
from tests.adapters.samples import ORDERS, raw
from tests.adapters.test_adapter_fuzz import SAMPLES, STRANGE, _places, _put, tries

#: The platforms whose orders are read by a table of fields.
PLATFORMS = ("taobao", "douyin", "shopify")
#: Texts that are nearly plain: blanks around them, too long, digits that are none, odd amounts.
NEARLY = st.sampled_from([
    "  x ", "\u3000y", "a\0b", "x" * 99 + " ", "x" * 101, "x" * 205, "y" * 4_001, "01234", "0" * 4,
    "1" * 20, "1" * 21, "１２３", "²", "12.", "12.50", ".50", "0012.5", "12.345", "12.340",
    "1_0.00",
    "１２.00", "9" * 17 + ".00", "1e3", "2026-02-30 00:00:00", "2026-01-02 03:04:05",
    "2026-01-02T03:04:05Z", "2026-01-02T03:04:05", "USD", "JPY", "partial", "partially_paid",
    '{"payCurrency":"JPY"}',
])  # fmt: skip
NUMBERS = st.sampled_from(
    [0, 1, -1, 12, 21, 999, 10**9 + 1, 10**15 + 1, 2**63, 2**64 - 1, 1.0, 0.5]
)


def _outcome(platform: str, payload: bytes) -> Any:
    try:
        found = adapter_for(platform).parse(payload, "shop")
    except Rejected as error:
        return type(error), getattr(error, "field", None), str(error)
    return found


def _nothing_is_plain(_source: object, _type: object) -> None:
    raise msgspec.ValidationError


def _both_ways(platform: str, payload: bytes) -> tuple[Any, Any]:
    plain = _outcome(platform, payload)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fields, "convert", _nothing_is_plain)
        return plain, _outcome(platform, payload)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_sample_reads_the_same_both_ways(platform: str) -> None:
    for payload in SAMPLES[platform]:
        plain, strict = _both_ways(platform, payload)
        assert plain == strict


@pytest.mark.parametrize("platform", PLATFORMS)
@tries(100)
@given(data=st.data())
def test_any_value_anywhere_reads_the_same_both_ways(platform: str, data: st.DataObject) -> None:
    body = orjson.loads(raw(platform, ORDERS[platform][0]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(_places(body)))
        value = data.draw(st.one_of(NEARLY, NUMBERS, STRANGE))
        # An earlier change may have taken the place away.
        with contextlib.suppress(TypeError, KeyError, IndexError):
            _put(body, place, value)

    plain, strict = _both_ways(platform, json.dumps(body).encode())

    assert plain == strict


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_a_platform_usually_sends_is_plain(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(reader: fields.Reader[Any], name: str, *_: object) -> None:
        pytest.fail(f"{name} was read on its own")

    monkeypatch.setattr(fields.Reader, "asked", asked)
    for said in statements(Trade(orders=20, platforms=(platform,), cancel=0.5)):
        payload = render(said.draft, said.step)
        for each in (payload, compact(platform, payload)):
            assert adapter_for(platform).parse(each, "shop")
