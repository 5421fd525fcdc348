"""How platforms prove their pushes: published vectors first, then what must not pass."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from streams.gateway.signatures import ABSENT, VERIFIERS, Push, is_fresh, opened
from streams.topics import PLATFORMS

SAMPLES = Path(__file__).parents[1] / "adapters" / "payloads"
SHOPEE_URL = b"https://example.com/shopee/push"
AES_SECRET = b"MDEyMzQ1Njc4OWFiY2RlZg=="


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes().removesuffix(b"\n")


#: Platform, secret, push: published by the platform, or recomputed from its rule.
VECTORS: Mapping[str, tuple[str, bytes, Push]] = {
    "shopify": (
        "shopify",
        b"test_secret_key",
        Push(
            signature=b"B23tXN681gZ0qIWNRrgtzBE9XSDo5yaUu6wfmhu3a7g=",
            body=b'{"foo": "bar"}',
        ),
    ),
    "woocommerce": (
        "woocommerce",
        b"test_woo_secret",
        Push(
            signature=b"pTHdRn+gMum1wTiPEdZSOXWJwWJZNj9+0Rpu/7KN8NQ=",
            body=b'{"id":727,"status":"processing"}',
        ),
    ),
    "tiktokshop": (
        "tiktokshop",
        b"fake_app_secret",
        Push(
            signature=b"21109834de72ec53c9959716d8514ae388ce1f123e5ffdcafc46713fcdf62b27",
            body=sample("tiktokshop/push_order_status_change.json"),
            app_key=b"fake_app_key",
        ),
    ),
    "shopee": (
        "shopee",
        b"test_partner_key",
        Push(
            signature=b"d5c9433cebab96931b2257dc00a1004bb51022b66e3076c15ce39df581801c43",
            body=sample("shopee/push_order_status.json"),
            callback_url=SHOPEE_URL,
        ),
    ),
    "douyin by MD5": (
        "douyin",
        b"secret-456",
        Push(
            signature=b"d94fb4393b783116c26fc9175ae83283",
            body=b'[{"tag":"0","msg_id":"0","data":"probe"}]',
            app_key=b"app-123",
        ),
    ),
    "douyin by HMAC": (
        "douyin",
        b"secret-456",
        Push(
            signature=b"7e0bd8b248471435f5a09b27cbc1a07f2cb00f625810bde9f3cc5b0ba7bc4a11",
            body=b'[{"tag":"0","msg_id":"0","data":"probe"}]',
            app_key=b"app-123",
        ),
    ),
}
KUAISHOU = Push(
    signature=None,
    body=b"1KwOhRNJcUJFsEQep77V4p6KDuCK3jKC1aIVEPLPYtYZUGDY+GcY4U7Srg+4hvio",
)


def proved(platform: str, push: Push, *secrets: bytes) -> bytes | None:
    return opened(VERIFIERS[platform], push, secrets)


@pytest.mark.parametrize("name", VECTORS)
def test_the_platforms_own_signature_proves_its_push(name: str):
    platform, secret, push = VECTORS[name]

    assert proved(platform, push, secret) == push.body


def test_kuaishou_seals_its_push_and_the_plain_text_goes_on():
    assert proved("kuaishou", KUAISHOU, AES_SECRET) == (
        b'{"event":"kwaishop_order_paySuccess","bizId":1}'
    )
    with_line_break = replace(KUAISHOU, body=KUAISHOU.body + b"\r\n")
    assert proved("kuaishou", with_line_break, AES_SECRET) is not None


@pytest.mark.parametrize("name", VECTORS)
def test_the_body_counts_byte_for_byte(name: str):
    platform, secret, push = VECTORS[name]

    for body in (push.body + b"\n", push.body.replace(b'"', b"'", 1), push.body[:-1], b""):
        assert proved(platform, replace(push, body=body), secret) is None


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize(
    "signature",
    [None, b"", b"x", b"=" * 44, b"0" * 32, b"0" * 64, b"\xff" * 64, b"f" * 10_000],
)
def test_a_signature_that_is_missing_or_made_up_proves_nothing(name: str, signature: bytes | None):
    platform, secret, push = VECTORS[name]

    assert proved(platform, replace(push, signature=signature), secret) is None


@pytest.mark.parametrize("name", VECTORS)
def test_a_signature_in_part_or_with_something_after_it_proves_nothing(name: str):
    platform, secret, push = VECTORS[name]
    right = push.signature or b""

    for wrong in (right[:-1], right + b"0", b" " + right, right.swapcase()):
        assert proved(platform, replace(push, signature=wrong), secret) is None


@pytest.mark.parametrize("name", VECTORS)
def test_while_a_secret_is_rotated_both_count_in_any_order(name: str):
    platform, secret, push = VECTORS[name]

    assert proved(platform, push, b"another", secret) == push.body
    assert proved(platform, push, secret, b"another") == push.body
    assert proved(platform, push, b"another", b"third") is None
    assert proved(platform, push) is None


@pytest.mark.parametrize("name", ["tiktokshop", "shopee", "douyin by MD5", "douyin by HMAC"])
def test_what_the_shop_is_known_by_is_part_of_what_is_signed(name: str):
    platform, secret, push = VECTORS[name]

    other = replace(push, app_key=b"other", callback_url=SHOPEE_URL + b"/")

    assert proved(platform, other, secret) is None


def test_a_secret_of_woocommerce_is_kept_with_entities_and_signs_with_what_they_mean():
    _, _, push = VECTORS["woocommerce"]
    # HMAC-SHA256 with the key `a&b`, from the algorithm.
    signature = b"fLJ9OOT3JFcd0MBwKjCrRGDKqsY4UsUy7jKoIy6cNA8="
    signed = replace(push, signature=_hmac(b"a&b", push.body))

    assert proved("woocommerce", signed, b"a&amp;b") == push.body
    assert proved("woocommerce", signed, b"a&b") == push.body
    assert proved("woocommerce", replace(push, signature=signature), b"a&amp;b") is None


def _hmac(key: bytes, body: bytes) -> bytes:
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    return base64.b64encode(hmac.new(key, body, hashlib.sha256).digest())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not base64!",
        b"QUJD",
        b"A" * 64,
        KUAISHOU.body[:-4] + b"AAAA",
        KUAISHOU.body[4:],
        KUAISHOU.body[:43] + b"=",
    ],
)
def test_what_the_secret_does_not_open_is_no_push_of_kuaishou(body: bytes):
    assert proved("kuaishou", replace(KUAISHOU, body=body), AES_SECRET) is None


def test_an_open_push_is_none_of_kuaishou_and_another_secret_does_not_open_it():
    plain = b'{"event":"kwaishop_order_paySuccess","bizId":1}'

    assert proved("kuaishou", replace(KUAISHOU, body=plain), AES_SECRET) is None
    other = base64.b64encode(b"fedcba9876543210")
    assert proved("kuaishou", KUAISHOU, other) is None
    assert proved("kuaishou", KUAISHOU, other, AES_SECRET) is not None


@pytest.mark.parametrize(
    ("payload", "probe"),
    [
        (b'[{"tag":"0","msg_id":"0","data":"probe"}]', True),
        (b'[{"tag":0,"msg_id":"0","data":"probe"}]', True),
        (b'[{"tag":"0"},{"tag":"101","data":"{}"}]', False),
        (b'[{"tag":"101","data":"probe"}]', False),
        (b"[]", False),
        (b"[0]", False),
        (b'{"tag":"0"}', False),
        (b"probe", False),
    ],
)
def test_only_a_batch_of_nothing_but_probes_is_a_probe(payload: bytes, probe: bool):
    assert VERIFIERS["douyin"].is_probe(payload) is probe


@pytest.mark.parametrize(
    ("signed_ms", "fresh"),
    [
        (1_000_000, True),
        (700_000, True),  # just within
        (699_999, False),  # just too old
        (1_300_000, True),  # a clock that is ahead
        (1_300_001, False),  # a time from the future
        (None, False),  # no time at all
    ],
)
def test_a_window_has_two_edges(signed_ms: int | None, fresh: bool):
    assert is_fresh(signed_ms, 1_000_000, 300_000) is fresh


@pytest.mark.parametrize(
    ("platform", "payload", "ms"),
    [
        ("tiktokshop", b'{"timestamp":1644412885}', 1_644_412_885_000),
        ("shopee", b'{"timestamp":1660123127}', 1_660_123_127_000),
        ("kuaishou", b'{"createTime":1778814000123}', 1_778_814_000_123),
        ("shopee", b'{"timestamp":"1660123127"}', None),
        ("shopee", b'{"timestamp":true}', None),
        ("shopee", b'{"timestamp":1.5}', None),
        ("shopee", b'{"data":{"timestamp":1}}', None),
        ("shopee", b"[]", None),
        ("shopee", b"{", None),
    ],
)
def test_the_signed_time_is_read_where_the_platform_has_one(
    platform: str, payload: bytes, ms: int | None
):
    signed_ms = VERIFIERS[platform].signed_ms

    assert signed_ms is not None
    assert signed_ms(payload) == ms


def test_every_platform_is_either_verified_or_told_why_not():
    assert set(VERIFIERS) | set(ABSENT) == set(PLATFORMS)
    assert not set(VERIFIERS) & set(ABSENT)
